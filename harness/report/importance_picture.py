"""The importances of a search's dimensions as bars."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from harness.report.importance import LEVEL, title
from harness.report.plots import save_picture


def importance_picture(found: Mapping[str, Any], study: str, path: Path) -> None:
    """A bar for each dimension, the greatest on top; pale where shuffled scores give as much."""
    keys = list(reversed(found["shares"]))
    shares = [100 * found["shares"][key] for key in keys]
    figure, axes = plt.subplots(figsize=(8, 1.6 + 0.42 * len(keys)), layout="constrained")
    shown = [found["p"][key] < LEVEL for key in keys]
    colours = ["#0072B2" if each else "#BFD9EA" for each in shown]
    axes.barh(keys, shares, color=colours)
    for place, (share, key) in enumerate(zip(shares, keys, strict=True)):
        axes.annotate(
            f"{share:.0f} %, p {found['p'][key]:.2f}", (share, place), (4, 0), textcoords="offset points", va="center"
        )
    axes.set_xlim(0, 1.3 * max(shares))
    axes.set_xlabel("importance (PED-ANOVA), share of the sum in percent; pale: not told from chance")
    axes.set_title(f"{study}\n{title(found)}", fontsize=10)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    save_picture(figure, path)
