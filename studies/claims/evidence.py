"""What finished studies show when two of their arms are compared: differences on the same items, ratios of costs."""

import csv
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.record import Merge, Record, best_on_validation, direction, headline_metric
from harness.report.statistics import median_ratio
from harness.report.table import cost_of, outcomes, sign, step_seconds
from harness.system.study_files import CURVE

Estimate = tuple[float, float, float]
"""A figure and its interval: value, low, high."""


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study and the command that makes it; or, without records, the reason why there is none."""

    command: str
    folder: Path = Path()
    records: tuple[Record, ...] = ()
    missing: str = ""

    @property
    def label(self) -> str:
        """What it was measured on."""
        return f"{self.records[0].model}, {self.records[0].task}"


def adapted(study: Study) -> list[Record]:
    """The trials that ended with a LoRA adapter's figures, pruned ones too."""
    return [entry for entry in _ended(study) if entry.lora.is_low_rank]


def full(study: Study) -> list[Record]:
    """The trials of full fine-tuning of pretrained weights, pruned ones too."""
    return [entry for entry in _ended(study) if entry.lora.trains_whole_base and entry.base.sha256 != "fresh"]


def _ended(study: Study) -> list[Record]:
    return [entry for entry in study.records if entry.state != "fail"]


def correct_items(entry: Record, folder: Path) -> list[bool] | None:
    """Whether the trial was right on each test item; None where the items were not kept or have no right answer."""
    items = outcomes(entry, folder) if headline_metric(entry) == "accuracy" else None
    return None if items is None else [item == 1 for item in items]


def same_targets(records: Sequence[Record]) -> list[Record]:
    """The trials that adapt what the best of them on validation adapts: others cost otherwise."""
    best = best_on_validation(records)
    return [entry for entry in records if best is not None and entry.lora.targets == best.lora.targets]


def cost_ratio(study: Study, cost: Callable[[Record], float]) -> tuple[Estimate, int, int] | None:
    """The median of a trial's cost with LoRA over that with full fine-tuning, and of how many trials each."""
    pairs = [
        [cost(entry) for entry in group if entry.memory and entry.time.step_median_s]
        for group in (same_targets(adapted(study)), full(study))
    ]
    first, second = pairs
    if not first or not second:
        return None
    return median_ratio(first, second), len(first), len(second)


def peak(entry: Record) -> float:
    """Peak memory in training above what the process held before, in bytes."""
    return float(cost_of(entry, "memory"))


def held_for_training(entry: Record) -> float:
    """Bytes of gradients and of the optimiser's state: exact sums."""
    return float(entry.memory.gradients + entry.memory.optimizer)


def time_to_quality(study: Study) -> tuple[Estimate, float] | None:
    """How many times sooner LoRA's best trial reaches a validation score than full fine-tuning's, and that score.

    The score is the best that both reach, optimiser steps are what is timed. A trial reached it at some time after the
    evaluation before the first that shows it: the interval holds every such pair of times.
    """
    pair = best_on_validation(adapted(study)), best_on_validation(full(study))
    if pair[0] is None or pair[1] is None:
        return None
    curves = [_curve(entry, study.folder) for entry in pair if entry is not None]
    if not all(curves):
        return None
    up = direction(pair[0].objective)
    target = min(max(up * score for _, score in curve) for curve in curves)
    (after, at), (full_after, full_at) = (
        _reached(curve, up, target, step_seconds(entry)) for curve, entry in zip(curves, pair, strict=True) if entry
    )
    high = full_at / after if after else math.inf
    return (full_at / at, full_after / at, high), up * target


def _curve(entry: Record, folder: Path) -> list[tuple[int, float]]:
    """The objective on validation by step, as metrics.csv has it."""
    path = folder / Path(entry.adapter.path).parent / CURVE
    if not path.exists():
        return []
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    name = f"val_{entry.objective}"
    return [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]


def _reached(curve: list[tuple[int, float]], up: float, target: float, seconds: float) -> tuple[float, float]:
    """Between which times the score was reached; evaluations may differ from records in the last digit."""
    before = 0
    for step, score in curve:
        if up * score >= target - 1e-9:
            return before * seconds, step * seconds
        before = step
    raise AssertionError("the target is the lower of the two best scores")


def latency_ratio(records: Sequence[Record], latency: Callable[[Merge], float | None]) -> list[float]:
    """The logarithm of a latency over that of the plain base, of each trial that measured both."""
    pairs = [(latency(entry.merge), entry.merge.latency_base_s) for entry in records]
    return [math.log(measured / base) for measured, base in pairs if measured and base]


def gap(entry: Record, name: str) -> float:
    """How much better the score is on training rows than on test rows."""
    up = direction(name)
    return up * (entry.score("train", name) - entry.score("test", name))


def better_by(first: Record, second: Record) -> float:
    """How much better the first trial's test score is, in the score's own unit."""
    name = headline_metric(first)
    return sign(first) * (first.score("test", name) - second.score("test", name))
