"""The answer of a study, written from its records: table.csv, table.md, pareto.png, rank_curve.png."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness import record
from harness.config import ConfirmConfig, stored_sweep
from harness.record import Record, frame, headline_metric, headline_score
from harness.report import confirmed_continual, confirmed_tasks, continual, costs, multitask, plots
from harness.report.caveats import caveats
from harness.report.confirmed import Confirmation, confirmation
from harness.report.confirmed import section as confirmed_section
from harness.report.table import (
    TIES,
    ArmResult,
    arm_results,
    arm_rows,
    cost_of,
    failures,
    goodness,
    markdown,
    pareto,
    tally,
)

Written = tuple[str, list[str]]  # a text, and the names of its pictures
Kind = Callable[[Sequence[Record], Path], Written]


def write_report(folder: Path) -> str:
    """Write the files and return what the terminal shows. A study without a complete trial has a table only.

    Only trials of the same base on the same data are compared: where a folder holds others too, as that of single
    trials may, each such group has a section of its own, and the pictures are of the largest.
    """
    records = record.read(folder)
    if not records:
        return f"{folder}: no records yet"
    frame(records).to_csv(folder / "table.csv", index=False)
    kinds: dict[Kind, list[Record]] = {}
    for entry in records:
        kinds.setdefault(_kind(entry), []).append(entry)
    parts = [kind(group, folder) for kind, group in kinds.items()]
    text = "\n\n".join([f"# {records[0].study}", *(text for text, _ in parts)])
    (folder / "table.md").write_text(text + "\n")
    written = ["table.csv", "table.md", record.RECORDS, *(name for _, names in parts for name in names)]
    files = "\n".join(f"  {folder / name}" for name in written)
    return f"{text}\n\nWritten:\n{files}"


def _kind(entry: Record) -> Kind:
    if entry.continual:
        return _write_continual
    return _write_several if multitask.tasks_of(entry) else _write_single


def _write_single(records: Sequence[Record], folder: Path) -> Written:
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for entry in records:
        groups.setdefault((entry.task, entry.model, entry.data.sha256, _base(entry, records)), []).append(entry)
    sections = [(group, arm_results(_searched(group), folder)) for group in groups.values()]
    margin = _margin(folder)
    found = [confirmation(group, folder, margin) for group, _ in sections]
    text = "\n\n".join(
        _section(group, results, confirmed, folder) for (group, results), confirmed in zip(sections, found, strict=True)
    )
    written = []
    confirmed, (group, results) = max(zip(found, sections, strict=True), key=lambda section: len(section[1][0]))
    group = _searched(group)
    if confirmed is not None:
        plots.confirmed_picture(confirmed, f"{group[0].task}, {group[0].model}", folder / "confirmed.png")
        plots.curves_picture(confirmed, f"{group[0].task}, {group[0].model}", folder / "learning_curves.png")
        written += ["confirmed.png", "learning_curves.png"]
    if any(result.best for result in results):
        title = f"{group[0].task}, {group[0].model}"
        plots.pareto_picture(group, title, folder / "pareto.png")
        plots.rank_picture(group, results, title, folder / "rank_curve.png")
        written += ["pareto.png", "rank_curve.png"]
    return text, written


def _searched(records: Sequence[Record]) -> list[Record]:
    return [entry for entry in records if entry.phase == "search"]


def _margin(folder: Path) -> float:
    """The difference that the study in a folder calls too small to matter."""
    return ConfirmConfig(**(stored_sweep(folder).get("confirm") or {})).margin


def _write_continual(records: Sequence[Record], folder: Path) -> Written:
    written = []
    searched = _searched(records)
    confirmed = confirmed_continual.section(records, folder, _margin(folder))
    if results := continual.continual_results(searched, folder):
        title = f"{records[0].task}, {records[0].model}"
        plots.matrices_picture(results, title, folder / "matrices.png")
        plots.forgetting_picture(results, continual.level_of(searched), title, folder / "forgetting.png")
        written += ["matrices.png", "forgetting.png"]
    return "\n\n".join(filter(None, [confirmed, continual.section(searched, results)])), written


def _write_several(records: Sequence[Record], folder: Path) -> Written:
    written = []
    searched = _searched(records)
    results = multitask.multitask_results(searched, folder)
    confirmed = confirmed_tasks.confirmed_ways(records, folder, _margin(folder))
    parts = [confirmed_tasks.section(confirmed)] if confirmed is not None else []
    if compared := [result for result in results if result.interval is not None]:
        plots.several_picture(compared, f"{records[0].task}, {records[0].model}", folder / "multitask.png")
        written.append("multitask.png")
    return "\n\n".join([*parts, multitask.section(searched, results)]), written


def _base(entry: Record, records: Sequence[Record]) -> str | None:
    """What base a trial is compared on; fresh weights are a control, and go with the pretrained ones of their name."""
    names = [entry.base.sha256, *(other.base.sha256 for other in records if other.model == entry.model)]
    return next((name for name in names if name != "fresh"), "fresh")


def _section(
    records: Sequence[Record], results: Sequence[ArmResult], confirmed: Confirmation | None, folder: Path
) -> str:
    first, searched = records[0], _searched(records)
    rows = first.data.rows
    parts = [
        f"Data: {first.data.name} from {first.data.source} "
        f"({', '.join(f'{count:,} {split}' for split, count in rows.items())} examples). "
        f"{_shared(first)}Base: {first.model}. {tally(records)}",
        f"Command: `{first.command}`",
    ]
    if confirmed is not None:
        parts += [confirmed_section(confirmed), costs.section(confirmed), "## Search"]
    if any(result.best for result in results):
        tested = any(result.split == "test" for result in results)
        parts += [markdown(arm_rows(results)), _notes(first, tested)]
        if confirmed is None:
            parts.append(_answer(results) if tested else _undecided(results, records))
        parts += [*caveats([result.best for result in results if result.best], folder), _fronts(searched)]
    return "\n\n".join([*parts, *failures(records)])


def _shared(entry: Record) -> str:
    shared = entry.data.shared
    return "".join(f"{count} sentences stand in {splits} as published. " for splits, count in shared.items())


def _undecided(results: Sequence[ArmResult], records: Sequence[Record]) -> str:
    """What a search can say that nobody has confirmed."""
    leader = max((result for result in results if result.best), key=lambda result: goodness(_trial_of(result)))
    entry = _trial_of(leader)
    score = f"validation {headline_metric(entry)} {headline_score(entry, 'val'):.4f}"
    if again := [other for other in records if other.phase == "confirm"]:
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


def _notes(entry: Record, tested: bool) -> str:
    name = headline_metric(entry)
    speakers = len(entry.data.speakers.get("test", ()))
    voices = (
        f" The test items are of {speakers} speakers; intervals and tests are over items, not over voices."
        if speakers
        else ""
    )
    written = " BLEU and chrF are of the texts written for the first test rows." if tested and name == "loss" else ""
    return (
        f"Each row is the arm's trial that did best on validation. {_compared(name, tested)} "
        "One training seed each: the spread between seeds is not in these intervals. "
        f"Peak: memory in training above what the process held before the trial; like the step time it is of one "
        f"trial, and a process's first trial also pays for what is set up once.{written}{voices}"
    )


_BRACKETS = {"accuracy": "95 % Wilson interval", "loss": "95 % interval over test items, loss in nats a token"}
_TESTS = {"accuracy": "exact McNemar test", "loss": "sign-flip permutation test"}


def _compared(name: str, tested: bool) -> str:
    """What the brackets of a score are, and by which test trials are compared."""
    used = "Test was not used to choose." if tested else "Test was left unread."
    if name not in _TESTS:
        return (
            f"{used} {name} is a measure of the user's own and need not be a mean over test items: it has no interval "
            "here, and trials are not tested against the best."
        )
    if not tested:
        return f"{used} Brackets: {_BRACKETS[name] if name == 'accuracy' else 'none without test'}."
    return (
        f"{used} Brackets: {_BRACKETS[name]}. vs best: {_TESTS[name]} on the same test items against the arm that is "
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
    return f"{result.arm}, {parameters}, test {headline_metric(entry)} {headline_score(entry, 'test'):.4f}"


def _fronts(records: Sequence[Record]) -> str:
    lines = []
    for cost, unit in (
        ("trainable", "trainable parameters"),
        ("memory", "bytes of peak memory in training above the bare process"),
    ):
        lines.append(f"Pareto front, validation {headline_metric(records[0])} against {unit}:")
        lines += [
            f"- trial {entry.trial} ({entry.arm}): {headline_score(entry, 'val'):.4f} at {cost_of(entry, cost):,}"
            for entry in pareto(records, cost)
        ]
        lines.append("")
    return "\n".join(lines).strip()
