"""The data in numbers: rows by split and class, lengths, what was left out and why, and the score of chance."""

import csv
import dataclasses
import io
import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.system.figures import figure
from harness.system.jsonl import replace_text
from harness.system.paths import listed
from harness.task.base import CUT_APART, SPLITS, Inputs, Task


@dataclasses.dataclass(frozen=True)
class Lengths:
    """The shortest, the median, the 95th percentile and the longest row of a split."""

    shortest: float
    median: float
    most: float
    longest: float

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> "Lengths":
        """From the values, of which there must be at least one."""
        found = np.asarray(values, dtype=float)
        return cls(float(found.min()), float(np.median(found)), float(np.percentile(found, 95)), float(found.max()))

    def __str__(self) -> str:
        return f"{self.shortest:g} / {self.median:g} / {self.most:g} / {self.longest:g}"


def short(task: Task) -> str:
    """One line: rows, classes, and all that is out of the ordinary, as the log of each trial begins."""
    told, facts = task.describe(), task.findings()
    rows = told.get("rows")
    if not isinstance(rows, Mapping):
        return "; ".join(f"{name}: {short(part)}" for name, part in task.parts.items())
    said = [", ".join(f"{count} {split}" for split, count in rows.items()) + " rows"]
    if task.classes:
        said.append(f"{len(task.classes)} classes")
    if isinstance(left := told.get("left_out"), Mapping) and left:
        said.append("left out: " + _counted(left))
    if facts.passed_over:
        said.append("passed over: " + _counted(facts.passed_over))
    if facts.near:
        said.append("alike up to case, blanks and punctuation: " + _counted(facts.near))
    said += [f"{split} has no {listed(names)}" for split, names in facts.missing.items()]
    said += [*facts.suspicious, *(f"{what}: {found}" for what, found in facts.format.items())]
    return "; ".join(said)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def summary(
    task: Task, inputs: Mapping[str, Inputs] | None, constants: Sequence[str] = (), odd: Sequence[str] = ()
) -> list[str]:
    """All that `run=data` says of one task. With `inputs`, how long its rows are as a model reads them, too.

    `constants` are lines on what is scored without having learned anything, in the measure that is asked for, `odd`
    on what its tokenizer makes of the texts.
    """
    told = task.describe()
    rows = told["rows"]
    assert isinstance(rows, Mapping)
    return [
        f"{task.name}: {told.get('source', '')}",
        "",
        *_classes(task, told, rows),
        *constants,
        "",
        *_lengths(task, inputs),
        *_findings(task, odd),
    ]


def _classes(task: Task, told: Mapping[str, object], rows: Mapping[str, int]) -> list[str]:
    labels = told.get("labels")
    table = [["", *rows], ["rows", *map(str, rows.values())]]
    if isinstance(labels, Mapping) and task.classes:
        shown = sorted(range(len(task.classes)), key=lambda number: -labels["train"][number])[:20]
        table += [[task.classes[number], *(str(labels[split][number]) for split in rows)] for number in shown]
        if (more := len(task.classes) - len(shown)) > 0:
            table.append([f"and {more} classes more", *("" for _ in rows)])
    if isinstance(speakers := told.get("speakers"), Mapping):
        table.append(["speakers", *(str(len(speakers[split])) for split in rows)])
    if isinstance(hours := told.get("hours"), Mapping):
        table.append(["hours", *(f"{hours[split]:.3g}" for split in rows)])
    for key, what in (("contexts", "contexts"), ("unanswerable", "questions without an answer")):
        if isinstance(counts := told.get(key), Mapping):
            table.append([what, *(str(counts[split]) for split in rows)])
    lines = _aligned(table)
    if isinstance(always := told.get("usual_span"), Mapping):
        most = f"the answer {always['answer']!r}" if always["answer"] else "no answer"
        lines.append(f"always giving {most} has an F1 of {_shares(always)}")
    if isinstance(always := told.get("usual_transcript"), Mapping):
        lines.append(f"always writing {always['text']!r} has a word error rate of {_shares(always)}")
        lines.append(f"transcripts are written in {len(str(told['alphabet']))} characters: {told['alphabet']}")
        lines.append(f"compared with task.normalise={told['normalise']}")
    if isinstance(guessed := told.get("chance"), Mapping):
        lines.append(f"guessing is right for {_shares(guessed)}")
    if isinstance(always := told.get("majority"), Mapping):
        lines.append(f"always answering {always['class']!r} is right for {_shares(always)}")
        if len(task.classes) == 2:
            lines.append(f"f1 and average_precision are of {task.classes[1]!r}")
    if isinstance(always := told.get("usual_answer"), Mapping):
        lines.append(f"always giving the answer {always['answer']!r} is right for {_shares(always)}, of texts written")
    if isinstance(copied := told.get("copy"), Mapping):
        lines.append(f"copying the source has a chrF of {_shares(copied)}, of texts written")
    if isinstance(always := told.get("usual_text"), Mapping):
        lines.append(f"always writing {_one_line(always['text'])} has a chrF of {_shares(always)}, of texts written")
    if isinstance(always := told.get("usual_labels"), Mapping):
        lines.append(f"always answering {listed(always['labels'])} has an F1 (micro) of {_shares(always)}")
    if isinstance(always := told.get("mean_predictor"), Mapping):
        lines.append(f"always answering the mean of training, {always['answer']:.4g}, has an RMSE of {_shares(always)}")
    return lines


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else f"{line[:60]}…")


def _shares(always: Mapping[str, object]) -> str:
    return ", ".join(f"{figure(float(str(always[split])))} on {split}" for split in SPLITS[1:] if split in always)


def _lengths(task: Task, inputs: Mapping[str, Inputs] | None) -> list[str]:
    units = {split: dict(task.lengths(split)) for split in SPLITS}
    counted = {split: read.lengths.tolist() for split, read in (inputs or {}).items()}
    if task.unit and len(set(itertools.chain(*counted.values()))) > 1:
        for split, lengths in counted.items():
            units[split][task.unit] = lengths
    names = list(dict.fromkeys(unit for found in units.values() for unit in found))
    if not names:
        return []
    table = [["shortest / median / 95 % / longest", *SPLITS]]
    table += [[unit, *(str(Lengths.of(units[split][unit])) for split in SPLITS)] for unit in names]
    if inputs is not None and any(read.truncated() for read in inputs.values()):
        cut = {split: read.truncated() for split, read in inputs.items()}
        apart = [kind for kind in CUT_APART if any(kind in kinds for kinds in cut.values())]
        table += [[f"texts: {kind}", *(str(cut[split].get(kind, 0)) for split in SPLITS)] for kind in apart]
        ends = {split: sum(count for kind, count in cut[split].items() if kind not in CUT_APART) for split in SPLITS}
        if any(ends.values()) or not apart:
            table.append(["texts that are cut there", *(str(ends[split]) for split in SPLITS)])
    return [*_aligned(table), ""]


def rows_left_out(task: Task) -> list[str]:
    """The rows and files of the data that are in no split, by reason."""
    told, facts = task.describe(), task.findings()
    lines = [f"left out, {reason}: {len(rows)} (rows {listed(rows)})" for reason, rows in facts.left_out.items()]
    known = set(facts.left_out)
    if isinstance(left := told.get("left_out"), Mapping):
        lines += [f"left out, {reason}: {count}" for reason, count in left.items() if reason not in known]
    if repeated := told.get("repeated"):
        lines.append(f"left out, in two splits or twice: {repeated}")
    return lines + [f"passed over: {count} {kind} files" for kind, count in facts.passed_over.items()]


def _findings(task: Task, odd: Sequence[str]) -> list[str]:
    lines, facts = rows_left_out(task), task.findings()
    for names, count in facts.near.items():
        where = (
            f"in {names}"
            if " and " not in names
            else f"of {names.partition(' and ')[2]} stand in " + (names.partition(" and ")[0])
        )
        lines.append(f"alike up to case, blanks and punctuation: {count} {where}")
    lines += [f"{split} has no row of {listed(names)}" for split, names in facts.missing.items()]
    lines += [f"to be looked at: {said}" for said in (*facts.suspicious, *odd)]
    lines += [f"found: {what} {found}" for what, found in facts.format.items()]
    return lines or ["nothing left out, nothing repeated, nothing suspicious"]


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    wide = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(wide[0]) if column == 0 else cell.rjust(wide[column]) for column, cell in enumerate(row)
        ).rstrip()
        for row in table
    ]


def write_rows(task: Task, path: Path, otherwise: Path | None = None) -> None:
    """Write which row, or file, of a user's own data is in which split, so that others can have the same.

    With `otherwise`, a file at `path` that says something else stays, and this one is written there: of trials whose
    data differ, each has its own.
    """
    kept = task.findings().kept
    if not kept:
        return
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["split", "row"])
    table.writerows((split, row) for split, rows in kept.items() for row in rows)
    if otherwise is None:
        replace_text(path, out.getvalue())
    elif not _is_written(path, out.getvalue()):
        replace_text(otherwise, out.getvalue())


def _is_written(path: Path, text: str) -> bool:
    """Return whether a file has this content, which is written if there is no file; of several writers one is the
    first.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        whole = Path(scratch) / path.name
        whole.write_text(text, encoding="utf-8")
        try:
            os.link(whole, path)  # others see it whole, or not at all
        except FileExistsError:
            return path.read_text(encoding="utf-8") == text
    return True
