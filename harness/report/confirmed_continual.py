"""Ways to learn one task after another, trained again with fresh seeds: what is kept, and what is forgotten."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from harness.record import Record, headline_bounds
from harness.report.confirmed import Confirmation
from harness.report.confirmed import section as confirmed_section
from harness.report.table import markdown
from harness.report.two_level import Comparison, compare


def section(found: Confirmation) -> str:
    """The text of the confirmation."""
    parts = [confirmed_section(found), markdown(_rows(found)), _notes(found)]
    if found.unit == "orders":
        parts += ["ACC and, in brackets, BWT of each order:", markdown(_order_rows(found))]
    return "\n\n".join(parts)


@dataclasses.dataclass(frozen=True)
class _Figure:
    """A figure of the matrix: its mean of each arm, and the differences from one of the arms."""

    name: str
    reference: str
    means: Mapping[str, float]
    gaps: Mapping[str, Comparison]


def _figures(found: Confirmation) -> list[_Figure]:
    """BWT and the score on new tasks against the reference; forward transfer against a head that was trained alone."""
    least, most = headline_bounds(found.arms[0].entry)
    reach = most - least  # of two scores; BWT and FWT are differences of them
    figures = [
        _figure(found, "BWT", found.reference, lambda entry: entry.continual_summary.bwt, 2 * reach),
        _figure(found, "new", found.reference, lambda entry: entry.continual_summary.new, reach),
    ]
    head = next((each for each in found.arms if each.entry.lora.trains_head_alone), None)
    if head is not None and head.entry.continual.heads == "shared":  # of its own, a head knows nothing before
        figures.append(_figure(found, "FWT", head.arm, lambda entry: entry.continual_summary.fwt, 2 * reach))
    return figures


def _figure(
    found: Confirmation, name: str, reference: str, measure: Callable[[Record], float], reach: float
) -> _Figure:
    values = {each.arm: np.array([[measure(run)] for run in each.runs]) for each in found.arms}
    kinds = {each.arm: "adapter" if each.entry.parameters.adapter else each.arm for each in found.arms}
    means = {arm: float(runs.mean()) for arm, runs in values.items()}
    gaps = {arm: gap.within(reach) for arm, gap in compare(values, reference, kinds).items()}
    return _Figure(name, reference, means, gaps)


def _rows(found: Confirmation) -> list[list[str]]:
    figures, rows = _figures(found), [["arm"]]
    for figure in figures:
        rows[0] += [figure.name, f"{figure.name} against {figure.reference} [95 %]", "verdict"]
    for each in sorted(found.arms, key=lambda each: each.gap is not None):
        cells = [each.arm]
        for figure in figures:
            cells += [f"{figure.means[each.arm]:+.4f}", *_cells(found, figure.gaps.get(each.arm))]
        rows.append(cells)
    return rows


def _cells(found: Confirmation, gap: Comparison | None) -> list[str]:
    if gap is None:
        return ["", "reference"]
    said = "not decided" if found.too_few else gap.verdict(found.margin)
    return [f"{gap.difference:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]", said]


def _order_rows(found: Confirmation) -> list[list[str]]:
    rows = [["order", *(each.arm for each in found.arms)]]
    for runs in zip(*(each.runs for each in found.arms), strict=True):
        figures = [run.continual_summary for run in runs]
        cells = [f"{figure.acc:.4f} ({figure.bwt:+.4f})" for figure in figures]
        rows.append([", ".join(runs[0].continual.tasks), *cells])
    return rows


def _notes(found: Confirmation) -> str:
    if found.unit == "orders":
        unit = (
            "The unit that is repeated is the order of the tasks, the same in every arm, each with a seed of its own."
        )
    else:
        unit = "The unit that is repeated is the seed; one order of tasks, whose spread is not in the intervals."
    return (
        f"BWT, new and FWT: means over {found.seeds} {found.unit}, intervals over {found.unit} alone, for all arms at "
        f"once. {unit}"
    )
