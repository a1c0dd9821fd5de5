"""A user's own tables of labelled rows: columns checked row by row, what is ambiguous refused, and splits cut."""

import dataclasses
from collections.abc import Hashable, Mapping
from pathlib import Path

import pandas as pd

from harness.config import ConfigError, HubTaskConfig, OwnTextTaskConfig, TableTaskConfig, names_in
from harness.system.paths import listed
from harness.task.base import SPLITS
from harness.task.intake.cuts import EVENLY, OF_GROUPS, TOGETHER, odd_cuts
from harness.task.intake.damage import damaged
from harness.task.intake.datasets import labelled_splits
from harness.task.intake.duplicates import (
    contradictions,
    joined_blanks,
    normalised_row,
    refuse_leaks,
    repeats,
    settled,
)
from harness.task.intake.files import given_files, unwritable
from harness.task.intake.findings import DataFindings
from harness.task.intake.gap_words import Words, beside_others, without_gap_words
from harness.task.intake.groups import group_keys, group_names, reads_groups, shared_groups
from harness.task.intake.labels import is_gap, of_every_row, refuse_lists
from harness.task.intake.left import Left
from harness.task.intake.missing import missing_classes, missing_labels, refuse_one_answer
from harness.task.intake.near_texts import near_texts
from harness.task.intake.odd_texts import identical, naming_labels, of_no_language
from harness.task.intake.odd_times import odd_times
from harness.task.intake.pairs import shared_sides
from harness.task.intake.shifts import shifts
from harness.task.intake.split_column import by_column, numbered_splits, untimed
from harness.task.intake.table import Table, load_table
from harness.task.intake.text_lists import items_not_read, joined_lists
from harness.task.intake.unlabelled import often_none, unlabelled_rows
from harness.task.intake.untrained import refuse_untrained
from harness.task.own_cut import OwnRowsConfig, cut_off, other_cut
from harness.task.own_labels import labels_of, never_chosen, settle_labels, with_label_sets
from harness.task.own_pairs import filled, lacking

Frames = dict[str, pd.DataFrame]
"""Split name -> columns text, label, near (as text but for case, blanks and punctuation), and group, time or scored
(together with others) where they are named; the index is the row in its file."""

_ROW = ("text", "pair", "label")
_TEXTS = ("text", "pair")
_KEYS = {
    "text": "text",
    "pair": "text_pair",
    "label": "label",
    "group": "group",
    "time": "time",
    "scored": "score_group",
}


def read_own_table(config: TableTaskConfig) -> tuple[str, Frames, DataFindings]:
    """The three splits of a user's tables, and what was found out. Raises ConfigError for what is ambiguous."""
    if config.data is None:
        raise ConfigError("task.data: missing; give the path of a CSV, TSV, JSONL or Parquet file")
    tables = {}
    for split, key, name in given_files(config.data, config.validation, config.test):
        path, wanted = Path(name).expanduser(), _wanted(config, split)
        table = load_table(
            path, key, wanted, encoding=config.encoding, separator=config.separator, columns=config.columns
        )
        where = f"{key}={name}"
        tables[split] = where, with_label_sets(config, where, table)
    return own_splits(config, f"task.data={config.data}", config.data, by_column(tables, config.split, config.gaps))


def read_hub(config: HubTaskConfig) -> tuple[str, Frames, DataFindings]:
    """Read a data set of the datasets library. A held-out split without any label counts as not given."""
    if config.dataset is None:
        raise ConfigError("task.dataset: missing; give a folder of a saved data set, or owner/name@revision of the hub")
    where = f"task.dataset={config.dataset}"
    columns = _wanted(config, "train")
    tables, told = labelled_splits(
        config.dataset, config.subset, wanted=columns, label=config.label_columns[0], named=config.split_names
    )
    tables = {split: (named, with_label_sets(config, named, table)) for split, (named, table) in tables.items()}
    source, frames, facts = own_splits(config, where, config.dataset, by_column(tables, config.split, config.gaps))
    return source, frames, dataclasses.replace(facts, suspicious=[*facts.suspicious, *told])


def own_splits(
    config: OwnRowsConfig,
    where: str,
    source: str,
    tables: Mapping[str, tuple[str, Table]],
    what: str = "text",
    left: Left | None = None,
) -> tuple[str, Frames, DataFindings]:
    """The splits that are given, each with what names it and its table, and those that are cut; `what` rows are of.

    `left` are rows that are left out before, and the notes on them. Raises ConfigError for what is ambiguous.
    """
    left = left or Left(tuple(tables))
    if what == "text":
        tables = {
            split: (at, joined_lists(table, config.columns_read.values())) for split, (at, table) in tables.items()
        }
    read = [name for column in _columns(config, "train").values() for name in names_in(column)]
    left.told += numbered_splits(tables, config.split, read)
    frames = {split: _read(config, split, place, table, left) for split, (place, table) in tables.items()}
    _refuse_withheld(config, tables, frames)
    declared = {name for _, table in tables.values() for name in table.declared.get(config.label_name, ())}
    frames = _without_unlabelled(config, where, frames, left, declared)
    settle_labels(config, where, frames, left)
    frames = {
        split: frame.assign(
            near=pd.Series(list(map(normalised_row, _contents(frame))), dtype=object, index=frame.index)
        )
        for split, frame in _without_contradictions(config, where, frames, left, what).items()
    }
    told = [*_near_contradictions(config, frames, left, what), *_damaged(frames, left)]
    frames, times = _once(config, frames, left), dict[str, str]()
    if len(frames) < len(SPLITS):
        frames, times = cut_off(config, where, frames)
        if config.time is not None:
            told += odd_times(config.time, [frames[split]["time"] for split in times], config.time_format)
        told += odd_cuts(frames, tables, config, _why_odd(config))
    told += untimed(tables, config.time)
    _refuse_leaks(config, where, frames, left, what)
    ordered = {split: frames[split] for split in SPLITS}
    told += shared_groups(
        where, config.group, {split: dict(ordered[split].get("group", {})) for split in SPLITS}, config.leaks
    )
    told += _told_of_texts(config, ordered, left, what)
    if config.answer != "number":
        places = {split: tables[split][0] if split in tables else where for split in SPLITS}
        rules = {split: other_cut(config) for split in SPLITS if split not in tables}
        refuse_untrained(places, {split: dict(frame["label"].items()) for split, frame in ordered.items()}, rules)
    missing = _missing(config, where, ordered)
    given = {split: list(frame["label"]) for split, frame in ordered.items() if split in tables}
    told += shifts(config.answer, config.label_name, given)
    told += of_every_row(list(ordered["train"]["label"])) if config.answer == "labels" else []
    told += never_chosen(config, ordered["train"]["label"])
    formats = {split: dict(table.format) for split, (_, table) in tables.items()}
    for split, said in times.items():
        formats.setdefault(split, {})["time"] = said
    return source, ordered, dataclasses.replace(_facts(left, formats, missing), suspicious=[*left.told, *told])


def _why_odd(config: OwnRowsConfig) -> str:
    """Return why splits may be far from their shares."""
    if config.cut == "drawn" or config.answer != "class":
        return TOGETHER
    return EVENLY if config.group is None else OF_GROUPS


def _told_of_texts(config: OwnRowsConfig, ordered: Frames, left: Left, what: str) -> list[str]:
    """Return warnings about texts that are hardly language, or nearly an earlier one, and about a row's two texts."""
    told: list[str] = []
    if what == "text":
        rows = {split: [left.name(split, row) for row in frame.index] for split, frame in ordered.items()}
        every = {
            column: [text for frame in ordered.values() for text in frame[role]]
            for role, column in config.columns_read.items()
        }
        told += of_no_language(every)
        frames = list(ordered.values()) if config.answer == "class" else []
        told += naming_labels(
            [(text, name) for f in frames for text, name in zip(_contents(f), f["label"], strict=True)]
        )
        told += near_texts({split: list(frame["near"]) for split, frame in ordered.items()}, rows)
    if "pair" in ordered["train"]:
        two = {
            left.name(split, row): (first, second)
            for split, frame in ordered.items()
            for row, first, second in zip(frame.index, frame["text"], frame["pair"], strict=True)
        }
        told += identical(two, list(config.columns_read.values()))
        sides = {split: {role: list(frame[role]) for role in ("text", "pair")} for split, frame in ordered.items()}
        told += shared_sides(sides, config.columns_read, grouped=config.group is not None)
    return told


def _refuse_withheld(config: OwnRowsConfig, tables: Mapping[str, tuple[str, Table]], frames: Frames) -> None:
    """Raise ConfigError for a held-out file whose labels are all −1, or none of several, where training has others."""
    withheld = {"class": ({"-1"},), "number": ({"-1"}, {"-1.0"}), "labels": ({()}, {("-1",)}, {("-1.0",)})}
    for split, frame in frames.items():
        there = set(frame["label"])
        if there in withheld[config.answer] and not there <= set(frames["train"]["label"]):
            said = "rows have no labels" if there == {()} else "labels are -1"
            raise ConfigError(_withheld(tables[split][0], split, f"{len(frame)} {said}"))


def _withheld(where: str, split: str, said: str) -> str:
    return f"{where}: all {said}, as where labels are withheld; task.{split}=null has the split cut from the others"


def _columns(config: OwnRowsConfig, split: str) -> dict[str, str]:
    """The columns that are read of a split, by what they are for; times of training alone, which is cut."""
    columns: dict[str, str | None] = {**config.columns_read, "label": config.label_name}
    timed = config.time if split == "train" else None
    columns |= {"scored": config.scored_together, "group": config.group, "time": timed}
    return {role: column for role, column in columns.items() if column is not None}


def _wanted(config: OwnTextTaskConfig, split: str) -> tuple[str, ...]:
    """The names of the columns that are read of a split, those in templates among them."""
    columns = {role: column for role, column in _columns(config, split).items() if role != "label"}
    return tuple(name for column in (*columns.values(), *config.label_columns) for name in names_in(column))


def _cells(table: Table, key: str, column: str, *, gaps_allowed: bool) -> pd.Series:
    """A column, or texts that a template makes of several; of a row that lacks all of these a gap, or one of them where
    no gaps are allowed.
    """
    if "{" not in column:
        return table.column(key, column)
    return pd.Series(filled(table, key, column, gaps_allowed=gaps_allowed), index=table.frame.index, dtype=object)


def _read(config: OwnRowsConfig, split: str, where: str, table: Table, left: Left) -> pd.DataFrame:
    """The columns of one table that are named, without gaps."""
    table = _without_gap_words(config, split, where, table, left)
    named = _columns(config, split)
    if split != "train" and "{" not in named["label"] and named["label"] not in map(str, table.frame.columns):
        raise ConfigError(f"{where}: no column {named['label']}; where labels are withheld, task.{split}=null cuts one")
    if not reads_groups(split, table, config.group, config.leaks):
        named.pop("group", None)
    allowed = config.gaps == "refuse"  # leave_out leaves out what lacks any
    frame = pd.DataFrame(
        {
            role: _cells(table, f"task.{_KEYS[role]}", column, gaps_allowed=allowed and role in _TEXTS)
            for role, column in named.items()
        }
    )
    left.told += items_not_read(split, table, [named[role] for role in _TEXTS if role in named])
    if allowed:
        left.told += lacking(split, table, {f"task.{_KEYS[role]}": named[role] for role in _TEXTS if role in named})
    roles = [role for role in _ROW if role in frame]
    gap = frame[roles].map(is_gap).any(axis=1) if len(frame) else pd.Series(dtype=bool)
    if rows := list(frame.index[gap]):
        if split != "train" and all(map(is_gap, frame["label"])):
            raise ConfigError(_withheld(where, split, f"{len(frame)} rows have no labels"))
        if config.gaps == "refuse":
            rule = f"rows have no {' or no '.join(named[role] for role in roles)} (rows {listed(rows)})"
            none = "; of none of the labels is a row with an empty list, []" if config.answer == "labels" else ""
            if not isinstance(config.label, str):
                none = "; a row of -1 in all of these columns has no labels, one of 0 none of them; "
                none += "task.labels.blank=zero reads empty cells as 0: what was not measured is then taught as a no"
            near = [name for name in map(str, table.frame.columns) if name.casefold() == named["label"].casefold()]
            none += f"; columns {listed(near)} differ in case alone: is it one?" if len(near) > 1 else ""
            raise ConfigError(f"{where}: {len(rows)} {rule}; task.gaps=leave_out leaves them out{none}")
        left.note("gaps", split, rows)
        frame = frame[~gap]
    _check_cells(where, config, frame)
    labels = labels_of(config, split, where, table, frame["label"], left)
    for role in {"group", "scored"} & set(frame):
        frame[role] = group_names(where, named[role], frame[role].items())
    if "scored" in frame:
        frame["scored"] = group_keys(frame["scored"])
    return frame.assign(label=pd.Series(labels, dtype=object, index=frame.index))


def _without_gap_words(config: OwnRowsConfig, split: str, where: str, table: Table, left: Left) -> Table:
    found, read = Words(), [name for column in config.columns_read.values() for name in names_in(column)]
    policy, gaps, parts = config.gap_words, config.gaps, beside_others(config.columns_read.values())
    table = without_gap_words(where, split, table, read, policy=policy, gaps=gaps, found=found, options=parts)
    left.told += found.told
    left.note("gaps", split, found.out.get(split, []))
    return table


def _check_cells(where: str, config: OwnRowsConfig, frame: pd.DataFrame) -> None:
    """Raise ConfigError for texts that are none, or cannot be written, and for lists of labels."""
    for role, column in config.columns_read.items():
        for row, cell in frame[role].items():
            if not isinstance(cell, str):
                said = f"{column} is {str(cell)[:40]!r} ({type(cell).__name__}), no text"
                raise ConfigError(f"{where}: row {row}: {said}")
            if problem := unwritable(cell):
                raise ConfigError(f"{where}: row {row}: {column} has {problem}")
    if config.answer != "labels":
        refuse_lists(where, config.label_name, dict(frame["label"].items()))


def _contents(frame: pd.DataFrame) -> list[str]:
    """Return the inputs of each row as one text; two sentences are joined by a NUL."""
    if "pair" not in frame:
        return list(frame["text"])
    return [f"{text}\0{pair}" for text, pair in zip(frame["text"], frame["pair"], strict=True)]


def _without_contradictions(config: OwnRowsConfig, where: str, frames: Frames, left: Left, what: str) -> Frames:
    """Splits that have no text with two labels, in whatever splits it stands."""
    keys = [joined_blanks(content) for frame in frames.values() for content in _contents(frame)]
    names = [left.name(split, row) for split, frame in frames.items() for row in frame.index]
    labels = _answers(config, frames)
    kept, lost = settled(where, keys=keys, labels=labels, rows=names, policy=config.duplicates, what=what)
    left.told += lost if config.answer == "class" else []
    return _keep(frames, set(kept), "contradicting", left)


def _without_unlabelled(config: OwnRowsConfig, where: str, frames: Frames, left: Left, declared: set[str]) -> Frames:
    """Splits without rows whose label often means that there is none, and is no class that is `declared`."""
    if config.answer == "number":
        return frames
    names = [left.name(split, row) for split, frame in frames.items() for row in frame.index]
    cells = [cell for frame in frames.values() for cell in frame["label"]]
    labels = cells if config.answer == "labels" else [(cell,) for cell in cells]
    policy, classes = config.labels.unlabelled, config.classes
    out = unlabelled_rows(where, labels, names, policy=policy, classes=classes, declared=declared)
    kept = set(range(len(names))).difference(out)
    rest = [name for place in sorted(kept) for name in labels[place]]
    left.told += often_none(rest, policy=policy, classes=classes, declared=declared)
    return _keep(frames, kept, "unlabelled", left)


def _keep(frames: Frames, kept: set[int], reason: str, left: Left) -> Frames:
    """The rows of those places, which are counted over all splits; others are noted."""
    begin, rest = 0, {}
    for split, frame in frames.items():
        places = [place for place in range(len(frame)) if begin + place in kept]
        left.note(reason, split, list(frame.index.delete(places)))
        rest[split] = frame.iloc[places]
        begin += len(frame)
    return rest


def _near_contradictions(config: OwnRowsConfig, frames: Frames, left: Left, what: str) -> list[str]:
    """Return warnings about texts that have two labels and differ in case, blanks and punctuation only, or not at all,
    unless a setting keeps them.
    """
    if config.duplicates == "keep":
        return []
    keys = [key for frame in frames.values() for key in frame["near"]]
    names = [left.name(split, row) for split, frame in frames.items() for row in frame.index]
    found = contradictions(keys, _answers(config, frames))
    if not found or config.answer == "number":
        return []
    said = listed(" and ".join(names[place] for place in places[:4]) for places in found.values())
    how = " up to case, blanks and punctuation" if what == "text" else ""
    return [f"the same {what}{how} with different labels, {len(found)} times (rows {said})"]


def _damaged(frames: Frames, left: Left) -> list[str]:
    """Return warnings about texts that lost characters before they were given."""
    return damaged(
        {
            left.name(split, row): content
            for split, frame in frames.items()
            for row, content in zip(frame.index, _contents(frame), strict=True)
        }
    )


def _answers(config: OwnRowsConfig, frames: Frames) -> list[Hashable]:
    labels = [label for frame in frames.values() for label in frame["label"]]
    return list(map(float, labels)) if config.answer == "number" else labels


def _once(config: OwnRowsConfig, frames: Frames, left: Left) -> Frames:
    """Splits without repeated rows."""
    rows = {split: list(zip(_contents(frame), frame["label"], strict=True)) for split, frame in frames.items()}
    names = {split: [left.name(split, row) for row in frame.index] for split, frame in frames.items()}
    out, told = repeats(rows, names, config.duplicates)
    left.told += told
    for split, frame in frames.items():
        left.note("repeated", split, list(frame.index[out[split]]))
    return {split: frame.drop(index=frame.index[out[split]]) for split, frame in frames.items()}


def _refuse_leaks(config: OwnRowsConfig, where: str, frames: Frames, left: Left, what: str) -> None:
    """Raise ConfigError where a split that was given shares more than a few texts with another."""
    if config.leaks == "allow":
        return
    texts = {split: _contents(frames[split]) for split in SPLITS}
    near: dict[str, list[str]] = {split: list(frames[split]["near"]) for split in SPLITS}
    rows = {split: [left.name(split, row) for row in frames[split].index] for split in SPLITS}
    for keys, how in ((texts, ""), (near, " up to case, blanks and punctuation")):
        named = "sentences" if what == "text" else f"{what}s"
        refuse_leaks(where, keys, rows, str, f"{how}; task.leaks=allow takes them all the same", named)


def _missing(config: OwnRowsConfig, where: str, frames: Frames) -> dict[str, list[str]]:
    labels = {split: list(frame["label"]) for split, frame in frames.items()}
    if config.answer == "class":
        return missing_classes(where, labels, "rows")
    refuse_one_answer(
        where, labels if config.answer == "labels" else {n: list(map(float, m)) for n, m in labels.items()}
    )
    return missing_labels(labels) if config.answer == "labels" else {}


def _facts(left: Left, formats: dict[str, dict[str, str]], missing: dict[str, list[str]]) -> DataFindings:
    """The rows that are kept are known only when all that is done to them is done."""
    return DataFindings(
        left_out=left.rows,
        kept=dict.fromkeys(SPLITS, ()),
        missing=missing,
        format={f"{split}.{what}": said for split, found in formats.items() for what, said in found.items()},
    )
