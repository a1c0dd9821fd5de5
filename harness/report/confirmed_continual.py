"""Ways to learn one task after another, trained again with fresh seeds: what is kept, and what is forgotten."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.record import Record
from harness.report.confirmed import LEAST_SEEDS, Confirmation, confirmation
from harness.report.confirmed import section as confirmed_section
from harness.report.table import markdown
from harness.report.two_level import compare

_MEASURES: dict[str, Callable[[Record], float]] = {
    "BWT": lambda entry: entry.continual_summary.bwt,
    "new": lambda entry: entry.continual_summary.new,
}


def section(records: Sequence[Record], folder: Path, margin: float) -> str:
    """The text of the confirmation; empty where there is none."""
    found = confirmation(records, folder, margin)
    if found is None:
        return ""
    return "\n\n".join([confirmed_section(found), markdown(_rows(found)), _notes(found)])


def _rows(found: Confirmation) -> list[list[str]]:
    others = [each for each in found.arms if each.gap is not None]
    header = ["arm"]
    columns = []
    for name, measure in _MEASURES.items():
        header += [name, f"{name} against {found.reference} [95 %]", "verdict"]
        values = {each.arm: np.array([[measure(run)] for run in each.runs]) for each in found.arms}
        kinds = {each.arm: "adapter" if each.entry.parameters.adapter else each.arm for each in found.arms}
        columns.append((values, compare(values, found.reference, kinds)))
    rows = [header]
    for each in [*(each for each in found.arms if each.gap is None), *others]:
        cells = [each.arm]
        for values, gaps in columns:
            gap = gaps.get(each.arm)
            mean = f"{float(values[each.arm].mean()):+.4f}"
            if gap is None:
                cells += [mean, "", "reference"]
            else:
                said = gap.verdict(found.margin) if found.seeds >= LEAST_SEEDS else "not decided"
                cells += [mean, f"{gap.difference:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]", said]
        rows.append(cells)
    return rows


def _notes(found: Confirmation) -> str:
    return (
        f"BWT and new: means over {found.seeds} seeds, intervals over seeds alone, for all arms at once. The unit that "
        "is repeated is the seed; one order of tasks, whose spread is not in the intervals."
    )
