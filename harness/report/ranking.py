"""The check of whether arms can be ranked: whether any is better than an answer without learning."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.record import SHARES, Record, direction, headline_metric
from harness.report.chance import constant
from harness.report.table import predictions
from harness.report.two_level import Mean
from harness.system.figures import figure

_NO_KNOWLEDGE = {"matthews": 0.0, "auroc": 0.5, "r2": 0.0, "pearson": 0.0, "spearman": 0.0}
"""What measures are of answers that have nothing to do with the rows, where no record says it."""


def cannot_rank(entry: Record, means: Sequence[Mean], seen: float, size: str, folder: Path) -> str:
    """Return why arms of these mean scores cannot be ranked; empty if they can, or if there is nothing to compare with.

    `entry` is a trial of theirs, `seen` the difference that a study of this `size` finds with a power of 80 %.
    """
    known = _level(entry, folder)
    if known is None:
        return ""
    said, level = known
    name = headline_metric(entry)
    up = direction(name)
    if all(min(up * mean.low, up * mean.high) <= up * level for mean in means):
        return f"no arm is shown to be better than {said} ({name} {figure(level)})"
    lead = max(up * mean.mean for mean in means) - up * level
    if seen > lead:
        return (
            f"with {size} a difference of {amount(name, seen)} has a power of 80 %, and the best arm is only "
            f"{amount(name, lead)} away from {said}"
        )
    return ""


def _level(entry: Record, folder: Path) -> tuple[str, float] | None:
    """Return the best constant answer that is known, and its score on test."""
    name, guessing = headline_metric(entry), entry.data.details.get("chance")
    always = constant(entry)
    found = [(always.said, always.test)] if always is not None and always.test is not None else []
    if name == "accuracy" and isinstance(guessing, dict) and "test" in guessing:
        found.append(("guessing", guessing["test"]))
    if not found and name in _NO_KNOWLEDGE:
        found.append(("knowing nothing", _NO_KNOWLEDGE[name]))
    if not found and name == "accuracy" and (rows := predictions(entry, folder)) and "label" in rows[0]:
        ((_, often),) = Counter(row["label"] for row in rows).most_common(1)
        found.append(("always answering the most frequent class", often / len(rows)))
    return max(found, key=lambda each: direction(name) * each[1], default=None)


def amount(name: str, difference: float) -> str:
    """A difference of a measure: of shares in points."""
    return f"{100 * difference:.1f} points" if name in SHARES else figure(difference)
