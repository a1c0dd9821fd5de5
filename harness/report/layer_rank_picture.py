"""The rank of each layer, arm by arm: a heat map of a study whose ranks differ by layer."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from harness.record import Record
from harness.report.confirmed import Confirmation
from harness.report.plots import layer_map, save_picture
from harness.report.table import ArmResult, goodness

_ARMS = 10  # columns that names fit below
_NUMBERED = 60  # layers whose ranks are written into their cells


def shown_arms(results: Sequence[ArmResult], confirmed: Confirmation | None) -> dict[str, Record]:
    """A trial for each arm that the picture shows: those that were confirmed, else those that did best."""
    if confirmed is not None:
        found = {each.arm: each.runs[0] for each in confirmed.arms}
    else:
        best = [result.best for result in results if result.best is not None]
        found = {entry.arm: entry for entry in sorted(best, key=goodness, reverse=True)[:_ARMS]}
    return {arm: entry for arm, entry in found.items() if entry.adapter.ranks}


def layer_rank_picture(arms: Mapping[str, Record], title: str, path: Path) -> None:
    """Layers down in the network's order, arms across, the rank in each cell; grey where a layer is not adapted."""
    layers = list(dict.fromkeys(layer for entry in arms.values() for layer in entry.adapter.ranks))
    values = np.array([[entry.adapter.ranks.get(layer, np.nan) for entry in arms.values()] for layer in layers])
    figure = Figure(figsize=(3.6 + 0.85 * len(arms), max(3.5, 1.8 + 0.2 * len(layers))), layout="constrained")
    axes = figure.subplots()
    image = layer_map(axes, values, layers, [arm.replace(",", "\n") for arm in arms], "viridis")
    if len(layers) <= _NUMBERED:
        middle = np.nanmax(values) / 2
        for (row, column), rank in np.ndenumerate(values):
            if not np.isnan(rank):
                colour = "white" if rank < middle else "black"
                axes.text(column, row, f"{rank:.0f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axes, label="LoRA rank")
    figure.suptitle(f"{title}: the rank of each layer")
    save_picture(figure, path)
