"""A user's own questions and contexts: answers found where they stand, what is ambiguous refused, splits cut."""

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence

import pandas as pd

from harness.config import ConfigError, ExtractiveQaConfig
from harness.system.paths import listed
from harness.task.base import SPLITS
from harness.task.intake.cuts import drawn, joined, odd_cuts
from harness.task.intake.duplicates import (
    joined_blanks,
    near_counts,
    normalised,
    normalised_row,
    refuse_leaks,
    repeats,
    settled,
    shared_keys,
)
from harness.task.intake.findings import DataFindings
from harness.task.intake.gap_words import Words, without_gap_words
from harness.task.intake.groups import group_key, reads_groups, shared_groups
from harness.task.intake.labels import is_gap
from harness.task.intake.near_texts import near_texts
from harness.task.intake.quoted import in_rows, in_word, nearest_place, place_of, quoted_in
from harness.task.intake.table import Table
from harness.task.intake.timed import latest_held_out
from harness.task.own_chats import tables_of
from harness.task.own_marks import Asked, as_marked, mark_column, marked
from harness.task.own_pairs import text_of
from harness.task.qa_inputs import Question

_ANSWERS = ("answers", "answer")
_STARTS = ("answer_start", "answer_starts")
_NO_ANSWER = frozenset(("answernotfound", "cannotanswer", "noanswer", "unanswerable", "notanswerable"))
_ID = "id"  # of conf/task/extractive_qa.yaml; it need not be there


@dataclasses.dataclass(frozen=True)
class _Row:
    """A question, its own id, and what it must stay together with."""

    question: Question
    id: str | None
    group: str | None
    time: object = None

    @property
    def content(self) -> str:
        """Return its inputs as one text."""
        return f"{self.question.text}\0{self.question.context}"


@dataclasses.dataclass
class _Left:
    """Rows that are left out, by reason; how files are written; and the warnings."""

    rows: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    formats: dict[str, str] = dataclasses.field(default_factory=dict)
    told: list[str] = dataclasses.field(default_factory=list)

    def note(self, reason: str, split: str, names: Sequence[str]) -> None:
        if names:
            self.rows.setdefault(reason, []).extend(f"{split} {name}" for name in names)


_INSIDE = 0.25  # of all answers; of some languages a few begin behind a particle, as behind Arabic's article

Rows = dict[str, list[_Row]]


def read_own_qa(config: ExtractiveQaConfig) -> tuple[str, dict[str, tuple[Question, ...]], DataFindings]:
    """The three splits, and what was found out. Raises ConfigError for what is ambiguous or no question."""
    left, rows, (given, passed) = _Left(), Rows(), tables_of(config)
    left.told += passed
    tables = {split: _without_gap_words(config, split, where, table, left) for split, (where, table) in given.items()}
    asked = {
        split: read_asked(
            config,
            where,
            table,
            grouped=reads_groups(split, table, config.group, config.leaks),
            timed=split == "train",
        )
        for split, (where, table) in tables.items()
    }
    for split in _withheld(config, {split: where for split, (where, _) in tables.items()}, asked):
        left.told.append(f"the answers of {split} are withheld; it was cut from training")
        del asked[split]
    for split, found in asked.items():
        where, table = tables[split]
        left.formats |= {f"{split}.{what}": said for what, said in table.format.items()}
        found, contradicting = as_marked(config, where, table, found)
        left.note("marked otherwise than answered", split, contradicting)
        rows[split] = _placed(config, split, where, _without_gaps(config, split, where, found, left), left)
    source = str(config.data or config.dataset)
    where = f"task.data={source}" if config.data else f"task.dataset={source}"
    rows = _without_shared_ids(config, where, rows, left)
    rows = _without_contradictions(config, where, rows, left)
    rows = _once(config, rows, left)
    if len(rows) < len(SPLITS):
        cut = _cut(config, where, rows, left)
        left.told += odd_cuts(cut, rows, config)
        rows = cut
    if config.leaks == "refuse":
        texts = {split: [row.content for row in rows[split]] for split in SPLITS}
        names = {split: [row.question.name for row in rows[split]] for split in SPLITS}
        rule = " up to case, blanks and punctuation; task.leaks=allow takes them all the same"
        refuse_leaks(where, texts, names, normalised_row, rule, "questions")
    left.told += [*_shared_contexts(rows), *_inside_words(rows)]
    groups = {split: {row.question.name: row.group for row in rows[split]} for split in SPLITS}
    left.told += shared_groups(where, config.group, groups, config.leaks)
    return source, {split: tuple(row.question for row in rows[split]) for split in SPLITS}, _facts(rows, left)


def _without_gap_words(
    config: ExtractiveQaConfig, split: str, where: str, table: Table, left: _Left
) -> tuple[str, Table]:
    """Return a table's key and value, and its questions, a row each; answers are spans of a text, whatever they say."""
    found, policy, gaps = Words(), config.gap_words, config.gaps
    read = (config.question, config.context)
    rows = without_gap_words(where, split, in_rows(where, table), read, policy=policy, gaps=gaps, found=found)
    left.note("gaps", split, [str(row) for row in found.out.get(split, ())])
    left.told += found.told
    return where, rows


def _withheld(config: ExtractiveQaConfig, where: Mapping[str, str], asked: Mapping[str, Sequence[Asked]]) -> list[str]:
    """The held-out splits of a data set without any answer, where training has some. Raises ConfigError for a file."""
    answered = {split for split, rows in asked.items() if any(row.answers for row in rows)}
    withheld = [split for split, rows in asked.items() if rows and split not in answered and "train" in answered]
    if withheld and config.dataset is None:
        split = withheld[0]
        rule = f"task.{split}=null has the split cut from training"
        raise ConfigError(
            f"{where[split]}: none of {len(asked[split])} questions has an answer, as where they are withheld; {rule}"
        )
    return withheld


def read_asked(
    config: ExtractiveQaConfig,
    where: str,
    table: Table,
    *,
    answered: bool = True,
    grouped: bool = False,
    timed: bool = False,
) -> list[Asked]:
    """The rows of a table as they are; without answers, unless they are to be `answered`, and groups and times, unless
    `grouped` and `timed`.

    Raises ConfigError, with the rows, for cells that are no text and no answers.
    """
    texts, contexts = (table.column(f"task.{key}", vars(config)[key]) for key in ("question", "context"))
    answers, starts = _answer_columns(config, table) if answered else (None, None)
    group = table.column("task.group", config.group) if grouped and config.group else None
    mark = mark_column(table) if answered else None
    marks = None if mark is None else table.column("task.impossible", mark)
    times = table.column("task.time", config.time) if timed and config.time else None
    columns = (texts, contexts, answers, starts, _ids(config, table), group)
    rows, wrong = list[Asked](), list[str]()
    for place, row in enumerate(texts.index):
        cells = [None if column is None else column.iloc[place] for column in columns]
        try:
            said = None if mark is None or marks is None else marked(mark, marks.iloc[place])
            when = None if times is None else times.iloc[place]
            rows.append(dataclasses.replace(_asked(str(row), cells), impossible=said, time=when))
        except (ValueError, ConfigError) as error:
            wrong.append(f"row {row}: {error}")
    if wrong:
        raise ConfigError(f"{where}: {len(wrong)} rows cannot be read ({listed(wrong)})")
    return rows


def _asked(name: str, cells: Sequence[object]) -> Asked:
    text, context = ("" if is_gap(cell) else text_of(cell, "its text") for cell in cells[:2])
    answers, own, group = quoted_in(*cells[2:4]), *(None if is_gap(cell) else str(cell) for cell in cells[4:])
    kept = None if answers is None else tuple(dict.fromkeys(each.stripped() for each in answers))
    return Asked(name, text, context, kept, own, group)


def _answer_columns(config: ExtractiveQaConfig, table: Table) -> tuple[pd.Series, pd.Series | None]:
    """The columns of answers and of their beginnings, which may stand in the first one or be unknown."""
    there = list(map(str, table.frame.columns))
    usual, beside = (next((name for name in names if name in there), None) for names in (_ANSWERS, _STARTS))
    answers, starts = config.answers or usual or _ANSWERS[0], config.answer_start or beside
    return table.column("task.answers", answers), table.column("task.answer_start", starts) if starts else None


def _ids(config: ExtractiveQaConfig, table: Table) -> pd.Series | None:
    unnamed = config.id is None or (config.id == _ID and _ID not in map(str, table.frame.columns))
    return None if unnamed else table.column("task.id", str(config.id))


def _without_gaps(
    config: ExtractiveQaConfig, split: str, where: str, rows: Sequence[Asked], left: _Left
) -> list[Asked]:
    """The rows that have a question, a context and answers, which may be none."""
    if config.unanswerable == "empty":
        rows = [row if row.answers is not None else dataclasses.replace(row, answers=()) for row in rows]
    gaps = {row.name: gap for row in rows if (gap := gap_in(row, answered=True))}
    if gaps and config.gaps == "refuse":
        kinds = "; ".join(f"{kind} in rows {listed(_of_kind(gaps, kind))}" for kind in dict.fromkeys(gaps.values()))
        rule = "task.gaps=leave_out leaves them out"
        if "no answer" in gaps.values():
            rule += ", task.unanswerable=empty takes an empty cell as a question without an answer"
        raise ConfigError(f"{where}: {len(gaps)} rows have gaps ({kinds}); {rule}")
    left.note("gaps", split, list(gaps))
    return [row for row in rows if row.name not in gaps]


def _of_kind(gaps: Mapping[str, str], kind: str) -> list[str]:
    return [name for name, gap in gaps.items() if gap == kind]


def gap_in(row: Asked, *, answered: bool) -> str | None:
    """Return the parts that a row lacks; None if it lacks nothing."""
    if not row.text.strip():
        return "no question"
    if not row.context.strip():
        return "no context"
    return "no answer" if answered and row.answers is None else None


def _placed(config: ExtractiveQaConfig, split: str, where: str, rows: Sequence[Asked], left: _Left) -> list[_Row]:
    """The rows with the place of each answer in its context."""
    found, wrong = list[_Row](), dict[str, str]()
    moved, nowhere = list[str](), False
    for row in rows:
        try:
            places = [place_of(row.context, answer) for answer in row.answers or ()]
        except ValueError as error:
            wrong[row.name] = str(error)
            nearest = [nearest_place(row.context, answer) for answer in row.answers or ()]
            nowhere |= None in nearest
            if config.starts != "nearest" or None in nearest:
                continue
            places = [place for place in nearest if place is not None]
            moved.append(row.name)
        texts = (answer.text for answer in row.answers or ())
        answers = tuple(zip(texts, places, strict=True))
        found.append(_Row(Question(row.name, row.text, row.context, answers), row.id, row.group, row.time))
    if wrong and config.starts == "refuse":
        said = listed(f"row {name}: {reason}" for name, reason in wrong.items())
        rest = ", and leaves out what stands nowhere" if nowhere else ""
        rule = f"task.starts=nearest takes each where it stands nearest{rest}, leave_out leaves the rows out"
        raise ConfigError(f"{where}: {len(wrong)} rows have answers that are not where they should be ({said}); {rule}")
    left.note("answers that are not where they should be", split, [name for name in wrong if name not in set(moved)])
    if moved:
        left.told.append(f"{split}: {len(moved)} answers are taken where they stand nearest (rows {listed(moved)})")
    return found


def _each(rows: Rows) -> Iterator[tuple[str, _Row]]:
    return ((split, row) for split, found in rows.items() for row in found)


def _without_shared_ids(config: ExtractiveQaConfig, where: str, rows: Rows, left: _Left) -> Rows:
    """Rows that each have an id of their own, or none."""
    by_id: dict[str, list[str]] = {}
    for split, row in _each(rows):
        if row.id is not None:
            by_id.setdefault(row.id, []).append(f"{split} {row.question.name}")
    shared = {own: names for own, names in by_id.items() if len(names) > 1}
    if shared and config.duplicates == "refuse":
        said = listed(f"{own} in rows {' and '.join(names[:4])}" for own, names in shared.items())
        rule = "task.duplicates=first keeps the first of them, leave_out none, keep all; task.id=null reads no ids"
        raise ConfigError(f"{where}: {len(shared)} ids stand in several rows ({said}); {rule}")
    if config.duplicates == "keep":
        return rows
    out = {name for names in shared.values() for name in names[config.duplicates == "first" :]}
    return _without(rows, out, "repeated ids", left)


def _without(rows: Rows, names: set[str], reason: str, left: _Left) -> Rows:
    for split, found in rows.items():
        left.note(reason, split, [row.question.name for row in found if f"{split} {row.question.name}" in names])
    return {
        split: [row for row in found if f"{split} {row.question.name}" not in names] for split, found in rows.items()
    }


def _without_contradictions(config: ExtractiveQaConfig, where: str, rows: Rows, left: _Left) -> Rows:
    every = list(_each(rows))
    names = [f"{split} {row.question.name}" for split, row in every]
    answers: list[Hashable] = [frozenset(row.question.wanted) for _, row in every]
    keys = [joined_blanks(row.content) for _, row in every]
    what, policy = "question about the same context", config.duplicates
    kept = set(settled(where, keys=keys, labels=answers, rows=names, policy=policy, what=what)[0])
    return _without(rows, {name for at, name in enumerate(names) if at not in kept}, "contradicting", left)


def _once(config: ExtractiveQaConfig, rows: Rows, left: _Left) -> Rows:
    """Splits without repeated rows."""
    read = {split: [(row.content, frozenset(row.question.wanted)) for row in found] for split, found in rows.items()}
    names = {split: [row.question.name for row in found] for split, found in rows.items()}
    out, told = repeats(read, names, config.duplicates)
    left.told += told
    return _without(rows, {f"{split} {names[split][at]}" for split in rows for at in out[split]}, "repeated", left)


def _cut(config: ExtractiveQaConfig, where: str, rows: Rows, left: _Left) -> Rows:
    """Cut the splits that are not given off the training file; all questions about a context, and about those of a
    group, stay together, unless splits are cut by time.
    """
    whole = rows["train"]
    shares = {"validation": config.validation_share, "test": config.test_share}
    shares = {split: share for split, share in shares.items() if split not in rows}
    if config.time is not None:
        times = {row.question.name: row.time for row in whole}
        parts, spans, odd = latest_held_out(where, config, times, shares)
        left.formats |= spans
        left.told += odd
        return rows | {split: [whole[place] for place in places] for split, places in parts.items()}
    groups: list[Hashable] = [normalised(row.question.context) for row in whole]
    if config.group is not None:
        groups = joined(groups, [row.group and group_key(row.group) for row in whole])
    parts = drawn(groups, shares, config.split_seed)
    return rows | {split: [whole[place] for place in places] for split, places in parts.items()}


def _shared_contexts(rows: Rows) -> list[str]:
    """Count the contexts of a split with questions in an earlier one, too."""
    contexts = {split: list({normalised(row.question.context) for row in rows[split]}) for split in SPLITS}
    return [
        f"{len(places)} contexts of {names.partition(' and ')[2]} are asked about in {names.partition(' and ')[0]}, too"
        for names, places in shared_keys(contexts).items()
    ]


def _says_none(rows: Rows) -> list[str]:
    """Return warnings about answers that mean that there is none, as in SubjQA and QuAC, and occur in contexts."""
    found: dict[str, list[str]] = {}
    for split, row in _each(rows):
        for answer in row.question.wanted:
            if "".join(filter(str.isalpha, answer)).casefold() in _NO_ANSWER:
                found.setdefault(answer, []).append(f"{split} {row.question.name}")
    rule = "where it means that there is none, empty these cells, which task.unanswerable=empty reads so"
    return [
        f"{answer!r} is taught as the answer of {len(names)} rows ({listed(names)}); {rule}"
        for answer, names in found.items()
    ]


def _inside_words(rows: Rows) -> list[str]:
    """Return warnings about answers that begin inside a word of their context, if there are many."""
    every = [(f"{split} {row.question.name}", row.question) for split, row in _each(rows) if row.question.answers]
    inside = [name for name, asked in every if all(in_word(asked.context, at) for _, at in asked.answers)]
    if len(inside) <= _INSIDE * len(every):
        return []
    said = "begin inside a word of their context: a model says whole tokens, and may never say them"
    return [f"{len(inside)} of {len(every)} answers {said} (rows {listed(inside)})"]


def _facts(rows: Rows, left: _Left) -> DataFindings:
    keys = {split: [normalised_row(row.content) for row in rows[split]] for split in SPLITS}
    names = {split: [f"{split} {row.question.name}" for row in rows[split]] for split in SPLITS}
    return DataFindings(
        left_out=left.rows,
        kept={split: [row.question.name for row in rows[split]] for split in SPLITS},
        near=near_counts(keys),
        suspicious=[*left.told, *_says_none(rows), *near_texts(keys, names)],
        format=left.formats,
    )
