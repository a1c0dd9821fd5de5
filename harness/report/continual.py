"""The answer of a continual study: what is remembered, what forgotten, and that at a matched new-task score."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.record import Record, best_on_validation, within
from harness.report.statistics import stratified_interval
from harness.report.table import failures, markdown, predictions, span, tally

Interval = tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class ContinualResult:
    """An arm: its trial that did best on validation, its intervals, and its trial at the matched new-task score."""

    arm: str
    group: list[Record]
    best: Record
    acc: Interval
    bwt: Interval
    matched: Record | None


# New tasks are learned alike where their validation scores differ by no more than this: one point.
MATCHED = 0.01


def new_score(entry: Record, split: str) -> float:
    """The mean score of each task when it had just been learned."""
    matrix = entry.continual.val if split == "val" else entry.continual.test
    return sum(row[task] for task, row in enumerate(matrix[1:])) / (len(matrix) - 1)


def level_of(records: Sequence[Record]) -> float:
    """The highest new-task score on validation that every arm reaches; a head alone learns less, and is left out."""
    done = [entry for entry in records if entry.state == "complete"]
    arms = {entry.arm for entry in done if not entry.lora.trains_head_alone} or {entry.arm for entry in done}
    return min(max(new_score(entry, "val") for entry in _complete(records, arm)) for arm in arms)


def continual_results(records: Sequence[Record], folder: Path) -> list[ContinualResult]:
    """Every arm with a complete trial, in the study's order."""
    found = []
    for arm in dict.fromkeys(entry.arm for entry in sorted(records, key=lambda entry: entry.trial)):
        group = [entry for entry in records if entry.arm == arm]
        best = best_on_validation(group)
        if best is not None:
            matched = _matched(_complete(records, arm), level_of(records))
            found.append(ContinualResult(arm, group, best, *_intervals(best, folder), matched))
    return found


def _complete(records: Sequence[Record], arm: str) -> list[Record]:
    return [entry for entry in records if entry.arm == arm and entry.state == "complete"]


def _matched(group: Sequence[Record], level: float) -> Record | None:
    """The trial whose new-task score on validation is the nearest to the level, if one is near."""
    near = [entry for entry in group if abs(new_score(entry, "val") - level) <= MATCHED + 1e-9]
    return min(near, key=lambda entry: (abs(new_score(entry, "val") - level), entry.trial), default=None)


def _intervals(entry: Record, folder: Path) -> tuple[Interval, Interval]:
    """The 95 % intervals over test items of the final mean score and of backward transfer, where tasks have classes."""
    rows = predictions(entry, folder)
    if rows is None or any(f"{task}/accuracy" not in entry.scores["test"] for task in entry.continual.tasks):
        return None, None
    tasks = len(entry.continual.tasks)
    correct: dict[tuple[int, int], list[float]] = {}
    for row in rows:  # sorted by row within each, so that items of two rows of the matrix are paired
        hit = float(float(row["label"]) == float(row["predicted"]))
        correct.setdefault((int(row["learned"]), int(row["task"])), []).append(hit)
    last = [correct[tasks, task] for task in range(tasks)]
    moved = [
        [now - then for now, then in zip(last[task], correct[task + 1, task], strict=True)] for task in range(tasks - 1)
    ]
    return within(stratified_interval(last), (0.0, 1.0)), within(stratified_interval(moved), (-1.0, 1.0))


def final_items(entry: Record, folder: Path) -> list[float] | None:
    """Return each test item's contribution to ACC, their mean: items of a small task count more.

    Task by task by name, so that items of trials with other orders of the tasks are paired. None where predictions are
    not there, and where a task has no right answers.
    """
    rows, names = predictions(entry, folder), entry.continual.tasks
    if rows is None or any(f"{task}/accuracy" not in entry.scores["test"] for task in names):
        return None
    hits: dict[str, list[float]] = {name: [] for name in sorted(names)}
    for row in rows:
        if int(row["learned"]) == len(names):
            hits[names[int(row["task"])]].append(float(float(row["label"]) == float(row["predicted"])))
    count = sum(map(len, hits.values()))
    return [count / (len(names) * len(found)) * hit for found in hits.values() for hit in found]


def fwt_over_head(entry: Record, head: Record | None) -> float | None:
    """The mean of R[j][j] over all tasks but the first, less that of a head trained alone on the same earlier tasks.

    It is the gain of training the base over that head, before a task is learned. None where no such head was
    trained, and where tasks have heads of their own, which know nothing before.
    """
    alike = head is not None and head.continual.tasks == entry.continual.tasks
    if head is None or entry is head or not alike or entry.continual.heads != "shared":
        return None
    mine, theirs = entry.continual.test, head.continual.test
    gains = [mine[task][task] - theirs[task][task] for task in range(1, len(mine[0]))]
    return sum(gains) / len(gains)


def trained_head(entries: Iterable[Record]) -> Record | None:
    """The best trial on validation among those that trained only a head on the frozen base."""
    return best_on_validation([entry for entry in entries if entry.lora.trains_head_alone])


def section(records: Sequence[Record], results: Sequence[ContinualResult]) -> str:
    """The study's text."""
    first = records[0]
    parts = first.data.tasks
    rows = ", ".join(f"{task} ({part.rows['test']:,} test sentences)" for task, part in parts.items())
    text = [
        f"Tasks in the order they are learned: {rows}; a head that is {first.continual.heads}. Base: {first.model}. "
        f"{tally(records)}",
        f"Command: `{first.command}`",
    ]
    if results:
        level = level_of(records)
        text += [markdown(_rows(results)), _notes(), _matched_text(level), markdown(_matched_rows(results))]
        text.append(answer(results, level))
    return "\n\n".join([*text, *failures(records)])


def _rows(results: Sequence[ContinualResult]) -> list[list[str]]:
    header = ["arm", "trials", "trained at a time", "kept", "lr", "val ACC", "ACC [95 %]", "new", "BWT [95 %]"]
    rows = [[*header, "forgetting", "FWT", "FWT over head", "probe change"]]
    head = trained_head(result.best for result in results)
    for result in results:
        entry, figures = result.best, result.best.continual_summary
        rows.append(
            [
                result.arm,
                str(len(result.group)),
                f"{entry.parameters.trainable:,}",
                f"{figures.kept:,}",
                f"{entry.rate:.3g}",
                f"{entry.score('val', 'score'):.4f}",
                f"{figures.acc:.4f}{span(result.acc, '.3f')}",
                f"{figures.new:.4f}",
                f"{figures.bwt:+.4f}{span(result.bwt, '+.3f')}",
                f"{figures.forgetting:.4f}",
                f"{figures.fwt:+.4f}",
                "" if (over := fwt_over_head(entry, head)) is None else f"{over:+.4f}",
                _probe(entry),
            ]
        )
    return rows


def _probe(entry: Record) -> str:
    probe = entry.probe
    if probe.change is None:
        return ""
    return f"{probe.change:+.4f}" + (f" [{probe.low:+.3f}, {probe.high:+.3f}]" if probe.low is not None else "")


def _notes() -> str:
    return (
        "Each row is the arm's trial with the best mean validation score after the last task; test was not used to "
        "choose. ACC: the mean test score of all tasks in the end; new: of each when it had just been learned; BWT: "
        "the mean of their difference over all tasks but the last; forgetting: likewise against the best score since "
        "it was learned; FWT: what earlier tasks gave before a task was learned, over a fresh head on the bare base; "
        "over head: over a head trained on the same earlier tasks, the base being frozen. "
        "Kept: adapter and head parameters that all tasks need in the end. Probe change: of the base's loss on "
        "held-out general text, nats a token, its interval over passages; an unmodified base has exactly 0, and "
        "an adapter's goes when it is taken off (learned apart, it is the last task's that is on). Brackets: 95 % over "
        "test items; one training seed and one order of tasks, whose spread is not in them."
    )


def _matched_text(level: float) -> str:
    return (
        f"At a matched new-task score: {level:.4f} on validation is the highest that every arm reaches which trains "
        f"more than the head; of each arm the trial nearest to it, if it is within {100 * MATCHED:.0f} point."
    )


def _matched_rows(results: Sequence[ContinualResult]) -> list[list[str]]:
    rows = [["arm", "trial", "new (val)", "new (test)", "forgetting", "BWT", "ACC", "probe change"]]
    for result in results:
        if (entry := result.matched) is not None:
            figures = entry.continual_summary
            cells = [f"{new_score(entry, 'val'):.4f}", f"{figures.new:.4f}", f"{figures.forgetting:.4f}"]
            cells += [f"{figures.bwt:+.4f}", f"{figures.acc:.4f}", _probe(entry)]
            rows.append([result.arm, str(entry.trial), *cells])
        else:
            rows.append([result.arm, "none", *[""] * 6])
    return rows


def answer(results: Sequence[ContinualResult], level: float) -> str:
    """State the conclusion."""
    leader = max(results, key=lambda result: result.best.score("val", "score"))
    figures = leader.best.continual_summary
    said = [
        f"Remembered best on validation: {leader.arm}, final test score {figures.acc:.4f}"
        f"{span(leader.acc, '.3f')}, forgetting {figures.forgetting:.4f}."
    ]
    matched = [(result.matched, result.arm) for result in results if result.matched is not None]
    order = sorted(matched, key=lambda pair: pair[0].continual_summary.forgetting)
    words = ", ".join(f"{arm} {entry.continual_summary.forgetting:.4f}" for entry, arm in order)
    said.append(f"Forgetting where new tasks score {level:.4f} on validation, within a point: {words}.")
    if probed := [(entry.probe.change, arm) for entry, arm in matched if entry.probe.change is not None]:
        changes = ", ".join(f"{arm} {change:+.4f}" for change, arm in sorted(probed))
        said.append(f"The same trials' change of the base's loss on general text: {changes}.")
    return " ".join(said)
