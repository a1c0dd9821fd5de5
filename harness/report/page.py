"""The answer of a study, written from its records: table.csv, table.md, pareto.png, rank_curve.png."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness import record
from harness.record import Record
from harness.report import plots
from harness.report.table import ArmResult, arm_results, arm_rows, cost_of, markdown, pareto, trial_table


def write_report(folder: Path) -> str:
    """Write the files and return what the terminal shows. A study without a complete trial has a table only."""
    records = record.read(folder)
    if not records:
        return f"{folder}: no records yet"
    trial_table(records).to_csv(folder / "table.csv", index=False)
    results = arm_results(records, folder)
    text = _page(records, results)
    (folder / "table.md").write_text(text + "\n")
    written = ["table.csv", "table.md", record.RECORDS]
    if results:
        title = f"{records[0].task}, {records[0].model}"
        plots.pareto_picture(records, title, folder / "pareto.png")
        plots.rank_picture(records, results, title, folder / "rank_curve.png")
        written += ["pareto.png", "rank_curve.png"]
    files = "\n".join(f"  {folder / name}" for name in written)
    return f"{text}\n\nWritten:\n{files}"


def _page(records: Sequence[Record], results: Sequence[ArmResult]) -> str:
    first = records[0]
    rows = first.data.get("rows", {})
    states = Counter(entry.state for entry in records)
    parts = [
        f"# {first.study}",
        f"Data: {first.data.get('name')} from {first.data.get('source')} "
        f"({', '.join(f'{count:,} {split}' for split, count in rows.items())} sentences). "
        f"{_shared(first)}Base: {first.model}. {len(records)} trials: "
        f"{states['complete']} complete, {states['pruned']} pruned, {states['fail']} failed.",
        f"Command: `{first.command}`",
    ]
    if results:
        parts += [markdown(arm_rows(results)), _notes(), _answer(results), _fronts(records)]
    failures = [f"- trial {entry.trial} ({entry.arm}): {entry.reason}" for entry in records if entry.state == "fail"]
    if failures:
        parts.append("\n".join(["Failed trials:", *failures]))
    return "\n\n".join(parts)


def _shared(entry: Record) -> str:
    shared = entry.data.get("shared", {})
    return "".join(f"{count} sentences stand in {splits} as published. " for splits, count in shared.items())


def _notes() -> str:
    return (
        "Each row is the arm's trial with the best validation accuracy; test was not used to choose. Brackets: 95 % "
        "Wilson interval. vs best: exact McNemar test on the same test items against the arm that is best on "
        "validation, Holm-corrected; p below 0.05 is called a difference. One training seed each: the spread between "
        "seeds is not in these intervals. Peak: memory in training above what the process held before the trial."
    )


def _answer(results: Sequence[ArmResult]) -> str:
    """The question's answer in a sentence: the smallest adapter that the data cannot tell from the best."""
    ties = [result for result in results if result.verdict != "worse" and result.best.params["adapter"]]
    if not ties:
        return "No adapted arm ties with the best."
    smallest = min(ties, key=lambda result: result.best.params["adapter"])
    entry = smallest.best
    return (
        f"Smallest adapter with no difference shown from the best: {smallest.arm}, "
        f"{entry.params['adapter']:,} adapter parameters, test accuracy {entry.scores['test']['accuracy']:.4f}."
    )


def _fronts(records: Sequence[Record]) -> str:
    lines = []
    for cost, unit in (
        ("trainable", "trainable parameters"),
        ("memory", "bytes of peak memory in training above the bare process"),
    ):
        lines.append(f"Pareto front, validation accuracy against {unit}:")
        lines += [
            f"- trial {entry.trial} ({entry.arm}): {entry.scores['val']['accuracy']:.4f} at {cost_of(entry, cost):,}"
            for entry in pareto(records, cost)
        ]
        lines.append("")
    return "\n".join(lines).strip()
