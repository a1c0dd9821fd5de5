"""The curve of a trial that was cut to lower ranks: a table, a file of figures, a picture."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.report.plots import Line, lines_picture
from harness.report.table import markdown


@dataclass(frozen=True)
class Cut:
    """Parameters and validation scores of a network with one `rank`, and with ranks by layer at as many parameters.

    The last two are after some steps of training; None without any.
    """

    rank: int
    parameters: int
    allocated_parameters: int
    score: float
    allocated_score: float
    recovered_score: float | None = None
    recovered_allocated_score: float | None = None


_LINES = (
    ("score", " cut to one rank", True),
    ("allocated_score", " cut to ranks by layer, at as many parameters", False),
    ("recovered_score", " cut to one rank, and trained on", True),
    ("recovered_allocated_score", " cut to ranks by layer, and trained on", False),
)


def write_curve(cuts: Sequence[Cut], folder: Path, title: str, objective: str) -> str:
    """Write truncation.csv and truncation.png; returns the table."""
    names = list(asdict(cuts[0]))
    with open(folder / "truncation.csv", "w", newline="") as file:
        figures = csv.DictWriter(file, names)
        figures.writeheader()
        figures.writerows(asdict(cut) for cut in cuts)
    shown = [line for line in _LINES if asdict(cuts[0])[line[0]] is not None]
    path = folder / "truncation.png"
    lines = [
        Line(
            "lora" if place < 2 else "peft",
            label,
            [(cut.rank, asdict(cut)[name]) for cut in cuts],
            dotted=dotted,
            name="LoRA",
        )
        for place, (name, label, dotted) in enumerate(shown)
    ]
    lines_picture(lines, "rank", f"validation {objective}", title, path)
    header = ["rank", "parameters", *(f"val {objective}{label.partition(', at')[0]}" for _, label, _ in shown)]
    rows = [
        [str(cut.rank), f"{cut.parameters:,}", *(f"{asdict(cut)[name]:.4f}" for name, _, _ in shown)] for cut in cuts
    ]
    note = "Cut by SVD. The last row has the trial's own ranks. One trial: the spread of seeds is unseen."
    return "\n\n".join([markdown([header, *rows]), note, f"Written: {folder / 'truncation.csv'}, {path}"])
