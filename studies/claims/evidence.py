"""Evidence from finished studies: comparisons of two arms, as differences on the same items and ratios of costs."""

import csv
import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TypeVar

from harness.record import Merge, Record, best_by, best_on_validation, direction
from harness.report.confirmed import LEAST_SEEDS, runs_again
from harness.report.score_matrices import score_matrices
from harness.report.statistics import median_ratio
from harness.report.table import cost_of, step_seconds
from harness.report.two_level import Comparison, compare
from harness.system.study_files import CURVE

K = TypeVar("K", bound=Hashable)
Estimate = tuple[float, float, float]
"""A figure and its interval: value, low, high."""


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study and the command that makes it; or, without records, the reason why there is none.

    `records` are of its search, `confirmed` those that were trained with fresh seeds after it.
    """

    command: str
    folder: Path = Path()
    records: tuple[Record, ...] = ()
    missing: str = ""
    confirmed: tuple[Record, ...] = ()

    @property
    def label(self) -> str:
        """A description of the study's task and model."""
        return f"{self.records[0].model}, {self.records[0].task}"


def adapted(study: Study) -> list[Record]:
    """The trials that ended with a LoRA adapter's figures, pruned ones too."""
    return [entry for entry in _ended(study) if entry.lora.is_low_rank]


def merged(study: Study) -> list[Record]:
    """The trials, of the search or with fresh seeds, whose adapter's network was compared with the merged one."""
    every = [*study.records, *study.confirmed]
    return [entry for entry in every if entry.state != "fail" and entry.lora.is_low_rank and entry.merge]


def full(study: Study) -> list[Record]:
    """The trials of full fine-tuning of pretrained weights, pruned ones too."""
    return [entry for entry in _ended(study) if _is_full(entry)]


def _is_full(entry: Record) -> bool:
    return entry.lora.trains_whole_base and entry.base.sha256 != "fresh"


def _ended(study: Study) -> list[Record]:
    return [entry for entry in study.records if entry.state != "fail"]


@dataclasses.dataclass(frozen=True)
class Finalist:
    """An arm's trial of the search that did best on validation, and its trials with fresh seeds, by seed."""

    chosen: Record
    runs: dict[int, Record]

    @property
    def arm(self) -> str:
        """The arm's name."""
        return self.chosen.arm


@dataclasses.dataclass(frozen=True)
class Compared:
    """Arms against one of them: of each the difference and its interval, all of them at once at 95 %.

    `unit` says over what they are, such as seeds and test items.
    """

    gaps: dict[str, Estimate]
    unit: str


def finalists(study: Study) -> list[Finalist]:
    """The arms that have as many complete trials with fresh seeds as a verdict takes."""
    chosen = best_by(study.records, lambda entry: entry.arm).values()
    found = [Finalist(entry, runs_again(study.confirmed, entry)) for entry in chosen]
    return [each for each in found if len(each.runs) >= LEAST_SEEDS]


def low_rank(found: Sequence[Finalist]) -> list[Finalist]:
    """Those that are LoRA."""
    return [each for each in found if each.chosen.lora.is_low_rank]


def fine_tuned(found: Sequence[Finalist]) -> list[Finalist]:
    """Those that are full fine-tuning of pretrained weights."""
    return [each for each in found if _is_full(each.chosen)]


def best_of(found: Sequence[Finalist], key: Callable[[Record], K]) -> dict[K, Finalist]:
    """Return the trial of each group that the search found best on validation."""
    by_trial = {each.chosen.trial: each for each in found}
    chosen = best_by((each.chosen for each in found), key)
    return {name: by_trial[entry.trial] for name, entry in chosen.items()}


def leader(found: Sequence[Finalist]) -> Finalist | None:
    """The one that the search found best on validation."""
    return next(iter(best_of(found, lambda _: None).values()), None)


def against(study: Study, others: Sequence[Finalist], reference: Finalist) -> Compared | None:
    """Test scores over the seeds that all have; None where these are too few for a verdict."""
    seeds = sorted(set.intersection(*(set(each.runs) for each in (*others, reference))))
    if len(seeds) < LEAST_SEEDS:
        return None
    runs = {each.arm: [each.runs[seed] for seed in seeds] for each in (*others, reference)}
    scores = score_matrices(runs, study.folder)
    kinds = {each.arm: "adapter" if each.chosen.parameters.adapter else each.arm for each in (*others, reference)}
    gaps = {name: spans(gap) for name, gap in compare(scores.values, reference.arm, kinds).items()}
    items = f", {scores.rows:,} test items" if scores.rows else ""
    voices = len(reference.chosen.data.speakers.get("test", ()))
    return Compared(gaps, f"{len(seeds)} seeds{items}" + (f" of {voices} voices" if voices else ""))


def spans(gap: Comparison) -> Estimate:
    """The difference and its interval."""
    return gap.difference, gap.low, gap.high


def turned(gap: Estimate) -> Estimate:
    """The same difference as seen from the other arm."""
    value, low, high = gap
    return -value, -high, -low


def too_few_seeds(study: Study) -> str:
    """Return the reason for studies with too few seeds for a verdict, with the command that adds some."""
    arms = len({entry.arm for entry in study.records})
    return f"too few seeds: a verdict takes {LEAST_SEEDS}; run=confirm study={study.folder.name} top={arms} trains them"


def same_targets(records: Sequence[Record]) -> list[Record]:
    """The trials that adapt what the best of them on validation adapts: others cost otherwise."""
    best = best_on_validation(records)
    return [entry for entry in records if best is not None and entry.lora.targets == best.lora.targets]


def cost_ratio(study: Study, cost: Callable[[Record], float]) -> tuple[Estimate, int, int] | None:
    """The median of a trial's cost with LoRA over that with full fine-tuning, and of how many trials each."""
    pairs = [
        [cost(entry) for entry in group if entry.memory and entry.time.step_median_s and entry.pack_size == 1]
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
    """Return how many times sooner LoRA's best trial reaches a validation score than full fine-tuning's, and that
    score.

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
    """Return by how much the score is better on training rows than on test rows."""
    up = direction(name)
    return up * (entry.score("train", name) - entry.score("test", name))
