"""A user's own tagged tokens: tables of lists, or files of a token a line; what is ambiguous refused, splits cut."""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

from harness.config import ConfigError, TokenLabelsTaskConfig
from harness.system.paths import listed
from harness.task.base import SPLITS
from harness.task.ignored import IGNORED
from harness.task.intake.cuts import drawn, joined, odd_cuts
from harness.task.intake.datasets import load_splits
from harness.task.intake.duplicates import near_counts, normalised, refuse_leaks, repeats, settled
from harness.task.intake.files import given_files, what_it_is
from harness.task.intake.findings import DataFindings
from harness.task.intake.groups import group_key, reads_groups, shared_groups
from harness.task.intake.labels import is_gap, settle_alike
from harness.task.intake.near_texts import near_texts
from harness.task.intake.one_class import told_as_one
from harness.task.intake.scored import with_head
from harness.task.intake.split_column import NONE, by_column, numbered_splits
from harness.task.intake.table import SUFFIXES, Table, load_table
from harness.task.intake.timed import latest_held_out
from harness.task.intake.token_cells import with_lists
from harness.task.intake.tokens import (
    CONLLU,
    LINES,
    has_lines,
    items_of,
    list_of_tokens,
    place_of_tags,
    read_lines,
    refuse_numbers,
)
from harness.task.intake.word_columns import places_of_both
from harness.task.tags import OUTSIDE, SCHEMES, begun, broken, is_of, scheme_of, types_in, unlike_any


@dataclasses.dataclass(frozen=True)
class Row:
    """Its place in its file, its tokens, a tag for each of them, and what it must stay together with."""

    name: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    group: str | None = None
    time: object = None

    @property
    def text(self) -> str:
        """The tokens with blanks between them."""
        return " ".join(self.tokens)


_TOKENS = ("tokens", "token", "words", "word")
_TAGS = ("tags", "tag", "ner_tags", "ner", "pos_tags", "labels", "label")
_ONE_TYPE = "SPAN"

Rows = dict[str, list[Row]]
_Given = tuple[str, list[Row], Mapping[str, str]]
"""Of a split what names it, its rows, and how it is written."""


def read_own_tokens(config: TokenLabelsTaskConfig) -> tuple[str, Rows, DataFindings]:
    """The three splits of a user's files, and what was found out. Raises ConfigError for what is ambiguous."""
    left: dict[str, list[str]] = {}
    formats: dict[str, str] = {}
    given, told = _given(config)
    rows: Rows = {}
    for split, (where, whole, found) in given.items():
        rows[split] = _with_tokens(config, where, split, whole, left)
        formats |= {f"{split}.{what}": said for what, said in found.items()}
    source = str(config.data or config.dataset)
    where = f"task.data={source}" if config.data else f"task.dataset={source}"
    places = {split: given[split][0] if split in given else where for split in SPLITS}
    rows = _typed(config, _settled_tags(config, where, rows), told)
    told += told_as_one(types_in(r.tags for part in rows.values() for r in part) - {OUTSIDE}, config.labels.normalise)
    if config.scheme != "plain":
        for split in rows:
            _check_scheme(config, places[split], split, rows[split])
        rows = _in_whole_spans(config, places, rows, left, told)
    rows = _without_contradictions(config, where, rows, left)
    rows = _once(config, rows, left, told)
    if len(rows) < len(SPLITS):
        cut = _cut(config, where, rows, formats, told)
        told += odd_cuts(cut, rows, config)
        rows = cut
    _refuse_leaks(config, where, rows)
    groups = {split: {row.name: row.group for row in rows[split]} for split in SPLITS}
    told += shared_groups(where, config.group, groups, config.leaks)
    rows = _with_known_tags(config, places, rows, left)
    keys = {split: [normalised(row.text) for row in rows[split]] for split in SPLITS}
    told += near_texts(keys, {split: [f"{split} {row.name}" for row in rows[split]] for split in SPLITS})
    facts = DataFindings(left_out=left, near=near_counts(keys), suspicious=told, format=formats)
    return source, {split: rows[split] for split in SPLITS}, facts


def _given(config: TokenLabelsTaskConfig) -> tuple[dict[str, _Given], list[str]]:
    """Return, for each given split, its key and value, its rows, and their format; and messages about other splits."""
    if config.dataset is not None:
        where, wanted = f"task.dataset={config.dataset}", _wanted(config)
        found, told = load_splits(config.dataset, config.subset, wanted, config.split_names)
        tables = {split: (where, table) for split, table in found.items()}
        return _of_tables(config, tables), [*told, *numbered_splits(tables, config.split, wanted)]
    if config.data is None:
        raise ConfigError("task.data: missing; give the path of a JSONL, Parquet or CoNLL file, or task.dataset")
    files = list(given_files(config.data, config.validation, config.test))
    read = {split: _read(config, key, Path(name).expanduser()) for split, key, name in files}
    named = {split: f"{key}={name}" for split, key, name in files}
    tables = {split: (named[split], each) for split, each in read.items() if isinstance(each, Table)}
    given = _of_tables(config, tables)
    lines = {split: (named[split], *each) for split, each in read.items() if not isinstance(each, Table)}
    return given | lines, numbered_splits(tables, config.split, _wanted(config))


def _of_tables(config: TokenLabelsTaskConfig, tables: Mapping[str, tuple[str, Table]]) -> dict[str, _Given]:
    """Return the same for each split of tables, including those in training's table that a column names."""
    given = {}
    for split, (where, table) in tables.items():
        _check_columns(config, where, table)
        named, numbered = (config.sentence, config.group), config.tag_names is not None
        given[split] = where, with_lists(where, table, (config.tokens, config.tags), named, numbered=numbered)
    parts = by_column(given, config.split, config.gaps) if "train" in given else given
    return {
        split: (where, _of_table(config, where, table, split), table.format) for split, (where, table) in parts.items()
    }


def _wanted(config: TokenLabelsTaskConfig, timed: bool = True) -> tuple[str, ...]:
    named = (config.group, config.sentence, config.time if timed else None)
    return (config.tokens, config.tags, *(name for name in named if name))


def _read(config: TokenLabelsTaskConfig, key: str, path: Path) -> Table | tuple[list[Row], Mapping[str, str]]:
    """The table of a file, or the rows of one of a token a line, and how it is written."""
    kind = path.suffix.lower()
    if kind not in (*SUFFIXES, *LINES):
        raise ConfigError(
            f"{key}={path}: {what_it_is(path)}expected .jsonl, .json, .parquet, .arrow, .csv or .tsv with lists, or a "
            f"token a line in {', '.join(LINES)}"
        )
    if has_lines(path, (*_TOKENS, *_TAGS, *_wanted(config))) and config.columns is None:
        split = None if config.split == NONE else config.split
        keys = {"group": config.group, "split": split, "time": config.time, "sentence": config.sentence}
        for key_of, name in keys.items():
            if name is not None:
                raise ConfigError(f"task.{key_of}={name}: {path} has a token a line, and no column of {key_of}s; null")
        return _of_lines(config, key, path)
    wanted = _wanted(config, timed=key == "task.data")  # which alone is cut
    return load_table(path, key, wanted, encoding=config.encoding, separator=config.separator, columns=config.columns)


def _with_tokens(
    config: TokenLabelsTaskConfig, where: str, split: str, rows: list[Row], left: dict[str, list[str]]
) -> list[Row]:
    """The rows that have tokens. Raises ConfigError for those with other numbers of tags."""
    uneven = [row for row in rows if len(row.tokens) != len(row.tags)]
    if uneven:
        first = uneven[0]
        raise ConfigError(
            f"{where}: {len(uneven)} rows have not as many {config.tags} as {config.tokens} (rows "
            f"{listed(row.name for row in uneven)}), as row {first.name}: {len(first.tokens)} tokens, "
            f"{len(first.tags)} tags"
        )
    empty = [row.name for row in rows if not row.tokens]
    if empty and config.gaps == "refuse":
        rule = "task.gaps=leave_out leaves them out"
        raise ConfigError(f"{where}: {len(empty)} rows have no tokens (rows {listed(empty)}); {rule}")
    if empty:
        left.setdefault("gaps", []).extend(f"{split} {name}" for name in empty)
    return [row for row in rows if row.tokens]


def _of_lines(config: TokenLabelsTaskConfig, key: str, path: Path) -> tuple[list[Row], Mapping[str, str]]:
    """Rows of a file of a token a line, the first of which names a row: the token first, or behind numbers, its tag
    last, or in the column that is named, of a .conllu, or numbered.
    """
    rows, encoding = read_lines(key, path, config.encoding)
    if len(rows) == 1 and key == "task.data":
        raise ConfigError(
            f"{key}={path}: no blank line parts its rows, and all {len(rows[0][1])} lines are one; a blank line stands "
            "after each sentence"
        )
    refuse_numbers(f"{key}={path}", rows)
    if path.suffix.lower() == CONLLU:
        words, at = 0, place_of_tags(config.tags, f"{key}={path}")
    else:
        words, at = places_of_both(f"{key}={path}", rows, config.tokens, config.tags)
    found = [
        Row(name, tuple(line.cells[words] for line in lines), tuple(line.cells[at] for line in lines))
        for name, lines in rows
    ]
    told = {} if encoding in ("utf-8", "utf-8-sig") else {"encoding": encoding}
    return found, told | ({"words": f"column {words + 1}"} if words else {})


def _of_table(config: TokenLabelsTaskConfig, given: str, table: Table, split: str) -> list[Row]:
    """Rows of a table with a list of tokens and a list of tags in each."""
    grouped = config.group if reads_groups(split, table, config.group, config.leaks) else None
    tokens, tags = (table.column(f"task.{role}", vars(config)[role]) for role in ("tokens", "tags"))
    groups = list(table.column("task.group", grouped)) if grouped else [None] * len(tokens)
    timed = config.time if split == "train" else None
    times = list(table.column("task.time", timed)) if timed else [None] * len(tokens)
    rows = []
    for (name, token_cell), tag_cell, cell, time in zip(tokens.items(), tags, groups, times, strict=True):
        where = f"{given}: {split} row {name}" if config.dataset else f"{given}: row {name}"
        found = list_of_tokens(token_cell, where, config.tokens)
        named = tuple(_tag(config, item, where) for item in items_of(tag_cell, where, config.tags))
        rows.append(Row(str(name), found, named, None if is_gap(cell) else str(cell), time))
    return rows


def _check_columns(config: TokenLabelsTaskConfig, given: str, table: Table) -> None:
    """Raise ConfigError where tokens and tags stand in columns of other usual names."""
    there = {str(name).strip().casefold(): str(name) for name in table.frame.columns}
    tokens, tags = (next((there[name] for name in names if name in there), None) for names in (_TOKENS, _TAGS))
    if config.tokens in there.values() or tokens is None or tags is None:
        return
    raise ConfigError(f"{given}: no column is named {config.tokens}; task.tokens={tokens} task.tags={tags} are there")


def _tag(config: TokenLabelsTaskConfig, item: object, where: str) -> str:
    names = config.tag_names
    if isinstance(item, int) and not isinstance(item, bool):
        if item == IGNORED:
            rule = "of data made ready for a loss; each token has a tag of its own here, O outside of all spans"
            raise ConfigError(f"{where}: the tag {item} is {rule}")
        if names is None:
            raise ConfigError(f"{where}: the tag {item} is a number; task.tag_names=[O,B-…] names them, from 0 on")
        if not 0 <= item < len(names):
            raise ConfigError(f"{where}: the tag {item} is none of task.tag_names, which has 0 to {len(names) - 1}")
        return names[item]
    if not isinstance(item, str) or is_gap(item):
        raise ConfigError(f"{where}: the tag {item!r} is no name ({type(item).__name__}); write O outside of all spans")
    if names is not None and item not in names:
        raise ConfigError(
            f"{where}: the tag {item!r} is a name, and none of task.tag_names; task.tag_names=null takes it"
        )
    return item


def _settled_tags(config: TokenLabelsTaskConfig, where: str, rows: Rows) -> Rows:
    """One name for each tag, in all splits alike."""
    each = [(tag, f"{split} {row.name}") for split, found in rows.items() for row in found for tag in row.tags]
    names = settle_alike(where, [tag for tag, _ in each], [name for _, name in each], config.labels.normalise)
    return _mapped(rows, lambda tags: tuple(names[tag] for tag in tags))


def _mapped(rows: Rows, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Rows:
    return {split: [dataclasses.replace(row, tags=change(row.tags)) for row in found] for split, found in rows.items()}


def _typed(config: TokenLabelsTaskConfig, rows: Rows, told: list[str]) -> Rows:
    """Marks without any type, as BC5CDR's B and I, are of one."""
    marks = {tag for found in rows.values() for row in found for tag in row.tags} - {OUTSIDE}
    if config.scheme == "plain" or not marks or not marks <= set(SCHEMES[config.scheme]):
        return rows
    told.append(f"the tags {', '.join(sorted(marks))} have no type, and are read as of {_ONE_TYPE}")
    return _mapped(rows, lambda tags: tuple(tag if tag == OUTSIDE else f"{tag}-{_ONE_TYPE}" for tag in tags))


def _check_scheme(config: TokenLabelsTaskConfig, where: str, split: str, rows: list[Row]) -> None:
    """Raise ConfigError, with `where` and the row, for tags that are of another scheme, or of none."""
    marks, tags = SCHEMES[config.scheme], {tag for row in rows for tag in row.tags}
    odd = next(((row, tag) for row in rows for tag in row.tags if not is_of(tag, config.scheme)), None)
    found = scheme_of(tags)
    lasts = set(marks[2:])
    if odd is None and lasts and found == "bio" and any(tag != OUTSIDE for tag in tags):
        odd = next((row, tag) for row in rows for tag in row.tags if tag != OUTSIDE)
    if odd is None:
        return
    row, tag = odd
    said = f"{where}: {split} row {row.name}: the tag {tag!r}"
    if found is None:
        kinds = ", ".join(f"{mark}-TYPE" for mark in marks)
        rule = f"task.scheme=plain takes tags as they are, each token for itself{unlike_any(tags)}"
        raise ConfigError(f"{said} is none of {OUTSIDE}, {kinds} (task.scheme={config.scheme}); {rule}")
    rule = f"task.scheme={found} reads them" if split == "train" else "one scheme for training and held-out rows"
    raise ConfigError(f"{said} is of {found.upper()}, as are all of its file, and task.scheme={config.scheme}; {rule}")


def _in_whole_spans(
    config: TokenLabelsTaskConfig, places: Mapping[str, str], rows: Rows, left: dict[str, list[str]], told: list[str]
) -> Rows:
    """Rows whose spans all begin, and end, as the scheme has it."""
    scheme = config.scheme
    named = [(split, row) for split, found in rows.items() for row in found]
    wrong = [(split, row, odd) for split, row in named if (odd := list(broken(row.tags, scheme)))]
    if not wrong:
        return rows
    count = sum(len(odd) for _, _, odd in wrong)
    said = listed(f"{split} {row.name}" for split, row, _ in wrong)
    split, row, odd = wrong[0]
    if config.broken == "refuse":
        what = "spans begin with I-" if scheme == "bio" else f"tags are in no whole span of {scheme.upper()},"
        rule = "has them begin there" if scheme == "bio" else "makes spans of neighbours of one type"
        raise ConfigError(
            f"{places[split]}: {count} {what} in {len(wrong)} rows ({said}), as {row.tags[odd[0]]} of "
            f"{row.tokens[odd[0]]!r} in {split} row {row.name}; task.broken=begin {rule}, leave_out "
            "leaves the rows out"
        )
    if config.broken == "begin":
        what = (
            "spans in {} rows began with I- and begin with B- now"
            if scheme == "bio"
            else "tags in {} rows were in no whole span, and are now"
        )
        told.append(f"{count} {what.format(len(wrong))} ({said})")
        return _mapped(rows, lambda tags: begun(tags, scheme))
    left["broken spans"] = [f"{split} {row.name}" for split, row, _ in wrong]
    return {split: [row for row in found if not list(broken(row.tags, scheme))] for split, found in rows.items()}


def _without_contradictions(config: TokenLabelsTaskConfig, where: str, rows: Rows, left: dict[str, list[str]]) -> Rows:
    named = [(split, row) for split, found in rows.items() for row in found]
    names = [f"{split} {row.name}" for split, row in named]
    tags: list[Hashable] = [row.tags for _, row in named]
    kept = set(
        settled(
            where,
            keys=[row.tokens for _, row in named],
            labels=tags,
            rows=names,
            policy=config.duplicates,
            what="tokens",
        )[0]
    )
    if len(kept) == len(named):
        return rows
    left["contradicting"] = [name for place, name in enumerate(names) if place not in kept]
    remaining = [pair for place, pair in enumerate(named) if place in kept]
    return {split: [row for of, row in remaining if of == split] for split in rows}


def _once(config: TokenLabelsTaskConfig, rows: Rows, left: dict[str, list[str]], told: list[str]) -> Rows:
    """Splits without repeated rows."""
    read = {split: [(row.tokens, row.tags) for row in found] for split, found in rows.items()}
    names = {split: [row.name for row in found] for split, found in rows.items()}
    out, said = repeats(read, names, config.duplicates)
    told += said
    if again := [f"{split} {names[split][place]}" for split in rows for place in out[split]]:
        left["repeated"] = again
    kept = {split: set(range(len(found))) - set(out[split]) for split, found in rows.items()}
    return {split: [found[place] for place in sorted(kept[split])] for split, found in rows.items()}


def _cut(config: TokenLabelsTaskConfig, where: str, rows: Rows, formats: dict[str, str], told: list[str]) -> Rows:
    """Cut the splits that are not given off the training file; near-identical rows, and those of one group, stay
    together, unless splits are cut by time.
    """
    whole = rows["train"]
    shares = {"validation": config.validation_share, "test": config.test_share}
    shares = {split: share for split, share in shares.items() if split not in rows}
    if config.time is not None:
        parts, spans, odd = latest_held_out(where, config, {row.name: row.time for row in whole}, shares)
        formats |= spans
        told += odd
        return rows | {split: [whole[place] for place in places] for split, places in parts.items()}
    groups: list[Hashable] = [normalised(row.text) for row in whole]
    if config.group is not None:
        groups = joined(groups, [row.group and group_key(row.group) for row in whole])
    parts = drawn(groups, shares, config.split_seed)
    return rows | {split: [whole[place] for place in places] for split, places in parts.items()}


def _refuse_leaks(config: TokenLabelsTaskConfig, where: str, rows: Rows) -> None:
    if config.leaks == "refuse":
        texts = {split: [row.text for row in rows[split]] for split in SPLITS}
        names = {split: [row.name for row in rows[split]] for split in SPLITS}
        rule = " up to case, blanks and punctuation; task.leaks=allow takes them all the same"
        refuse_leaks(where, texts, names, normalised, rule)


def _with_known_tags(
    config: TokenLabelsTaskConfig, places: Mapping[str, str], rows: Rows, left: dict[str, list[str]]
) -> Rows:
    """Held-out rows whose tags training has, in BIO the types of them."""
    known = {_kind(config, tag) for tag in with_head(tag for row in rows["train"] for tag in row.tags)}
    if config.scheme != "plain":
        known.add(_kind(config, OUTSIDE))
    strange = [
        (split, row, tag)
        for split in SPLITS[1:]
        for row in rows[split]
        if (tag := next((tag for tag in row.tags if _kind(config, tag) not in known), None))
    ]
    if strange and config.unknown == "refuse":
        tags = listed(dict.fromkeys(tag for _, _, tag in strange))
        said = listed(f"{split} {row.name}" for split, row, _ in strange)
        rule = f"tags that training has not: {tags} (rows {said}); task.unknown=leave_out leaves them out"
        raise ConfigError(f"{places[strange[0][0]]}: {len(strange)} held-out rows have {rule}")
    if strange:
        left["unknown tags"] = [f"{split} {row.name}" for split, row, _ in strange]
    out = {id(row) for _, row, _ in strange}
    return {split: [row for row in found if id(row) not in out] for split, found in rows.items()}


def _kind(config: TokenLabelsTaskConfig, tag: str) -> str:
    return tag[2:] if config.scheme != "plain" else tag
