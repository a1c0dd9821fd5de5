"""The outcome of a trial from its record: whether it is final, its headline score, and which of two is better."""

import dataclasses
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from harness.record.fields import Section, fields_of
from harness.record.sections import Record

if TYPE_CHECKING:
    import numpy as np

_GONE = object()
K = TypeVar("K", bound=Hashable)
S = TypeVar("S", float, "np.ndarray")
_LOWER = frozenset(("loss", "perplexity", "rmse", "mae", "wer", "cer", "no_answer"))
SHARES = ("accuracy", "accuracy_norm", "answer_accuracy")
"""Scores that are the share of items that are right."""
_USUAL = ("accuracy", "score", "loss")
_BOUNDS: Mapping[tuple[float, float], tuple[str, ...]] = {
    (0.0, 1.0): (
        *("accuracy", "accuracy_norm", "answer_accuracy", "no_answer", "balanced_accuracy", "exact", "group_exact"),
        *(
            "f1",
            "f1_macro",
            "f1_micro",
            "precision",
            "recall",
            "auroc",
            "average_precision",
            "rouge_l",
            "miou",
            "max_f",
        ),
    ),
    (-1.0, 1.0): ("matthews", "pearson", "spearman"),
    (0.0, 100.0): ("bleu", "chrf"),
    (0.0, 180.0): ("angle",),
    (-math.inf, 1.0): ("r2",),
    (0.0, math.inf): ("loss", "rmse", "mae", "wer", "cer"),
    (1.0, math.inf): ("perplexity",),
}
"""The measures that cannot leave a range, by the range."""


def fail_if_not_finite(entry: Record) -> Record:
    """The record itself; with a number in it that is NaN or infinite, which JSON has no word for, a failed one.

    The number is left out, and the reason names its section and field.
    """
    found: list[str] = []
    names = [field.name for field in dataclasses.fields(entry)]
    sections = {name: _finite(getattr(entry, name), name, found) for name in names}
    if not found:
        return entry
    reason = "; ".join(part for part in (entry.reason, f"diverged: {', '.join(found)}") if part)
    return dataclasses.replace(entry, **{**sections, "state": "fail", "reason": reason})


def _finite(tree: Any, name: str, found: list[str]) -> Any:
    """The same without numbers that are not finite; each is added to `found` with its name and value.

    A row of numbers means something only as a whole: with one of them it is left out. So is a section whose field
    cannot be empty.
    """
    if isinstance(tree, float) and not math.isfinite(tree):
        found.append(f"{name} is {tree}")
        return _GONE
    if isinstance(tree, Section):
        return _finite_section(tree, name, found)
    if isinstance(tree, dict):
        named = {key: _finite(value, f"{name}.{key}", found) for key, value in tree.items()}
        return {key: value for key, value in named.items() if value is not _GONE}
    if isinstance(tree, list):
        rows = [_finite(item, f"{name}[{index}]", found) for index, item in enumerate(tree)]
        kept = [item for item in rows if item is not _GONE]
        return kept if len(kept) == len(rows) or isinstance(tree[0], list) else _GONE
    return tree


def _finite_section(section: Section, name: str, found: list[str]) -> Section:
    fields = {field.name: field for field in fields_of(type(section)) if not field.derived}
    values = {key: _finite(getattr(section, key), f"{name}.{key}", found) for key in fields}
    gone = [key for key, value in values.items() if value is _GONE]
    if any(fields[key].default is not None for key in gone):
        return type(section)()
    return type(section)(**{key: value for key, value in values.items() if key not in gone})


def is_final(entry: Record) -> bool:
    """Return whether a trial ended regularly; one that ended with an unforeseen error is tried again."""
    return not entry.reason.startswith("error:")


def ran_out_of_memory(entry: Record) -> bool:
    """Return whether a trial ended because memory ran out, of a GPU or of the machine."""
    return entry.reason.startswith("out of memory:")


def process_suspect(entry: Record) -> bool:
    """Return whether a trial ended in a way that may have harmed the process it ran in."""
    return ran_out_of_memory(entry) or entry.reason.startswith("error:")


def direction(metric: str) -> float:
    """1 where a higher value of a metric is better, −1 where a lower one is: of losses and errors."""
    return -1.0 if metric.rpartition("/")[2] in _LOWER else 1.0


def gain(score: S, alone: S, error: bool) -> S:
    """The gain of a task over its run alone, in percent of that: positive is better (Maninis et al., 2019).

    It takes one score or an array of them.
    """
    share: S = 100 * (score - alone) / alone
    return -share if error else share


def bounds(metric: str) -> tuple[float, float]:
    """The least and the greatest value that a metric can have; infinite where there is none, or none is known."""
    name = metric.rpartition("/")[2]
    return next((found for found, names in _BOUNDS.items() if name in names), (-math.inf, math.inf))


def headline_bounds(entry: Record) -> tuple[float, float]:
    """The bounds of the headline score: for several tasks it is a mean of shares, and R² among them has only an upper
    bound.
    """
    name = headline_metric(entry)
    if name != "score" or not entry.data.tasks:
        return bounds(name)
    known = {each for scores in entry.scores.values() for each in scores}
    shares = all(f"{task}/accuracy" in known for task in entry.data.tasks)
    return (0.0 if shares else -math.inf), 1.0


def within(interval: tuple[float, float], limits: tuple[float, float]) -> tuple[float, float]:
    """An interval without what lies outside of the limits."""
    low, high = (min(max(end, limits[0]), limits[1]) for end in interval)
    return low, high


def headline_metric(entry: Record) -> str:
    """The score that a trial is shown by: accuracy where there is one, of several tasks their mean, else the loss.

    Where the objective is none of these but a measure or a metric of the user's own, it is that.
    """
    if entry.objective not in _USUAL:
        return entry.objective
    known = {name for scores in entry.scores.values() for name in scores}
    return next((name for name in _USUAL[:2] if name in known), "loss")


def headline_score(entry: Record, split: str) -> float:
    """The score that a trial is shown by, on a split."""
    return entry.score(split, headline_metric(entry))


def find_complete(records: Iterable[Record], fingerprint: str) -> Record | None:
    """A complete trial of the same configuration, if there is one; failures and pruned trials are no answer."""
    same = (entry for entry in records if entry.fingerprint == fingerprint)
    return next((entry for entry in same if entry.state == "complete"), None)


def looked_up(entry: Record, now: Mapping[str, Any]) -> str:
    """Says that a trial's result stands for another run of it in the environment `now`, and what differs from then."""
    then, said = entry.provenance.environment, "looked up, not trained again"
    if not then:
        return f"{said}; its environment was not recorded"
    differing = environment_changes(then, now)
    return f"{said}; made elsewhere: {', '.join(differing)}" if differing else said


def environment_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the differences between two environments, each with its value then and now."""
    return [
        f"{name} {_brief(then.get(name))} (now {_brief(now.get(name))})"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]


def _brief(value: Any) -> str:
    """A value in a sentence; of a commit its first digits."""
    if value is None:
        return "none"
    return value[:12] if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40,}", value) else str(value)


def better(entry: Record, other: Record) -> bool:
    """Return whether a trial's validation score is better than another's, in the direction of their objective."""
    up = direction(entry.objective)
    return up * entry.score("val", entry.objective) > up * other.score("val", other.objective)


def best_on_validation(group: Sequence[Record]) -> Record | None:
    """The complete trial that did best on validation, the first of those that did alike."""
    best: Record | None = None
    for entry in sorted(group, key=lambda entry: entry.trial):
        if entry.state == "complete" and (best is None or better(entry, best)):
            best = entry
    return best


def best_by(records: Iterable[Record], key: Callable[[Record], K]) -> dict[K, Record]:
    """The best trial on validation of each group with the same key, in the order of the trials.

    A group without a complete trial is left out.
    """
    groups: dict[K, list[Record]] = {}
    for entry in sorted(records, key=lambda entry: entry.trial):
        groups.setdefault(key(entry), []).append(entry)
    return {name: best for name, group in groups.items() if (best := best_on_validation(group)) is not None}
