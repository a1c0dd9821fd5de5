"""The answer of a study, written from its records: table.csv, table.md, pictures, report.html."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import record
from harness.config import ConfirmConfig, stored_sweep
from harness.record import SHARES, Record, frame, headline_metric, headline_score
from harness.report import (
    confirmed_continual,
    confirmed_tasks,
    continual,
    costs,
    history,
    importance,
    multitask,
    task_plots,
)
from harness.report.caveats import caveats, caveats_again
from harness.report.chance import chance
from harness.report.confirmed import Confirmation, confirmation
from harness.report.confirmed import answer as confirmed_answer
from harness.report.confirmed import section as confirmed_section
from harness.report.group_pictures import draw_groups
from harness.report.groups import alike
from harness.report.html import Group, page_data, write_page
from harness.report.objectives import objectives_of
from harness.report.objectives import section as objectives_section
from harness.report.plots import confirmed_picture
from harness.report.table import (
    RATIOS,
    TIES,
    ArmResult,
    arm_results,
    arm_rows,
    bases_said,
    failures,
    fronts,
    goodness,
    markdown,
    tally,
)
from harness.report.terminal import answer_text
from harness.system.figures import figure


@dataclass(frozen=True)
class KindReport:
    """The report of a study for trials of one kind: its text, the conclusion of each group, and its pictures.

    `draw` writes the pictures and returns their names.
    """

    text: str
    groups: list[Group]
    draw: Callable[[], list[str]]


Kind = Callable[[Sequence[Record], Path], KindReport]


def write_report(folder: Path) -> str:
    """Write the files and return the whole text. A study without a complete trial has a table only.

    Only trials of the same base on the same data are compared: where a folder holds others too, as that of single
    trials may, each such group has a section of its own, and pictures if it has several arms.
    """
    written = _write(folder)
    if written is None:
        return f"{folder}: no records yet"
    files = "\n".join(f"  {folder / name}" for name in written.files)
    return f"{written.text}\n\nWritten:\n{files}"


def report_for_terminal(folder: Path, width: int) -> str:
    """Write the same files, and return the answer in lines of that width, with a narrow table."""
    written = _write(folder)
    if written is None:
        return f"{folder}: no records yet"
    return answer_text(written.study, written.groups, written.files, folder, width)


@dataclass(frozen=True)
class _Written:
    """A report that is on the disk: its text, what it concludes, and the names of its files."""

    study: str
    text: str
    groups: list[Group]
    files: list[str]


def _write(folder: Path) -> _Written | None:
    records = record.read(folder)
    if not records:
        return None
    study = records[0].study
    frame(records).to_csv(folder / "table.csv", index=False)
    parts = _by_kind(records, folder)
    text = "\n\n".join([f"# {study}", *(part.text for part in parts)])
    (folder / "table.md").write_text(text + "\n")
    pictures = [name for part in parts for name in part.draw()]
    groups = [group for part in parts for group in part.groups]
    page = write_page(page_data(study, groups, folder), folder)
    return _Written(study, text, groups, [page, "table.md", "table.csv", record.RECORDS, *pictures])


def read_page(folder: Path) -> dict[str, Any] | None:
    """The data of the page as the records are now, with nothing written; None where there is no record yet."""
    records = record.read(folder)
    return page_data(records[0].study, read_groups(folder), folder) if records else None


def read_groups(folder: Path) -> list[Group]:
    """Return the groups of a study's trials that are compared, with their answers; nothing is written."""
    return [group for part in _by_kind(record.read(folder), folder) for group in part.groups]


def _by_kind(records: Sequence[Record], folder: Path) -> list[KindReport]:
    kinds: dict[Kind, list[Record]] = {}
    ended = [entry for entry in _searched(records) if entry.state == "complete"]
    by_task = all("test" in entry.scores for entry in ended)  # of the search: it is what the table of tasks shows
    for entry in records:
        kinds.setdefault(_kind(entry, by_task), []).append(entry)
    return [kind(group, folder) for kind, group in kinds.items()]


def _kind(entry: Record, by_task: bool) -> Kind:
    if entry.continual:
        return _continual
    return _several if by_task and multitask.tasks_of(entry) else _single


def _single(records: Sequence[Record], folder: Path) -> KindReport:
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for entry in records:
        groups.setdefault((entry.task, entry.data.sha256), []).append(entry)
    asked = _confirm(folder)
    found = [_group(group, asked, folder, alike(group) if len(groups) > 1 else "") for group in groups.values()]
    text = "\n\n".join(_section(group, folder) for group in found)
    return KindReport(text, found, lambda: draw_groups(found, folder))


def _group(records: Sequence[Record], asked: ConfirmConfig, folder: Path, alike: str) -> Group:
    results = arm_results(_searched(records), folder)
    confirmed = confirmation(records, folder, asked.margin, asked.reference)
    return Group(records, _conclusion(records, results, confirmed), results, confirmed, alike=alike)


def _conclusion(records: Sequence[Record], results: Sequence[ArmResult], confirmed: Confirmation | None) -> str:
    """The group's answer in a sentence or two."""
    if confirmed is not None:
        return confirmed_answer(confirmed)
    if not any(result.best for result in results):
        return f"No answer yet: no trial of the search is complete. {tally(records)}"
    tested = any(result.split == "test" for result in results)
    return _answer(results) if tested else _undecided(results, records)


def _searched(records: Sequence[Record]) -> list[Record]:
    return [entry for entry in records if entry.phase == "search"]


def _again(records: Sequence[Record]) -> list[Record]:
    return [entry for entry in records if entry.phase == "confirm"]


def _confirm(folder: Path) -> ConfirmConfig:
    """Return the settings of the confirmation of the study in a folder."""
    return ConfirmConfig(**(stored_sweep(folder).get("confirm") or {}))


def _continual(records: Sequence[Record], folder: Path) -> KindReport:
    searched, asked = _searched(records), _confirm(folder)
    results = continual.continual_results(searched, folder)
    confirmed = confirmation(records, folder, asked.margin, asked.reference)

    def draw() -> list[str]:
        if not results:
            return []
        title, written = f"{records[0].task}, {records[0].model}", ["matrices.png", "forgetting.png"]
        task_plots.matrices_picture(results, title, folder / "matrices.png")
        task_plots.forgetting_picture(results, continual.level_of(searched), title, folder / "forgetting.png")
        if confirmed is not None and any(each.difference is not None for each in confirmed.arms):
            confirmed_picture(confirmed, title, folder / "confirmed.png")
            written.append("confirmed.png")
        return written

    said = continual.answer(results, continual.level_of(searched)) if results else tally(records)
    answer = confirmed_answer(confirmed) if confirmed is not None else said
    parts = [confirmed_continual.section(confirmed)] if confirmed is not None else []
    told = caveats_again(confirmed.runs, folder) if confirmed is not None else []
    parts += [*told, continual.section(searched, results), *failures(_again(records))]
    text = "\n\n".join(filter(None, parts))
    return KindReport(text, [Group(records, answer, confirmed=confirmed)], draw)


def _several(records: Sequence[Record], folder: Path) -> KindReport:
    searched = _searched(records)
    results = multitask.multitask_results(searched, folder)
    confirmed = confirmed_tasks.confirmed_multitask(records, folder, _confirm(folder).margin)

    def draw() -> list[str]:
        title, written = f"{records[0].task}, {records[0].model}", []
        if any(result.interval is not None for result in results):
            task_plots.searched_picture(results, title, folder / "multitask.png")
            written.append("multitask.png")
        if confirmed is not None:
            task_plots.confirmed_picture(confirmed, title, folder / "confirmed.png")
            written.append("confirmed.png")
        if compared := multitask.with_gradients(records):
            task_plots.gradients_picture(compared, title, folder / "task_gradients.png")
            written.append("task_gradients.png")
        return written

    said = multitask.answer(results) if results else tally(records)
    answer = confirmed_tasks.answer(confirmed) if confirmed is not None else said
    parts = confirmed_tasks.not_confirmed(records)
    if confirmed is not None:
        parts = [confirmed_tasks.section(confirmed), *caveats_again(confirmed.runs, folder)]
    text = "\n\n".join([*parts, multitask.section(searched, results), *failures(_again(records))])
    return KindReport(text, [Group(records, answer, multitask=confirmed)], draw)


def _section(group: Group, folder: Path) -> str:
    records, results, confirmed = group.records, group.results, group.confirmed
    first, searched = records[0], group.searched
    rows = first.data.rows
    parts = [
        f"Data: {first.data.name} from {first.data.source} "
        f"({', '.join(f'{count:,} {split}' for split, count in rows.items())} examples). "
        f"{_shared(first)}{chance(first, records)}{bases_said(records)} {tally(records)}",
        f"Command: `{first.command}`",
        *history.section(folder),
    ]
    if confirmed is not None:
        parts += [
            confirmed_section(confirmed),
            *caveats_again(confirmed.runs, folder),
            costs.section(confirmed),
            "## Search",
        ]
    if any(result.best for result in results):
        tested = any(result.split == "test" for result in results)
        parts += [markdown(arm_rows(results)), _notes(first, results, tested)]
        if confirmed is None:
            parts.append(group.answer)
        parts += [*caveats([result.best for result in results if result.best], folder)]
        several = objectives_of(folder)
        parts.append(objectives_section(searched, folder, _confirm(folder).margin) if several else fronts(searched))
        parts += importance.section(folder)
    text = "\n\n".join([*parts, *failures(records)])
    if not group.alike:
        return text
    return "\n".join(
        [f"## {group.title}\n", *(f"#{line}" if line.startswith("## ") else line for line in text.splitlines())]
    )


def _shared(entry: Record) -> str:
    shared = entry.data.shared
    return "".join(f"{count} sentences stand in {splits} as published. " for splits, count in shared.items())


def _undecided(results: Sequence[ArmResult], records: Sequence[Record]) -> str:
    """State the result of a search without a confirmation."""
    leader = max((result for result in results if result.best), key=lambda result: goodness(_trial_of(result)))
    entry = _trial_of(leader)
    score = f"validation {headline_metric(entry)} {figure(headline_score(entry, 'val'))}"
    if again := _again(records):
        failed = sum(other.state == "fail" for other in again)
        return (
            f"Not decided: of {len(again)} trials that confirm {failed} failed, and no two arms share two seeds. "
            f"Best on validation: {leader.arm}, {score}."
        )
    return (
        f"Not decided: one seed for each trial, and the best of several is chosen. Best on validation: {leader.arm}, "
        f"{score}. run=confirm study={entry.study} trains the best arms again with fresh seeds."
    )


def _trial_of(result: ArmResult) -> Record:
    assert result.best is not None
    return result.best


def _notes(entry: Record, results: Sequence[ArmResult], tested: bool) -> str:
    name, over_items = headline_metric(entry), any(result.interval for result in results)
    scores = {score for result in results if result.best for score in result.best.scores.get("test", {})}
    speakers = len(entry.data.speakers.get("test", ()))
    voices = (
        f" The test items are of {speakers} speakers; intervals and tests are over items, not over voices."
        if speakers
        else ""
    )
    scored = next((said for score, said in _OF_TEXTS.items() if score in scores), "")
    written = f" {scored} are of the texts written for the first test rows." if scored and name in RATIOS else ""
    return (
        f"Each row is the arm's trial that did best on validation. {_compared(name, tested, over_items)} "
        "One training seed each: the spread between seeds is not in these intervals. "
        f"{_OF_MEMORY[entry.memory.step is not None]}{written}{voices}"
    )


_OF_MEMORY = {
    True: "Memory: weights, optimiser state and the most that a step's tensors hold at once, counted, not measured. "
    "The step time is of one trial.",
    False: "Memory: the peak in training above what the process held before the trial; like the step time it is of one "
    "trial, and a process's first trial also pays for what is set up once.",
}
"""What is said of the column, by whether a step's tensors were counted."""


_OF_TEXTS = {"wer": "Word and character error rates", "bleu": "BLEU and chrF"}
"""What is said of scores of texts that were written, by one of them."""
_BRACKETS = {
    "accuracy": "95 % Wilson interval",
    "accuracy_norm": "95 % Wilson interval",
    "answer_accuracy": "95 % Wilson interval over the test items whose texts were written",
    "loss": "95 % interval over test items, loss in nats a token",
    "wer": "95 % interval over the test recordings that were transcribed, errors a word",
    "cer": "95 % interval over the test recordings that were transcribed, errors a character",
    "f1": "95 % interval over test items",
    "rouge_l": "95 % interval over the test items whose texts were written",
    "exact": "95 % Wilson interval",
    "group_exact": "95 % Wilson interval over groups of test items",
}
_TESTS = dict.fromkeys(SHARES, "exact McNemar test") | dict.fromkeys(RATIOS, "sign-flip permutation test")
_TESTS_OF_ITEMS = {
    "f1": "sign-flip permutation test",
    "rouge_l": "sign-flip permutation test",
    "exact": "exact McNemar test",
    "group_exact": "exact McNemar test of groups",
}
"""Of scores that are means over the items of some tasks, and of others none."""


def _compared(name: str, tested: bool, over_items: bool) -> str:
    """Describe the brackets of a score, and how test trials are compared; `over_items`: there are brackets."""
    used = "Test was not used to choose." if tested else "Test was left unread."
    tests = _TESTS | (_TESTS_OF_ITEMS if over_items else {})
    if name not in tests:
        what = "a measure of the user's own and need not be a" if ":" in name else "no"
        return (
            f"{used} {name} is {what} mean over test items: it has no interval here, and trials are not tested against "
            "the best."
        )
    if not tested:
        return f"{used} Brackets: {_BRACKETS[name] if name == 'accuracy' else 'none without test'}."
    return (
        f"{used} Brackets: {_BRACKETS[name]}. vs best: {tests[name]} on the same test items against the arm that is "
        "best on validation, Holm-corrected; p below 0.05 is called higher or lower: of these two runs, not of their "
        "arms."
    )


def _answer(results: Sequence[ArmResult]) -> str:
    """The question's answer: the smallest adapter that the data cannot tell from the best, full fine-tuning beside."""
    adapted = [result for result in results if result.best is not None and result.best.parameters.adapter]
    leader = next((result.arm for result in results if result.verdict == "best on validation"), "")
    better = [result.arm for result in results if result.verdict == "higher"]
    ties = [result for result in adapted if result.verdict in (("higher",) if better else TIES)]
    sentences = []
    if better:
        sentences.append(f"Validation did not find the best run: on test {', '.join(better)} did better than {leader}.")
    if ties:
        smallest = min(ties, key=lambda result: result.best.parameters.adapter if result.best else 0)
        what = "of these" if better else "not told apart from the best"
        sentences.append(f"Not decided, with one seed each. Smallest adapter {what}: {_figures(smallest)}.")
    elif adapted:
        best = max(adapted, key=lambda result: goodness(result.best) if result.best else 0)
        sentences.append(f"Not decided, with one seed each. Every adapter's run is below the best: {_figures(best)}.")
    full = [result for result in results if result.best is not None and result.best.lora.trains_whole_base]
    sentences += [f"Beside it {_figures(result)}." for result in full]
    return " ".join(sentences)


def _figures(result: ArmResult) -> str:
    entry = result.best
    assert entry is not None
    adapter = entry.parameters.adapter
    parameters = f"{adapter:,} adapter parameters" if adapter else f"{entry.parameters.trainable:,} trained parameters"
    return f"{result.arm}, {parameters}, test {headline_metric(entry)} {figure(headline_score(entry, 'test'))}"
