"""The effect of training on each layer, arm by arm: tables, and a heat map of how much rank each layer uses."""

import csv
import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import fmean

from harness.report.table import markdown


@dataclasses.dataclass(frozen=True)
class LayerChange:
    """A matrix of one trial; `rank` is the highest that its change could have. harness.lora.weight_change defines
    the other figures.
    """

    trial: int
    arm: str
    seed: int
    layer: str
    rank: int
    norm: float
    relative: float
    stable_rank: float
    effective_rank: float
    amplification: float
    intruders: int
    singular_values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Similarity:
    """The overlap of two trials' updates of one matrix, by their first `directions`.

    `inputs` is that of the right singular vectors, what the change reads; `outputs` of the left ones, what it writes.
    `chance` is what random subspaces of the inputs have.
    """

    one: LayerChange
    other: LayerChange
    directions: int
    inputs: float
    outputs: float
    chance: float


def write_layers(changes: Sequence[LayerChange], similarities: Sequence[Similarity], folder: Path, title: str) -> str:
    """Write layers.csv, spectra.csv, subspaces.csv, layers.md and layers.png; returns what the terminal shows."""
    figures = [field.name for field in dataclasses.fields(LayerChange) if field.name != "singular_values"]
    _write(folder / "layers.csv", figures, ([getattr(change, name) for name in figures] for change in changes))
    _write(
        folder / "spectra.csv",
        ["trial", "layer", "index", "singular_value"],
        (
            [change.trial, change.layer, index, value]
            for change in changes
            for index, value in enumerate(change.singular_values, start=1)
        ),
    )
    _write(
        folder / "subspaces.csv",
        ["trial", "other_trial", "layer", "directions", "inputs", "outputs", "chance"],
        (
            [each.one.trial, each.other.trial, each.one.layer, each.directions, each.inputs, each.outputs, each.chance]
            for each in similarities
        ),
    )
    text = "\n\n".join(filter(None, [f"# {title}: what training did to each layer", *_sections(changes, similarities)]))
    (folder / "layers.md").write_text(text + "\n")
    _picture(changes, title, folder / "layers.png")
    names = ("layers.csv", "spectra.csv", "subspaces.csv", "layers.md", "layers.png")
    return text + "\n\nWritten:\n" + "\n".join(f"  {folder / name}" for name in names)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)


def _sections(changes: Sequence[LayerChange], similarities: Sequence[Similarity]) -> list[str]:
    rows = [["arm", "trials", "layers", "rank", "effective rank", "stable rank", "‖ΔW‖/‖W‖", "amplification"]]
    rows[0] += ["intruders", "half of ‖ΔW‖² in"]
    for arm in _arms(changes):
        mine = [change for change in changes if change.arm == arm]
        layers, ranks = _layers(mine), sorted({change.rank for change in mine})
        rows.append(
            [
                arm,
                str(len({change.trial for change in mine})),
                str(len(layers)),
                str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}",
                f"{fmean(change.effective_rank for change in mine):.1f}",
                f"{fmean(change.stable_rank for change in mine):.1f}",
                f"{fmean(change.relative for change in mine):.2%}",
                f"{fmean(change.amplification for change in mine):.2f}",
                f"{fmean(change.intruders for change in mine):.2f}",
                f"{_half(mine)} of {len(layers)}",
            ]
        )
    return [markdown(rows), _notes(), _most_used(changes), _alike(similarities)]


def _notes() -> str:
    return (
        "Means over layers and trials. Effective rank: e to the entropy of the singular values of ΔW, at most its "
        "rank; stable rank: ‖ΔW‖²/σ₁². Amplification: ‖ΔW‖ over the part of W in the leading directions of ΔW; above "
        "1, training writes more there than the base did. Intruders: of the first ten left singular vectors of W + ΔW, "
        "those that resemble none of W (cosine below 0.6). The last column: how few layers hold half of ‖ΔW‖²."
    )


def _half(changes: Sequence[LayerChange]) -> int:
    energy = sorted(_by_layer(changes, lambda change: change.norm**2).values(), reverse=True)
    return 1 + next(index for index, total in enumerate(accumulate(energy)) if total >= sum(energy) / 2)


def _most_used(changes: Sequence[LayerChange]) -> str:
    """Return, for each arm with a rank to use, the layers that use the most and the least of it."""
    lines = []
    for arm in _arms(changes):
        mine = [change for change in changes if change.arm == arm]
        used = sorted(_by_layer(mine, _utilisation).items(), key=lambda pair: -pair[1])
        if len(used) > 3 and max(change.rank for change in mine) > 1:
            most, least = (", ".join(f"{name} {value:.0%}" for name, value in part) for part in (used[:3], used[-3:]))
            lines.append(f"- {arm}: most {most}; least {least}")
    return "\n".join(["Share of its rank that a layer uses (effective rank by rank):", *lines]) if lines else ""


def _alike(similarities: Sequence[Similarity]) -> str:
    groups: dict[tuple[str, str, int], list[Similarity]] = {}
    for each in similarities:
        kind = f"{each.one.arm}, other seeds" if each.one.arm == each.other.arm else f"{each.one.arm} and"
        other = "" if each.one.arm == each.other.arm else each.other.arm
        groups.setdefault((kind, other, each.directions), []).append(each)
    if not groups:
        return ""
    rows = [["changes compared", "directions", "inputs", "outputs", "by chance"]]
    for (kind, other, directions), found in groups.items():
        means = (fmean(each.inputs for each in found), fmean(each.outputs for each in found))
        chance = fmean(each.chance for each in found)
        rows.append([f"{kind} {other}".strip(), str(directions), *(f"{mean:.3f}" for mean in means), f"{chance:.3f}"])
    return "\n\n".join(
        [
            "Subspace similarity of two changes of the same layer: 1 for one subspace, 0 for orthogonal ones.",
            markdown(rows),
        ]
    )


def _utilisation(change: LayerChange) -> float:
    return change.effective_rank / change.rank


def _arms(changes: Sequence[LayerChange]) -> list[str]:
    return list(dict.fromkeys(change.arm for change in changes))


def _layers(changes: Sequence[LayerChange]) -> list[str]:
    """In the order of depth: numbers inside names count as numbers."""
    return sorted({change.layer for change in changes}, key=_depth)


def _depth(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _by_layer(changes: Sequence[LayerChange], figure: Callable[[LayerChange], float]) -> dict[str, float]:
    return {name: fmean(figure(change) for change in changes if change.layer == name) for name in _layers(changes)}


def _picture(changes: Sequence[LayerChange], title: str, path: Path) -> None:
    """Layers down, arms across: the share of its rank that each layer uses, and how far its weights moved."""
    import numpy as np
    from matplotlib.figure import Figure

    from harness.report.plots import layer_map, save_picture

    layers, arms = _layers(changes), _arms(changes)
    size = (3.2 + 1.1 * len(arms) + 4, max(3.5, 1.8 + 0.21 * len(layers)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    panels: list[tuple[str, Callable[[LayerChange], float], str]] = [
        ("share of its rank that the layer uses", _utilisation, "viridis"),
        ("‖ΔW‖ / ‖W‖", lambda change: change.relative, "magma"),
    ]
    for panel, (label, figure_of, colours) in zip(axes, panels, strict=True):
        table = [_by_layer([change for change in changes if change.arm == arm], figure_of) for arm in arms]
        values = np.array([[column.get(layer, np.nan) for column in table] for layer in layers])
        figure.colorbar(layer_map(panel, values, layers, arms, colours), ax=panel, label=label)
    figure.suptitle(f"{title}: which layers use their rank, and which moved (grey: not adapted)")
    save_picture(figure, path)
