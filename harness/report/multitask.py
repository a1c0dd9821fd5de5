"""The answer of a multi-task study: each task by each result of sharing a base, against a run of the task alone."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.record import Record, best_by, gain
from harness.report.chance import constants
from harness.report.table import failures, markdown, predictions, tally

_DRAWS = 2_000


@dataclasses.dataclass(frozen=True)
class Items:
    """A trial's answers to the test items of one task; `exact` if an answer is right or wrong.

    `measured`: an item is an image, and `predicted` the task's measure on it. With `right` an item has so many labels,
    spans, or plain tags, is answered with so many, and so many are both.
    """

    label: np.ndarray
    predicted: np.ndarray
    exact: bool
    measured: bool = False
    right: np.ndarray | None = None

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Accuracy, RMSE in the answer's own unit, F1, or mean measure, for each row of item weights (D, N)."""
        if self.right is not None:
            return np.asarray(2 * (weights @ self.right) / np.maximum(1.0, weights @ (self.label + self.predicted)))
        if self.measured:
            return np.asarray(weights @ self.predicted / weights.sum(-1))
        correct = (self.label == self.predicted).astype(float)
        if self.exact:
            return np.asarray(weights @ correct / weights.sum(-1))
        return np.asarray(np.sqrt(weights @ (self.label - self.predicted) ** 2 / weights.sum(-1)))

    def influence(self, score: float) -> np.ndarray:
        """Return each item's influence on the score (N), to first order; the mean is 0."""
        if self.right is not None:
            either = self.label + self.predicted
            return np.asarray((2 * self.right - score * either) / max(1e-12, either.mean()))
        if self.measured:
            return np.asarray(self.predicted - self.predicted.mean())
        if self.exact:
            return np.asarray((self.label == self.predicted) - score)
        return np.asarray(((self.label - self.predicted) ** 2 - score**2) / (2 * max(score, 1e-12)))


@dataclasses.dataclass(frozen=True)
class MultitaskResult:
    """An arm's trial that did best on validation, its tasks' test scores, and its Δm with an interval, in percent."""

    arm: str
    best: Record
    scores: dict[str, float]
    gains: dict[str, float]
    delta: float | None
    interval: tuple[float, float] | None


def tasks_of(entry: Record) -> list[str]:
    """The tasks that a trial was of, in the order in which its predictions number them."""
    return list(entry.data.tasks)


def with_gradients(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the complete trials that compared gradients of several tasks, by arm: those that confirm, if any."""
    compared = [
        each
        for each in records
        if each.state == "complete" and len(each.task_gradients.tasks) > 1 and each.task_gradients.cosines
    ]
    arms: dict[str, list[Record]] = {}
    for each in [each for each in compared if each.phase == "confirm"] or compared:
        arms.setdefault(each.arm, []).append(each)
    return arms


def is_error(entry: Record, task: str) -> bool:
    """Return whether a task's score is an error, lower being better."""
    better = entry.data.tasks[task].details.get("better")
    return f"{task}/rmse" in entry.scores["test"] if better is None else better == "lower is better"


def measure_of(entry: Record, task: str) -> str:
    """The name of a task's main score: what its data say, else accuracy, F1 of several labels or spans, or the RMSE."""
    known = ("f1_micro", *(("f1",) if _tags_tokens(entry, task) else ()))
    whole = next((name for name in known if f"{task}/{name}" in entry.scores["test"]), "accuracy")
    usual = "rmse" if is_error(entry, task) else whole
    return str(entry.data.tasks[task].details.get("measure", usual))


def _tags_tokens(entry: Record, task: str) -> bool:
    """Return whether each token of a row has an answer, which the data count."""
    return "tokens" in entry.data.tasks[task].details


def main_score(entry: Record, task: str, split: str = "test") -> float:
    """A task's score by its main measure."""
    return entry.score(split, f"{task}/{measure_of(entry, task)}")


def singles(records: Sequence[Record]) -> dict[str, Record]:
    """Return for each task its single-task run that is best on validation, if there is one."""
    tasks = dict.fromkeys(task for entry in records for task in tasks_of(entry))
    alone = best_by((entry for entry in records if len(tasks_of(entry)) == 1), lambda entry: tasks_of(entry)[0])
    return {task: alone[task] for task in tasks if task in alone}


def multitask_results(records: Sequence[Record], folder: Path) -> list[MultitaskResult]:
    """Every arm of several tasks, in the study's order, against the runs of each task alone."""
    together = [entry for entry in records if len(tasks_of(entry)) > 1]
    alone = singles(records)
    best = best_by(together, lambda entry: entry.arm)
    return [_result(arm, entry, alone, folder) for arm, entry in best.items()]


def _result(arm: str, entry: Record, alone: Mapping[str, Record], folder: Path) -> MultitaskResult:
    tasks = tasks_of(entry)
    scores = {task: main_score(entry, task) for task in tasks}
    gains = {
        task: gain(scores[task], main_score(alone[task], task), is_error(entry, task))
        for task in tasks
        if task in alone
    }
    whole = len(gains) == len(tasks)  # Δm is of all tasks or of none
    delta = sum(gains.values()) / len(tasks) if whole else None
    return MultitaskResult(arm, entry, scores, gains, delta, _interval(entry, alone, folder) if whole else None)


def _interval(entry: Record, alone: Mapping[str, Record], folder: Path) -> tuple[float, float] | None:
    """The 95 % interval of Δm by bootstrap over test items, the same draws for both runs of a task."""
    mine = items_of(entry, folder)
    total = np.zeros(_DRAWS)
    for task in tasks_of(entry):
        theirs = items_of(alone[task], folder).get(task)
        if task not in mine or theirs is None:
            return None
        assert np.array_equal(mine[task].label, theirs.label), f"other test items of {task}"
        count = len(theirs.label)
        draws = np.random.default_rng(same_items(entry, task)).multinomial(
            count, np.full(count, 1 / count), size=_DRAWS
        )
        weights = draws.astype(float)
        total += gain(mine[task].score(weights), theirs.score(weights), is_error(entry, task))
    low, high = np.percentile(total / len(tasks_of(entry)), [2.5, 97.5])
    return float(low), float(high)


def same_items(entry: Record, task: str) -> int:
    """A number that tasks on the same test items have in common: a seed, so that these are drawn together."""
    data = entry.data.tasks[task]
    items = (data.source, data.name, data.rows.get("test"))
    return int.from_bytes(hashlib.sha256(repr(items).encode()).digest()[:4], "big")


def items_of(entry: Record, folder: Path) -> dict[str, Items]:
    """Return a trial's answers by task; empty if it has no predictions."""
    rows = predictions(entry, folder)
    if rows is None:
        return {}
    if "task" not in rows[0]:
        return {task: _by_image(rows, f"{task}/{measure_of(entry, task)}") for task in tasks_of(entry)}
    columns = [name for name in ("task", "label", "predicted", "right") if name in rows[0]]
    table = np.array([[float(row[name]) for name in columns] for row in rows])
    found = {}
    for number, task in enumerate(tasks_of(entry)):
        mine = table[table[:, 0] == number]
        if _tags_tokens(entry, task) or measure_of(entry, task) == "f1_micro":
            if "right" in columns:  # files of before have losses in place of labels
                found[task] = Items(mine[:, 1], mine[:, 2], exact=False, right=mine[:, 3])
        else:
            found[task] = Items(mine[:, 1].round(4), mine[:, 2], exact=not is_error(entry, task))
    return found


def _by_image(rows: Sequence[Mapping[str, str]], column: str) -> Items:
    values = np.array([float(row[column]) for row in rows])
    return Items(np.zeros(len(values)), np.nan_to_num(values, nan=np.nanmean(values)), exact=False, measured=True)


def section(records: Sequence[Record], results: Sequence[MultitaskResult]) -> str:
    """The study's text: what was shared how, at what cost, and what each task got."""
    alone, first = singles(records), records[0]
    tasks = list(dict.fromkeys(task for entry in records for task in tasks_of(entry)))
    data = next(entry.data for entry in records if len(tasks_of(entry)) == max(len(tasks_of(e)) for e in records))
    rows = ", ".join(f"{task} {part.rows['train']:,}" for task, part in data.tasks.items())
    parts = [
        f"Tasks and their training rows: {rows}. Base: {first.model}. {tally(records)}",
        f"Command: `{first.command}`",
    ]
    if results:
        parts += [
            markdown(_cost_rows(results)),
            markdown(_task_rows(results, alone, tasks)),
            _notes(alone),
            answer(results),
        ]
    return "\n\n".join([*parts, *failures(records)])


def _cost_rows(results: Sequence[MultitaskResult]) -> list[list[str]]:
    header = ["arm", "adapter", "of it shared", "each task's", "dead", "trainable", "lr", "val score", "Δm [95 %]", ""]
    rows = [header]
    for result in results:
        entry, groups = result.best, result.best.parameters.groups
        own = sorted({count for name, count in groups.items() if name != "shared"})
        rows.append(
            [
                result.arm,
                f"{entry.parameters.adapter:,}",
                f"{groups.get('shared', entry.parameters.adapter):,}",
                " to ".join(f"{count:,}" for count in dict.fromkeys([own[0], own[-1]])) if own else "",
                str(len(entry.dead)),
                f"{entry.parameters.trainable:,}",
                f"{entry.rate:.3g}",
                f"{entry.score('val', 'score'):.4f}",
                _delta(result),
                verdict(result),
            ]
        )
    return rows


def _delta(result: MultitaskResult) -> str:
    if result.delta is None:
        return ""
    span = f" [{result.interval[0]:+.2f}, {result.interval[1]:+.2f}]" if result.interval else ""
    return f"{result.delta:+.2f} %{span}"


def verdict(result: MultitaskResult) -> str:
    """State what the interval of Δm shows about the arm against single-task runs."""
    if result.interval is None:
        return "not compared"
    if result.interval[0] > 0:
        return "higher than alone"
    return "lower than alone" if result.interval[1] < 0 else "not told apart"


def _task_rows(
    results: Sequence[MultitaskResult], alone: Mapping[str, Record], tasks: Sequence[str]
) -> list[list[str]]:
    sample = results[0].best
    named = {task: measure_of(sample, task) for task in tasks if task in results[0].scores}
    units = [{"rmse": "RMSE"}.get(name, name) for name in (named.get(task, "accuracy") for task in tasks)]
    rows = [["arm", *(f"{task} ({unit})" for task, unit in zip(tasks, units, strict=True))]]
    rows.append(["alone", *(f"{main_score(alone[task], task):.4f}" if task in alone else "" for task in tasks)])
    for result in results:
        cells = [f"{result.scores[task]:.4f}" if task in result.scores else "" for task in tasks]
        gains = [f" ({result.gains[task]:+.1f} %)" if task in result.gains else "" for task in tasks]
        rows.append([result.arm, *(cell + change for cell, change in zip(cells, gains, strict=True))])
    known = {found.measure: found for found in constants(sample)}
    always = [known.get(f"{task}/{named.get(task, '')}") for task in tasks]
    if said := next((found.said for found in always if found is not None), ""):
        rows.append([f"({said})", *(found.cell(found.test) if found is not None else "" for found in always)])
    return rows


def _notes(alone: Mapping[str, Record]) -> str:
    runs = ", ".join(f"{task} {entry.arm}" for task, entry in alone.items())
    return (
        f"Alone is each task's run alone that was best on validation ({runs or 'none here'}). Each row is the arm's "
        "trial with the best validation score (the mean over tasks of accuracy, or of R² for numbers, or of F for "
        "several labels or spans); the table of tasks is of the test split, which was not used to choose. Δm is the "
        "mean over tasks of what each gains against the best run of that task alone, in percent of that run's score, "
        "errors counted downwards. Brackets: 95 % bootstrap interval over test items, paired, tasks on the same items "
        "drawn together, one arm at a time; one training seed each, and the spread between seeds is "
        "not in it. Dead: trained tensors that never got a gradient."
    )


def answer(results: Sequence[MultitaskResult]) -> str:
    """State the conclusion."""
    leader = max(results, key=lambda result: result.best.score("val", "score"))
    compared = [result for result in results if result.interval is not None]
    sentences = [f"Best on validation: {leader.arm}, {_figures(leader)}."]
    for words, label in (
        ("higher than alone", "Higher than runs alone, with one seed each"),
        ("lower than alone", "Lower"),
    ):
        names = [result.arm for result in compared if verdict(result) == words]
        sentences.append(f"{label}: {', '.join(names) if names else 'none shown'}.")
    tasks = dict.fromkeys(task for result in results for task in result.gains)
    if losing := [task for task in tasks if all(result.gains.get(task, 0) < 0 for result in results)]:
        sentences.append(f"Every arm loses on {', '.join(losing)}.")
    return " ".join(sentences)


def _figures(result: MultitaskResult) -> str:
    return f"{result.best.parameters.trainable:,} trained parameters, Δm {_delta(result) or 'not compared'}"
