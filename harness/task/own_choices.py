"""A user's own multiple-choice questions: options and labels read row by row, what is ambiguous refused, splits cut."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping

import pandas as pd

from harness.config import ChoiceTaskConfig, ConfigError, names_in
from harness.system.paths import listed
from harness.task.intake.cuts import odd_cuts
from harness.task.intake.duplicates import contradictions, normalised
from harness.task.intake.findings import DataFindings
from harness.task.intake.gap_words import Words, without_gap_words
from harness.task.intake.labels import is_gap
from harness.task.intake.options import Options, options_of, right_options
from harness.task.intake.table import Table
from harness.task.own_chats import groups_of, tables_of
from harness.task.own_pairs import facts_of, filled, in_splits, items, text_of, times_of

_FEW = 10  # rows in which the right option may stand in one place by chance
_ALWAYS = 0.95  # of the rows


@dataclasses.dataclass(frozen=True)
class ChoiceQuestion:
    """A question, as a model reads it, and its options; `label` is what a table says of the right one."""

    text: str
    options: Options
    label: object = None


def read_own_choices(config: ChoiceTaskConfig) -> tuple[str, dict[str, pd.DataFrame], DataFindings]:
    """The origin, the splits, of columns opening, options and answer (from 0), and what was found out.

    Raises ConfigError for what is ambiguous, or no question.
    """
    tables, passed = tables_of(config)
    withheld = [split for split, (_, table) in tables.items() if split != "train" and _is_withheld(config, table)]
    if withheld and config.dataset is None:
        raise ConfigError(
            f"{tables[withheld[0]][0]}: no row has a label ({config.label}); task.{withheld[0]}=null has it cut"
        )
    tables = {split: tables[split] for split in tables if split not in withheld}
    words, options = Words(), [name for path in config.options for name in names_in(path)]
    read = [*names_in(config.question), *options]
    policy, gaps = config.gap_words, config.gaps
    tables = {
        split: (
            where,
            without_gap_words(where, split, table, read, policy=policy, gaps=gaps, found=words, options=options),
        )
        for split, (where, table) in tables.items()
    }
    left: dict[str, list[str]] = {"gaps": words.named()} if words.out else {}
    formats = {f"{split}.{what}": said for split, (_, table) in tables.items() for what, said in table.format.items()}
    rows = {split: _kept(config, split, where, table, left) for split, (where, table) in tables.items()}
    answers = _answers(config, tables["train"][0], rows)
    frames = {split: _frame(config, split, *tables[split], rows[split], answers, left) for split in rows}
    told = [f"the labels of {split} are withheld; it was cut from training" for split in withheld]
    told += [*passed, *words.told, *_suspicious(frames)]
    frames = in_splits(config, frames, formats, own=True)
    told += odd_cuts(frames, tables, config)
    return str(config.data or config.dataset), frames, facts_of(config, frames, left, formats, told)


def _is_withheld(config: ChoiceTaskConfig, table: Table) -> bool:
    cells = list(table.column("task.label", config.label))
    return all(is_gap(cell) or str(cell) == "-1" for cell in cells)


def questions(config: ChoiceTaskConfig, where: str, table: Table, *, labelled: bool) -> dict[object, ChoiceQuestion]:
    """The questions of a table by row. Raises ConfigError, with the row, for options that are none."""
    texts = dict(
        zip(table.frame.index, filled(table, "task.question", config.question, gaps_allowed=True), strict=True)
    )
    columns = {name: items(table, "task.options", name) for name in config.options}
    labels = dict(table.column("task.label", config.label).items()) if labelled else {}
    found: dict[object, ChoiceQuestion] = {}
    for row, text in texts.items():
        place = f"{where}: row {row}"
        if len(columns) == 1:
            ((name, cells),) = columns.items()
            options = options_of(cells[row], place, name)
        else:
            cells_of_row = {name: cells[row] for name, cells in columns.items()}
            options = Options(
                tuple("" if is_gap(cell) else text_of(cell, f"{place}: {name}") for name, cell in cells_of_row.items()),
                tuple(columns),
            )
        found[row] = ChoiceQuestion(text, options, labels.get(row))
    return found


def gap_in(question: ChoiceQuestion, *, labelled: bool) -> str | None:
    """Return why a row cannot be a question; None if it can."""
    if not question.text.strip():
        return "no question"
    if len(question.options.texts) < 2:
        return "fewer than two options"
    if any(not text.strip() for text in question.options.texts):
        return "an empty option"
    return "no label" if labelled and is_gap(question.label) else None


def _kept(
    config: ChoiceTaskConfig, split: str, where: str, table: Table, left: dict[str, list[str]]
) -> dict[object, ChoiceQuestion]:
    """The rows that are questions; others are refused with their numbers, or noted in `left`."""
    rows = questions(config, where, table, labelled=True)
    found = {row: gap for row, question in rows.items() if (gap := gap_in(question, labelled=True)) is not None}
    by_kind: dict[str, list[object]] = {}
    for row, gap in found.items():
        by_kind.setdefault(gap, []).append(row)
    if found and config.gaps == "refuse":
        kinds = "; ".join(f"{gap} in {len(at)} rows ({listed(at)})" for gap, at in by_kind.items())
        raise ConfigError(f"{where}: {kinds}; task.gaps=leave_out leaves them out")
    for gap, at in by_kind.items():
        left.setdefault(gap, []).extend(f"{split} {row}" for row in at)
    return {row: question for row, question in rows.items() if row not in found}


def _answers(
    config: ChoiceTaskConfig, where: str, rows: Mapping[str, Mapping[object, ChoiceQuestion]]
) -> dict[str, int]:
    """The right option of each row of all files, which name it in one way."""
    several = len(rows) > 1
    named = {
        (f"{split} {row}" if several else str(row)): (question.options, question.label)
        for split, found in rows.items()
        for row, question in found.items()
    }
    answers = right_options(where, config.label, named, config.label_as)
    return {name if several else f"train {name}": answer for name, answer in answers.items()}


def _frame(
    config: ChoiceTaskConfig,
    split: str,
    where: str,
    table: Table,
    rows: Mapping[object, ChoiceQuestion],
    answers: Mapping[str, int],
    left: dict[str, list[str]],
) -> pd.DataFrame:
    """One split without repeated rows. Its sources, which may not stand in two splits, are a question and its
    options in whatever order.
    """
    groups = groups_of(config, split, where, table)
    right = [answers[f"{split} {row}"] for row in rows]
    frame = pd.DataFrame(
        {
            "opening": [question.text for question in rows.values()],
            "source": [_source(question) for question in rows.values()],
            "options": pd.Series([question.options.texts for question in rows.values()], dtype=object),
            "answer": right,
            "target": [question.options.texts[at] for question, at in zip(rows.values(), right, strict=True)],
            "group": [groups.get(row) or question.text for row, question in rows.items()],
            "named": pd.Series([groups.get(row) for row in rows], dtype=object),
        }
    ).set_axis(list(rows), axis=0)
    frame = frame.assign(time=times_of(config, split, table))
    once = frame.drop_duplicates(["source", "target"])
    if repeated := frame.index.difference(once.index, sort=False).tolist():
        left.setdefault("repeated", []).extend(f"{split} {row}" for row in repeated)
    return once


def _source(question: ChoiceQuestion) -> str:
    options = sorted(question.options.texts, key=lambda text: (normalised(text), text))
    return "\n".join((question.text, *options))


def always_placed(answers: Collection[int]) -> bool:
    """Return whether the right option has one place in nearly all rows: what answers by place is then no baseline."""
    ((_, count),) = Counter(answers).most_common(1) or [(0, 0)]
    return len(answers) >= _FEW and count >= _ALWAYS * len(answers)


def _suspicious(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    answers = [answer for frame in frames.values() for answer in frame["answer"]]
    told = []
    if always_placed(answers):
        ((place, count),) = Counter(answers).most_common(1)
        rule = "each option is scored by itself, and no model sees its place; what answers by place alone is left out"
        told.append(f"the right option is number {place + 1} in {count} of {len(answers)} rows: {rule}")
    for split, frame in frames.items():
        alike = [row for row, options in frame["options"].items() if len(set(options)) < len(options)]
        if alike:
            told.append(f"{split}: the same option twice in {len(alike)} rows ({listed(alike)})")
        for places in contradictions(list(frame["source"]), list(frame["target"])).values():
            rows = listed(frame.index[places])
            told.append(f"{split}: the same question and options with different answers in rows {rows}")
    return told
