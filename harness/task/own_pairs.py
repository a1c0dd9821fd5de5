"""A user's own tables of source and target texts: columns or templates filled row by row, and splits cut."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from string import Formatter

import pandas as pd

from harness.config import (
    ChatTaskConfig,
    ChoiceTaskConfig,
    ConfigError,
    FileSeq2seqTaskConfig,
    names_in,
    nearest,
    with_breaks,
)
from harness.system import assets
from harness.system.paths import listed
from harness.task.answers import with_answers
from harness.task.base import SPLITS
from harness.task.intake.cuts import drawn, joined, odd_cuts, split_of
from harness.task.intake.datasets import load_splits
from harness.task.intake.duplicates import contradictions, normalised, refuse_leaks, shared_keys
from harness.task.intake.files import given_files, unwritable
from harness.task.intake.findings import DataFindings
from harness.task.intake.gap_words import Words, beside_others, without_gap_words
from harness.task.intake.groups import group_key, reads_groups, shared_groups
from harness.task.intake.labels import is_gap
from harness.task.intake.moments import cut_by_time
from harness.task.intake.near_texts import near_texts
from harness.task.intake.odd_times import odd_times
from harness.task.intake.split_column import by_column, numbered_splits, untimed
from harness.task.intake.table import Table, load_table
from harness.task.intake.text_lists import items_not_read, joined_lists

PairsConfig = FileSeq2seqTaskConfig | ChatTaskConfig | ChoiceTaskConfig


def read_own_pairs(
    config: FileSeq2seqTaskConfig,
) -> tuple[str, dict[str, pd.DataFrame], dict[str, int], DataFindings]:
    """A user's or a hub's files. Where a split is not given it is cut off the training file, whole groups at a time."""
    left: dict[str, list[str]] = {}
    formats: dict[str, str] = {}
    gaps: list[str] = []
    words, (given, passed) = Words(), _given(config)
    given = by_column(given, config.split, config.gaps)
    read, policy = [*names_in(config.source), *names_in(config.target)], config.gap_words
    passed += numbered_splits(given, config.split, [*read, *names_in(config.group or ""), config.time or ""])
    passed += untimed(given, config.time)
    gaps_in, parts = config.gaps, beside_others((config.source, config.target))
    given = {
        name: (
            where,
            without_gap_words(where, name, table, read, policy=policy, gaps=gaps_in, found=words, options=parts),
        )
        for name, (where, table) in given.items()
    }
    if words.out:
        left["gaps"] = words.named()
    frames = {
        name: _columns(config, name, table, where, left=left, formats=formats, gaps=gaps)
        for name, (where, table) in given.items()
    }
    frames = in_splits(config, frames, formats, own=config.asset is None)
    frames, without = with_answers(config.answer, config.gaps, frames, left)
    origin = f"{config.asset.address}/{config.data}" if config.asset else str(config.data or config.dataset)
    passed += odd_cuts(frames, given, config)
    told = [*passed, *words.told, *gaps, *several_targets(frames, "source"), *without]
    facts = facts_of(config, frames, left, formats, told)
    return origin, frames, {reason: len(rows) for reason, rows in left.items()}, facts


def _given(config: FileSeq2seqTaskConfig) -> tuple[dict[str, tuple[str, Table]], list[str]]:
    """Return, for each given split, its key with its value, and its table; and messages about what is not a split."""
    templates = (config.source, config.target, config.group or config.source)
    wanted = [name for template in templates for name in names_in(template)]
    wanted += [config.time] if config.time else []
    if config.dataset is not None:
        found, told = load_splits(config.dataset, config.subset, wanted, config.split_names)
        return {split: (f"task.dataset={config.dataset}", table) for split, table in found.items()}, told
    if config.data is None:
        raise ConfigError("task.data: missing; give the path of a CSV, TSV, JSONL or Parquet file, or task.dataset")
    root = assets.fetch(config.asset.address, config.asset.sha256) if config.asset else Path()
    tables = {}
    for split, key, name in given_files(config.data, config.validation, config.test):
        path = root / Path(name).expanduser()
        table = load_table(
            path, key, wanted, encoding=config.encoding, separator=config.separator, columns=config.columns
        )
        tables[split] = f"{key}={path}", table
    return tables, []


def in_splits(
    config: PairsConfig, frames: dict[str, pd.DataFrame], formats: dict[str, str], *, own: bool
) -> dict[str, pd.DataFrame]:
    """All three splits, those that are not given cut off training, of columns source, target, group and time.

    Rows with the same `opening`, where there is that column, stay together, unless splits are cut by time; from when to
    when each is goes into `formats` then. Of a user's `own` data near-identical sources are one. Raises ConfigError for
    a source in two splits.
    """
    frames = _with_cut(config, frames, formats, own)
    _refuse_shared(config, frames)
    if own and config.leaks == "refuse":
        texts = {name: list(frames[name]["source"]) for name in SPLITS}
        rows = {name: list(map(str, frames[name].index)) for name in SPLITS}
        rule = " up to case, blanks and punctuation; task.leaks=allow takes them all the same"
        refuse_leaks(f"task={config.name}", texts, rows, normalised, rule)
    return frames


def facts_of(
    config: PairsConfig,
    frames: dict[str, pd.DataFrame],
    left: dict[str, list[str]],
    formats: dict[str, str],
    suspicious: list[str],
) -> DataFindings:
    """Return the facts about splits by their sources: what was left out, how files are written and what is odd.

    Raises ConfigError for a group in training and in a held-out split.
    """
    groups = {name: dict(frames[name]["named"].items()) for name in SPLITS}
    suspicious = [*suspicious, *shared_groups(f"task={config.name}", config.group, groups, config.leaks)]
    keys = {name: [normalised(source) for source in frames[name]["source"]] for name in SPLITS}
    rows = {name: list(zip(keys[name], map(normalised, frames[name]["target"]), strict=True)) for name in SPLITS}
    named = {name: [f"{name} {row}" for row in frames[name].index] for name in SPLITS}
    suspicious += near_texts(keys, named)
    if config.time is not None and "train.time" in formats:  # splits were cut by it
        cut = [frames[name]["time"] for name in SPLITS if f"{name}.time" in formats]
        suspicious += odd_times(config.time, cut, config.time_format)
    near = {name: len(mine) - len(set(mine)) for name, mine in rows.items()}
    near |= {names: len(places) for names, places in shared_keys(keys).items()}
    return DataFindings(
        left_out=left,
        kept={name: list(map(str, frame.index)) for name, frame in frames.items()},
        near={names: count for names, count in near.items() if count},
        format=formats,
        suspicious=suspicious,
    )


def several_targets(frames: Mapping[str, pd.DataFrame], what: str) -> list[str]:
    """Return warnings about sources, called `what`, that have several targets; case, blanks and signs are ignored.

    It is no error, since many tasks have several right answers.
    """
    rows = [(name, *row) for name in SPLITS for row in frames[name][["source", "target"]].itertuples()]
    sources, targets = [normalised(source) for *_, source, _ in rows], [normalised(target) for *_, target in rows]
    if not (found := contradictions(sources, targets)):
        return []
    said = listed(" and ".join(f"{rows[at][0]} {rows[at][1]}" for at in places[:4]) for places in found.values())
    usual = "all are kept, as there may be several right ones"
    return [f"the same {what} with different targets, {len(found)} times (rows {said}); {usual}"]


def _with_cut(
    config: PairsConfig, frames: dict[str, pd.DataFrame], formats: dict[str, str], own: bool
) -> dict[str, pd.DataFrame]:
    shares = {"validation": config.validation_share, "test": config.test_share}
    cut = {name: 0.0 if name in frames else share for name, share in shares.items()}
    if not any(cut.values()):
        return frames
    train, absent = frames["train"], {name: cut[name] for name in cut if name not in frames}
    if config.time is not None:
        parts, told = cut_by_time(f"task={config.name}", config.time, train["time"], absent, config.time_format)
        formats |= {f"{split}.time": said for split, said in told.items()}
        return frames | {name: train.iloc[places] for name, places in parts.items()}
    if config.cut == "drawn":
        return frames | _drawn(config, train, absent, own)
    groups = list(train["group"])
    if own:  # near-identical sources, or openings of conversations, of a user's own go where the first of them goes
        firsts: dict[str, str] = {}
        near = [normalised(text) for text in train.get("opening", train["source"])]
        if config.group is not None:
            near, groups = _roots(near, groups)
        groups = [firsts.setdefault(text, group) for text, group in zip(near, groups, strict=True)]
    place = pd.Series(
        [split_of(group, config.split_seed, cut["validation"], cut["test"]) for group in groups], index=train.index
    )
    return frames | {name: train[place == name] for name in SPLITS if name == "train" or cut[name]}


def _drawn(config: PairsConfig, train: pd.DataFrame, shares: Mapping[str, float], own: bool) -> dict[str, pd.DataFrame]:
    """Whole groups by their shares; of a user's own, near-identical sources or openings are of one group, too."""
    groups: list[Hashable] = list(train["group"])
    if own:
        near = [normalised(text) for text in train.get("opening", train["source"])]
        keys = [name and group_key(name) for name in train["group"]]
        groups = [*near] if config.group is None else joined(near, keys)
    return {name: train.iloc[places] for name, places in drawn(groups, shares, config.split_seed).items()}


def _roots(near: list[str], groups: list[str]) -> tuple[list[str], list[str]]:
    """Return, for each row, the common key of groups that share a near-identical source, and its group, or its source
    if it has none.
    """
    roots = joined(near, [group and group_key(group) for group in groups])
    return list(map(str, roots)), [group or source for group, source in zip(groups, near, strict=True)]


def _columns(
    config: FileSeq2seqTaskConfig,
    split: str,
    table: Table,
    where: str,
    *,
    left: dict[str, list[str]],
    formats: dict[str, str],
    gaps: list[str],
) -> pd.DataFrame:
    """Columns source, target and group of a table, without repeated rows; what was left out is noted in `left`."""
    table = joined_lists(table, [config.source])
    formats.update({f"{split}.{what}": said for what, said in table.format.items()})
    grouped = reads_groups(split, table, config.group, config.leaks)
    group = config.group if grouped and config.group else config.source
    frame = pd.DataFrame(
        {
            "source": filled(table, "task.source", config.source, gaps_allowed=True),
            "target": filled(table, "task.target", config.target, gaps_allowed=False),
            "group": filled(table, "task.group", group, gaps_allowed=True),
        },
        index=table.frame.index,
    ).assign(
        time=times_of(config, split, table),
        named=lambda made: made["group"] if grouped else None,
    )
    gaps += lacking(split, table, {"task.source": config.source})
    gaps += items_not_read(split, table, [config.source, config.target])
    blank = frame["source"].str.strip().eq("") | frame["target"].str.strip().eq("")
    if rows := list(frame.index[blank]):
        if config.gaps == "refuse":
            said = f"{len(rows)} rows have no source or no target (rows {listed(rows)})"
            raise ConfigError(f"{where}: {said}; task.gaps=leave_out leaves them out")
        left.setdefault("gaps", []).extend(f"{split} {row}" for row in rows)
        frame = frame[~blank]
    once = frame.drop_duplicates(["source", "target"])
    if repeated := frame.index.difference(once.index, sort=False).tolist():
        left.setdefault("repeated", []).extend(f"{split} {row}" for row in repeated)
    return once


def times_of(config: PairsConfig, split: str, table: Table) -> pd.Series | None:
    """Return the times of a split's rows, of training alone, which is cut by it."""
    return table.column("task.time", config.time) if config.time is not None and split == "train" else None


def filled(table: Table, key: str, template: str, *, gaps_allowed: bool) -> list[str]:
    r"""A column, or a template with {column} in it, for every row; a line break in it may be written as \n.

    A gap leaves its row empty; with `gaps_allowed`, of a template only if all that it names are gaps.
    """
    if "{" not in template:
        where = f"{key}={template}: {table.path}: row"
        column = table.column(key, template).items()
        return [text_of("" if is_gap(cell) else cell, f"{where} {row}", template) for row, cell in column]
    names = [str(name) for name in table.frame.columns]
    named = names_in(template)
    for name in named:
        if name not in names:
            there = f"columns: {listed(names)}"
            said = f"{table.path} has no column {name}{nearest(name, names)}; {there}{table.first_row(key)}"
            raise ConfigError(f"{key}={template}: {said}")
    columns = {name: list(table.column(key, name)) for name in dict.fromkeys(named)}
    filled, meant = [], with_breaks(template)
    for place, row in enumerate(table.frame.index):
        cells = {name: cells[place] for name, cells in columns.items()}
        filled.append(_fill(meant, cells, gaps_allowed, f"{key}={template}: {table.path}: row {row}"))
    return filled


def items(table: Table, key: str, path: str) -> dict[object, object]:
    """A column by row, or what a template of one field, as "{question[choices]}", names in it, whatever it is; of
    other templates the text.
    """
    parts = list(Formatter().parse(path)) if "{" in path else []
    if not parts:
        return dict(table.column(key, path).items())
    if len(parts) > 1 or parts[0][0]:
        return dict(zip(table.frame.index, filled(table, key, path, gaps_allowed=True), strict=True))
    (name,) = names_in(path)
    found: dict[object, object] = {}
    for row, cell in table.column(key, name).items():
        try:
            found[row] = None if is_gap(cell) else _TEMPLATES.get_field(str(parts[0][1]), (), {name: cell})[0]
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise ConfigError(f"{key}={path}: {table.path}: row {row}: it cannot be filled: {error}") from None
    return found


def lacking(split: str, table: Table, templates: Mapping[str, str]) -> list[str]:
    """Return warnings about rows without a cell for a field of a template; `templates` by key."""
    return [
        f"{split}: {count} rows have no {name}, which {key} names"
        for key, template in templates.items()
        if "{" in template
        for name in dict.fromkeys(names_in(template))
        if (count := sum(map(is_gap, table.column(key, name))))
    ]


def _fill(template: str, cells: Mapping[str, object], gaps_allowed: bool, where: str) -> str:
    gaps = [name for name, cell in cells.items() if is_gap(cell)]
    if len(gaps) == len(cells) or (gaps and not gaps_allowed):
        return ""
    try:
        text = _TEMPLATES.vformat(template, (), {name: "" if name in gaps else cell for name, cell in cells.items()})
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{where}: it cannot be filled: {error}") from None
    return text_of(text.rstrip() if gaps else text, where)


def text_of(cell: object, where: str, column: str = "COLUMN") -> str:
    """A cell as text, in messages of a `column`. Raises ConfigError for lists and what cannot be written."""
    if isinstance(cell, _NO_TEXTS):
        raise ConfigError(f"{where}: {_no_text(cell, column)}")
    if said := unwritable(text := str(cell)):
        raise ConfigError(f"{where}: {said}")
    return text


_NO_TEXTS = (list, tuple, dict, set, bytes)


def _no_text(cell: object, column: str = "COLUMN") -> str:
    item = next(iter(cell), "KEY") if isinstance(cell, dict) else 0
    said = f"{str(cell)[:40]!r} ({type(cell).__name__}) is no text"
    joined = "; task.text and task.source join them" if isinstance(cell, list | tuple) else ""
    return f'{said}; a template takes one item of it, as "{{{column}[{item}]}}"{joined}'


class _Templates(Formatter):
    """Templates as `str.format` fills them, but for lists and the like, which are no texts."""

    def format_field(self, value: object, format_spec: str) -> str:
        if isinstance(value, _NO_TEXTS):
            raise TypeError(_no_text(value))
        filled: str = super().format_field(value, format_spec)
        return filled


_TEMPLATES = _Templates()


def _refuse_shared(config: PairsConfig, frames: Mapping[str, pd.DataFrame]) -> None:
    """A source in two splits would be scored on what was learned by heart."""
    if config.leaks == "allow":
        return
    shared = shared_keys({name: list(frames[name]["source"]) for name in SPLITS})
    for names, places in shared.items():
        first, _, second = names.partition(" and ")
        rows: Sequence[object] = [frames[second].index[place] for place in places]
        raise ConfigError(
            f"task={config.name}: {len(places)} sources of the {second} split stand in {first} too (rows "
            f"{listed(rows)}); task.leaks=allow takes them all the same"
        )
