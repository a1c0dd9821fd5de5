"""Arms that share a base, trained again with fresh seeds beside runs of each task alone: what all of it says of Δm."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from harness.record import Record, best_by, direction, gain
from harness.report.chance import constants
from harness.report.confirmed import LEAST_SEEDS, WORDS, failed_again, failures_told, runs_again
from harness.report.multitask import is_error, items_of, main_score, measure_of, same_items, tasks_of
from harness.report.table import markdown
from harness.report.two_level import Comparison, Floats, Verdict, compare

_ALONE = "alone"


@dataclass(frozen=True)
class ConfirmedMultitaskArm:
    """An arm that shares the base: its trials with fresh seeds, each task's mean gain and its Δm, both in percent."""

    arm: str
    runs: list[Record]
    gains: dict[str, float]
    delta: Comparison
    verdict: Verdict


@dataclass(frozen=True)
class ConfirmedMultitask:
    """All such arms over the seeds that they and the runs alone have in common; `margin` is in percent of Δm.

    `failed` says of each arm that has failed trials how many and why.
    """

    seeds: int
    items: int
    margin: float
    arms: list[ConfirmedMultitaskArm]
    alone: dict[str, list[Record]]
    failed: dict[str, str]

    @property
    def runs(self) -> dict[str, list[Record]]:
        """The trials of each arm, those of a task alone among them."""
        return {runs[0].arm: runs for runs in (*self.alone.values(), *(arm.runs for arm in self.arms))}


def confirmed_multitask(records: Sequence[Record], folder: Path, margin: float) -> ConfirmedMultitask | None:
    """Judge the arms that share the base by the trials that confirm; None without two seeds that all of them have.

    Of each task the arm alone counts that is best on validation over the fresh seeds: the best of the search may owe
    that to its one seed. An arm's Δm with one seed is against the runs alone with that seed, so a seed's chance in
    those counts too. Items count by their influence on Δm, to first order; items that tasks share are one item. Raises
    AssertionError where two trials were scored on other items.
    """
    searched = [entry for entry in records if entry.phase == "search"]
    again = [entry for entry in records if entry.phase == "confirm"]
    single = best_by((entry for entry in searched if len(tasks_of(entry)) == 1), lambda entry: entry.arm)
    alone = _best_alone([runs_again(again, entry) for entry in single.values()])
    best = best_by((entry for entry in searched if len(tasks_of(entry)) > 1), lambda entry: entry.arm)
    runs = {arm: runs_again(again, entry) for arm, entry in best.items() if set(tasks_of(entry)) <= alone.keys()}
    failed = {entry.arm: said for entry in (*single.values(), *best.values()) if (said := failed_again(again, entry))}
    runs = {arm: found for arm, found in runs.items() if found}
    groups = [*alone.values(), *runs.values()]
    seeds = sorted(set.intersection(*map(set, groups))) if runs else []
    if len(seeds) < 2:
        return None
    values = {
        arm: np.array([_influences(found[seed], {t: alone[t][seed] for t in alone}, folder) for seed in seeds])
        for arm, found in runs.items()
    }
    size = next(iter(values.values())).shape
    gaps = compare({_ALONE: np.zeros(size), **values}, _ALONE, {_ALONE: _ALONE} | dict.fromkeys(runs, "shared"))
    arms = [
        ConfirmedMultitaskArm(
            arm=arm,
            runs=[runs[arm][seed] for seed in seeds],
            gains=_gains([runs[arm][seed] for seed in seeds], [{t: alone[t][seed] for t in alone} for seed in seeds]),
            delta=gaps[arm],
            verdict=gaps[arm].verdict(100 * margin) if len(seeds) >= LEAST_SEEDS else "not decided",
        )
        for arm in runs
    ]
    kept = {task: [found[seed] for seed in seeds] for task, found in alone.items()}
    return ConfirmedMultitask(len(seeds), size[1], 100 * margin, arms, kept, failed)


def not_confirmed(records: Sequence[Record]) -> list[str]:
    """Return why confirming trials give no Δm, if a single-task run is missing among them."""
    again = {entry.arm for entry in records if entry.phase == "confirm"}
    single = [entry for entry in records if entry.phase == "search" and len(tasks_of(entry)) == 1]
    known = {tasks_of(entry)[0]: False for entry in single} | {tasks_of(e)[0]: True for e in single if e.arm in again}
    missing = [task for task, there in known.items() if not there]
    if not again or not missing:
        return []
    way = f"run=confirm study={records[0].study} with a larger top"
    return [f"Of Δm with fresh seeds nothing is said: no run alone of {', '.join(missing)} was trained again; {way}."]


def _best_alone(arms: Sequence[Mapping[int, Record]]) -> dict[str, Mapping[int, Record]]:
    """Return, for each task, the trials of its best arm, by their seeds; arms without a failed seed come first."""
    by_task: dict[str, list[Mapping[int, Record]]] = {}
    for runs in filter(None, arms):
        by_task.setdefault(tasks_of(next(iter(runs.values())))[0], []).append(runs)
    return {task: max(found, key=_on_validation) for task, found in by_task.items()}


def _on_validation(runs: Mapping[int, Record]) -> tuple[int, float]:
    scores = (direction(run.objective) * run.score("val", run.objective) for run in runs.values())
    return len(runs), fmean(scores)


def _gains(runs: Sequence[Record], alone: Sequence[Mapping[str, Record]]) -> dict[str, float]:
    return {
        task: fmean(
            gain(main_score(run, task), main_score(singles_[task], task), is_error(run, task))
            for run, singles_ in zip(runs, alone, strict=True)
        )
        for task in tasks_of(runs[0])
    }


def _influences(run: Record, alone: Mapping[str, Record], folder: Path) -> Floats:
    """A value for each test item, of which the mean is Δm in percent: what an item more like it would move."""
    mine = items_of(run, folder)
    by_item: dict[int, Floats] = {}
    for task in tasks_of(run):
        theirs = items_of(alone[task], folder)[task]
        assert np.array_equal(mine[task].label, theirs.label), f"other test items of {task}"
        error = is_error(run, task)
        score, base = main_score(run, task), main_score(alone[task], task)
        moved = mine[task].influence(score) / base - score * theirs.influence(base) / base**2
        values = gain(score, base, error) + 100 * (-moved if error else moved)
        group = same_items(run, task)
        by_item[group] = by_item.get(group, 0) + values / len(tasks_of(run))
    total = sum(map(len, by_item.values()))
    return np.concatenate([values * total / len(values) for values in by_item.values()])


def section(found: ConfirmedMultitask) -> str:
    """The text of the confirmation: an arm a row."""
    tasks = list(found.alone)
    rows = [["arm", "adapter", "trainable", "Δm [95 %]", "verdict", *tasks]]
    alone = [f"{fmean(main_score(run, task) for run in runs):.4f}" for task, runs in found.alone.items()]
    rows.append([_ALONE, "", "", "", "reference", *alone])
    for arm in found.arms:
        delta, entry = arm.delta, arm.runs[0]
        rows.append(
            [
                arm.arm,
                f"{entry.parameters.adapter:,}",
                f"{entry.parameters.trainable:,}",
                f"{delta.difference:+.2f} % [{delta.low:+.2f}, {delta.high:+.2f}]",
                arm.verdict,
                *(f"{arm.gains[task]:+.1f} %" if task in arm.gains else "" for task in tasks),
            ]
        )
    return "\n\n".join([f"## Confirmed with {found.seeds} fresh seeds", answer(found), markdown(rows), _notes(found)])


def answer(found: ConfirmedMultitask) -> str:
    """State the conclusion, with the difference that the study could have detected."""
    named: dict[Verdict, list[str]] = {}
    for arm in found.arms:
        named.setdefault(arm.verdict, []).append(arm.arm)
    said = "; ".join(f"{verdict}: {', '.join(arms)}" for verdict, arms in named.items())
    seen = max(arm.delta.detectable for arm in found.arms)
    power = f"With {found.seeds} seeds and {found.items:,} test items a Δm of {seen:.1f} % has a power of 80 %"
    few = "" if found.seeds >= LEAST_SEEDS else f" With fewer than {LEAST_SEEDS} seeds nothing is decided."
    sentence = f"Against runs of each task alone, {said}. {power}; the margin is {found.margin:g} %.{few}"
    return " ".join(filter(None, [sentence, *_learned_nothing(found), failures_told(found.failed)]))


def _learned_nothing(found: ConfirmedMultitask) -> Iterator[str]:
    """Yield the tasks that some single-task runs did not learn: a gain then does not measure what is shared."""
    sample = found.arms[0].runs[0]
    known = {constant.measure: constant.test for constant in constants(sample)}
    for task, runs in found.alone.items():
        best = known.get(f"{task}/{measure_of(sample, task)}")
        if best is None:
            continue
        sign = -1 if is_error(sample, task) else 1
        lost = sum(sign * main_score(run, task) <= sign * best for run in runs)
        if lost:
            yield (
                f"Alone, {task} was not learned in {lost} of {len(runs)} seeds, which score no better than giving the "
                f"same answer always ({best:.4f}): gains on it are against that."
            )


def _notes(found: ConfirmedMultitask) -> str:
    return (
        "The best trial of each arm and of each task alone was trained again with seeds that the search never had, the "
        "same for all; of several runs alone of a task those count that are best on validation over these seeds. Δm of "
        "a seed is against the runs alone with that seed. The unit that is repeated is the seed. Intervals are over "
        "new seeds and new test items (items by their influence on Δm, to first order), and hold "
        f"for all arms at once in 95 % of studies. {WORDS.format(margin=f'{found.margin:g} %')}"
        + (" Ways are compared over the seeds that ended in all trials." if found.failed else "")
    )
