"""The curve of a trial that was cut to lower ranks: a table, a file of figures, a picture."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.report.plots import Line, lines_picture
from harness.report.table import markdown


@dataclass(frozen=True)
class Cut:
    """Parameters and validation scores of a network with one `rank`, and with ranks by layer at as many parameters."""

    rank: int
    parameters: int
    allocated_parameters: int
    score: float
    allocated_score: float


def write_curve(cuts: Sequence[Cut], folder: Path, title: str, objective: str) -> str:
    """Write truncation.csv and truncation.png; returns the table."""
    with open(folder / "truncation.csv", "w", newline="") as file:
        figures = csv.DictWriter(file, list(asdict(cuts[0])))
        figures.writeheader()
        figures.writerows(asdict(cut) for cut in cuts)
    one = Line("lora", " cut to one rank", [(cut.rank, cut.score) for cut in cuts], dotted=True)
    by_layer = Line("lora", " cut to ranks by layer, at as many parameters", _allocated(cuts))
    path = folder / "truncation.png"
    lines_picture([one, by_layer], "rank", f"validation {objective}, cut without training", title, path)
    header = ["rank", "parameters", f"val {objective}, one rank", f"val {objective}, ranks by layer"]
    rows = [[str(cut.rank), f"{cut.parameters:,}", f"{cut.score:.4f}", f"{cut.allocated_score:.4f}"] for cut in cuts]
    note = "Cut by SVD, not trained again; the last row is the trial as it is. One trial: no spread of seeds is seen."
    return "\n\n".join([markdown([header, *rows]), note, f"Written: {folder / 'truncation.csv'}, {path}"])


def _allocated(cuts: Sequence[Cut]) -> list[tuple[float, float]]:
    return [(cut.rank, cut.allocated_score) for cut in cuts]
