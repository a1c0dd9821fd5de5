"""A user's own conversations: files or a data set of the datasets library, what is ambiguous refused, splits cut."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd

from harness.config import ChatTaskConfig, ChoiceTaskConfig, ConfigError, ExtractiveQaConfig, names_in, with_breaks
from harness.system.paths import listed
from harness.task.answers import with_answers
from harness.task.base import SPLITS
from harness.task.intake.chats import (
    AS_TEXT,
    ROLES,
    SPEAKS_FIRST,
    Message,
    as_text,
    gap_of,
    messages_of,
    other_roles,
    until_last_answer,
)
from harness.task.intake.cuts import odd_cuts
from harness.task.intake.datasets import load_splits
from harness.task.intake.files import given_files
from harness.task.intake.findings import DataFindings
from harness.task.intake.gap_words import Words, without_gap_words
from harness.task.intake.groups import group_names, reads_groups
from harness.task.intake.labels import is_gap
from harness.task.intake.odd_texts import of_templates
from harness.task.intake.split_column import by_column, numbered_splits, untimed
from harness.task.intake.table import Table, load_table
from harness.task.own_pairs import facts_of, filled, in_splits, several_targets, text_of, times_of

Messages = tuple[Message, ...]

_SYSTEM = "system"
_TOOLS = "tools"
_NEVER_READ = (_TOOLS, "id", "_id", "idx", "uid", "uuid", "index", "row_id")  # and not told
_NO_TOOLS: tuple[object, ...] = ([], (), "[]", "null")
_READ = ("role", "content", "weight")
_LISTS = ("messages", "conversations", "conversation")
_PAIRS = (
    *(("prompt", "completion"), ("prompt", "response"), ("instruction", "output"), ("instruction", "response")),
    *(("question", "answer"), ("question", "response"), ("source", "target")),
)


@dataclasses.dataclass
class _Findings:
    """The findings of reading files: rows that are left out, how files are written, unread fields of messages, and
    unread `columns`.
    """

    left: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    formats: dict[str, str] = dataclasses.field(default_factory=dict)
    unread: Counter[str] = dataclasses.field(default_factory=Counter)
    columns: dict[str, None] = dataclasses.field(default_factory=dict)
    after: int = 0


def read_own_chats(config: ChatTaskConfig) -> tuple[str, dict[str, pd.DataFrame], DataFindings]:
    """The origin, the three splits, of columns messages, source, target, opening and group, and what was found out.

    Raises ConfigError for what is ambiguous or no conversation.
    """
    findings, words, (tables, passed) = _Findings(), Words(), tables_of(config)
    for split, (key, table) in tables.items():
        columns = [] if config.gap_words == "keep" else _texts_read(config, key, table)
        policy, gaps = config.gap_words, config.gaps
        tables[split] = key, without_gap_words(key, split, table, columns, policy=policy, gaps=gaps, found=words)
    if words.out:
        findings.left["gaps"] = words.named()
    frames = {split: _read(config, split, key, table, findings) for split, (key, table) in tables.items()}
    frames = in_splits(config, frames, findings.formats, own=True)
    _refuse_beginnings(config, frames)
    frames, without = with_answers(config.answer, config.gaps, frames, findings.left)
    told = [f"{count} messages have {name}, which is not read" for name, count in findings.unread.items()]
    if findings.columns:
        told.append(f"columns not read: {', '.join(findings.columns)}")
    if findings.after:
        told.append(f"{findings.after} conversations go on after the assistant's last turn; what follows is not read")
    every = ((split, row, messages) for split, frame in frames.items() for row, messages in frame["messages"].items())
    told += of_templates({f"{split} {row}": as_text(messages) for split, row, messages in every})
    told += [*words.told, *several_targets(frames, "conversation"), *odd_cuts(frames, tables, config)]
    facts = facts_of(config, frames, findings.left, findings.formats, [*told, *without, *passed])
    return str(config.data or config.dataset), frames, facts


def tables_of(
    config: ChatTaskConfig | ChoiceTaskConfig | ExtractiveQaConfig,
) -> tuple[dict[str, tuple[str, Table]], list[str]]:
    """Return, for each given split, the key with its value, and the table; and messages about what is not a split."""
    if config.data is None and config.dataset is None:
        raise ConfigError("task.data: missing; give the path of a JSONL, JSON, Parquet or Arrow file, or task.dataset")
    tables, told = dict[str, tuple[str, Table]](), list[str]()
    if config.dataset is not None:
        found, told = load_splits(config.dataset, config.subset, (), config.split_names)
        tables = {split: (f"task.dataset={config.dataset}", table) for split, table in found.items()}
    else:
        for split, key, name in given_files(config.data, config.validation, config.test):
            path, mark = Path(name).expanduser(), config.separator
            table = load_table(path, key, encoding=config.encoding, separator=mark, columns=config.columns)
            tables[split] = f"{key}={name}", table
    told = [*told, *numbered_splits(tables, config.split, [config.group or "", config.time or ""])]
    tables = by_column(tables, config.split, config.gaps)
    return tables, [*told, *untimed(tables, config.time)]


def groups_of(
    config: ChatTaskConfig | ChoiceTaskConfig, split: str, where: str, table: Table
) -> dict[object, str | None]:
    """The group of each row of a split, by its number; none where there are none."""
    if config.group is None or not reads_groups(split, table, config.group, config.leaks):
        return {}
    cells = table.column("task.group", config.group)
    return dict(zip(cells.index, group_names(where, config.group, cells.items()), strict=True))


def conversations(
    config: ChatTaskConfig, where: str, table: Table, *, answered: bool = True
) -> dict[object, list[Message]]:
    """The messages of each row of a table, by its number, after its own system prompt, else the one that the task sets.

    Prompts need a column of answers only where they are `answered`. Raises ConfigError, with `where`, for a table
    without any, and for what is no message.
    """
    names = [str(name) for name in table.frame.columns]
    if (column := _list_column(config, names)) is not None:
        cells = table.column("task.messages", column).items()
        rows = {row: messages_of(cell, f"{where}: row {row}", column) for row, cell in cells}
    else:
        source, target = _pair(config, where, names, answered)
        users = _side(table, "task.source", source, "user")
        more = _inputs(table) if (source, config.source) == ("instruction", None) else {}
        rows = {row: _with_input(turns, more.get(row)) for row, turns in users.items()}
        if target is not None:
            if shown := config.shown(target):
                raise ConfigError(f"{where}: {shown[0]}")
            rows = {row: rows[row] + turns for row, turns in _side(table, "task.target", target, "assistant").items()}
    return _with_system(config, table, rows)


def asked_conversations(config: ChatTaskConfig, where: str, table: Table) -> dict[object, list[Message]]:
    """The conversations of rows that are to be answered. Raises ConfigError for those that no training takes."""
    rows = conversations(config, where, table, answered=False)
    there = _TOOLS in map(str, table.frame.columns) and _TOOLS not in _named(config)
    if tools := _rows_with_tools(table) if there else []:
        raise ConfigError(f"{where}: {len(tools)} conversations with a list of tools (rows {listed(tools)})")
    if config.other_roles == "pass":
        return rows
    if odd := [row for row, messages in rows.items() if other_roles(messages)]:
        raise ConfigError(
            f"{where}: {len(odd)} conversations with roles that are none of {', '.join(ROLES)} (rows {listed(odd)})"
        )
    return {row: list(map(_plain, messages)) for row, messages in rows.items()}


def _list_column(config: ChatTaskConfig, names: list[str]) -> str | None:
    """The column of lists of messages; None where a conversation is a prompt and its answer."""
    found = next((name for name in _LISTS if name in names), None) if config.source is None else None
    return config.messages or found


def _columns_read(config: ChatTaskConfig, where: str, names: list[str]) -> set[str]:
    column = _list_column(config, names)
    templates = [column] if column is not None else [side or "" for side in _pair(config, where, names, True)]
    inputs = {"input"} if (templates[0], config.source, column) == ("instruction", None, None) else set()
    read = {name for template in templates for name in names_in(template)} | inputs | _named(config)
    return read | {_SYSTEM, *(name for name in (config.group, config.time) if name)}


def _texts_read(config: ChatTaskConfig, where: str, table: Table) -> list[str]:
    """The columns of what is said."""
    names = [str(name) for name in table.frame.columns]
    read = _columns_read(config, where, names) - {_SYSTEM, config.group, config.time}
    return [name for name in names if name in read]


def _named(config: ChatTaskConfig) -> set[str]:
    """The columns that settings name for messages and their texts."""
    given = (config.messages, config.source, config.target)
    named = {name for template in given if template is not None for name in names_in(template)}
    return named | ({*names_in(config.system)} if config.system is not None and "{" in config.system else set())


def _pair(config: ChatTaskConfig, where: str, names: list[str], answered: bool) -> tuple[str, str | None]:
    """The columns, or templates, of the user's side and of the assistant's, None where there need be none."""
    if config.source is not None:
        return config.source, config.target if answered else None
    for source, target in _PAIRS:
        if source in names and (target in names or not answered):
            return source, target if answered else None
    spelled = {name.strip().casefold(): name for name in names}
    for source, target in _PAIRS:
        if source in spelled and target in spelled:
            keys = f"task.source={spelled[source]} task.target={spelled[target]}"
            raise ConfigError(f"{where}: no columns {source} and {target}; {keys} are there")
    rule = f"expected {', '.join(_LISTS)}, or {', or '.join(' and '.join(pair) for pair in _PAIRS)}"
    raise ConfigError(
        f"{where}: no conversations found; {rule}; task.messages, or task.source and task.target, name other columns; "
        f"{AS_TEXT} are read by task.messages; columns: {listed(names) or 'none'}"
    )


def _side(table: Table, key: str, name: str, role: str) -> dict[object, list[Message]]:
    """Return one side of each row: a text, or messages of a list; none for an empty cell."""
    if "{" in name:
        texts = zip(table.frame.index, filled(table, key, name, gaps_allowed=role == "user"), strict=True)
        return {row: [{"role": role, "content": text}] if text else [] for row, text in texts}
    found: dict[object, list[Message]] = {}
    for row, cell in table.column(key, name).items():
        where = f"{key}={name}: {table.path}: row {row}"
        if isinstance(cell, list | tuple):
            found[row] = messages_of(cell, where, name)
        elif is_gap(cell):
            found[row] = []
        else:
            found[row] = [{"role": role, "content": text_of(cell, where)}]
    return found


def _inputs(table: Table) -> dict[object, str]:
    """Alpaca's `input`, which stands below the instruction where there is one."""
    if "input" not in map(str, table.frame.columns):
        return {}
    cells = table.column("task.source", "input").items()
    return {row: text_of(cell, f"{table.path}: row {row}") for row, cell in cells if not is_gap(cell)}


def _with_input(turns: list[Message], text: str | None) -> list[Message]:
    if text is None or not turns:
        return turns
    return [*turns[:-1], {**turns[-1], "content": f"{turns[-1]['content']}\n\n{text}"}]


def _with_system(
    config: ChatTaskConfig, table: Table, rows: Mapping[object, list[Message]]
) -> dict[object, list[Message]]:
    texts = [with_breaks(config.system or "")] * len(rows)
    if config.system is not None and "{" in config.system:
        texts = filled(table, "task.system", config.system, gaps_allowed=True)
    if _SYSTEM in map(str, table.frame.columns) and _SYSTEM not in _named(config):
        own = filled(table, "task.system", _SYSTEM, gaps_allowed=True)
        texts = [said if said.strip() else text for said, text in zip(own, texts, strict=True)]
    return {
        row: [{"role": "system", "content": text}, *turns] if text and _lacks_system(turns) else list(turns)
        for (row, turns), text in zip(rows.items(), texts, strict=True)
    }


def _lacks_system(turns: list[Message]) -> bool:
    return bool(turns) and turns[0]["role"] != "system"


def _read(config: ChatTaskConfig, split: str, where: str, table: Table, findings: _Findings) -> pd.DataFrame:
    """The conversations of a split that something can be learned of, without repeated ones."""
    findings.formats.update({f"{split}.{what}": said for what, said in table.format.items()})
    rows = conversations(config, where, table)
    groups = groups_of(config, split, where, table)
    rows = _without_tools(config, split, where, table=table, rows=rows, findings=findings)
    rows = _with_known_roles(config, split, where, rows, findings)
    rows = _without_gaps(config, split, where, rows, findings)
    kept = {row: until_last_answer(messages) for row, messages in rows.items()}
    findings.after += sum(len(kept[row]) < len(messages) for row, messages in rows.items())
    sources = [as_text(messages[:-1]) for messages in kept.values()]
    frame = pd.DataFrame(
        {
            "messages": pd.Series(list(kept.values()), dtype=object),
            "source": sources,
            "target": [messages[-1]["content"] for messages in kept.values()],
            "opening": [_opening(messages) for messages in kept.values()],
            "group": [groups.get(row) or text for row, text in zip(kept, sources, strict=True)],
            "named": pd.Series([groups.get(row) for row in kept], dtype=object),
        }
    ).set_axis(list(kept), axis=0)
    frame = frame.assign(time=times_of(config, split, table))
    once = frame.drop_duplicates(["source", "target"])
    if repeated := frame.index.difference(once.index, sort=False).tolist():
        findings.left.setdefault("repeated", []).extend(f"{split} {row}" for row in repeated)
    return once


def _before_answers(messages: Sequence[Message]) -> Iterator[str]:
    """Yield the text before each turn of the assistant."""
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            yield as_text(messages[:place])


def _opening(messages: Sequence[Message]) -> str:
    """Return the text before the first answer to a user; a greeting of the assistant is none."""
    asked = [message["role"] for message in messages].index("user") if _is_asked(messages) else 0
    answered = next(at for at in range(asked, len(messages)) if messages[at]["role"] == "assistant")
    return as_text(messages[:answered])


def _is_asked(messages: Sequence[Message]) -> bool:
    """Return whether a user speaks before the last turn, which is an answer."""
    return any(message["role"] == "user" for message in messages[:-1])


def _refuse_beginnings(config: ChatTaskConfig, frames: Mapping[str, pd.DataFrame]) -> None:
    """A conversation that another split goes on with would be scored on what was learned by heart."""
    if config.leaks == "allow":
        return
    for first, second in combinations(SPLITS, 2):
        earlier, later = frames[first], frames[second]
        whole = set(earlier["source"])
        parts = {text for messages in earlier["messages"] for text in _before_answers(messages)}
        rows = [
            row
            for row, messages, source in zip(later.index, later["messages"], later["source"], strict=True)
            if source in parts or not whole.isdisjoint(_before_answers(messages))
        ]
        if rows:
            raise ConfigError(
                f"task={config.name}: {len(rows)} conversations of the {second} split are the beginning of one in "
                f"{first}, or go on with one (rows {listed(rows)}); task.leaks=allow takes them all the same"
            )


def _without_tools(
    config: ChatTaskConfig,
    split: str,
    where: str,
    *,
    table: Table,
    rows: dict[object, list[Message]],
    findings: _Findings,
) -> dict[object, list[Message]]:
    """Rows whose prompt is whole without a list of tools; other columns that are not read are noted."""
    names = [str(name) for name in table.frame.columns]
    unread = [name for name in names if name not in _columns_read(config, where, names)]
    findings.columns.update(dict.fromkeys(name for name in unread if name and name.casefold() not in _NEVER_READ))
    if _TOOLS not in unread:
        return rows
    odd = _rows_with_tools(table)
    if odd and config.other_roles != "leave_out":
        rule = "no template is given them; task.other_roles=leave_out leaves these out"
        raise ConfigError(f"{where}: {len(odd)} conversations with a list of tools (rows {listed(odd)}); {rule}")
    if odd:
        findings.left.setdefault("tools", []).extend(f"{split} {row}" for row in odd)
    out = set(odd)
    return {row: messages for row, messages in rows.items() if row not in out}


def _rows_with_tools(table: Table) -> list[object]:
    cells = table.column("task.data", _TOOLS).items()
    return [row for row, cell in cells if not is_gap(cell) and cell not in _NO_TOOLS]


def _with_known_roles(
    config: ChatTaskConfig, split: str, where: str, rows: dict[object, list[Message]], findings: _Findings
) -> dict[object, list[Message]]:
    """Rows whose roles a template knows; messages of what is read alone, but where all is passed on."""
    if config.other_roles == "pass":
        return rows
    odd = {row: found for row, messages in rows.items() if (found := other_roles(messages))}
    if odd and config.other_roles == "refuse":
        names = listed(dict.fromkeys(name for found in odd.values() for name in found))
        rule = "task.other_roles=leave_out leaves them out, pass hands them to the template as they are"
        said = f"{len(odd)} conversations with roles that are none of {', '.join(ROLES)}: {names}"
        raise ConfigError(f"{where}: {said} (rows {listed(odd)}); {rule}")
    if odd:
        findings.left.setdefault("other roles", []).extend(f"{split} {row}" for row in odd)
    plain: dict[object, list[Message]] = {}
    for row, messages in rows.items():
        if row not in odd:
            findings.unread.update(name for message in messages for name in message if name not in _READ)
            plain[row] = list(map(_plain, messages))
    return plain


def _plain(message: Message) -> Message:
    return {name: message[name] for name in _READ if name in message}


def _without_gaps(
    config: ChatTaskConfig, split: str, where: str, rows: dict[object, list[Message]], findings: _Findings
) -> dict[object, list[Message]]:
    gaps = {
        row: gap
        for row, messages in rows.items()
        if (gap := gap_of(messages, last=config.train_on == "last")) is not None
    }
    if gaps and config.gaps == "refuse":
        kinds = "; ".join(f"{gap} in {count}" for gap, count in Counter(gaps.values()).items())
        rule = "task.gaps=leave_out leaves them out"
        if SPEAKS_FIRST in gaps.values():
            rule += "; task.system=TEXT has a system prompt stand before what the assistant says first"
        raise ConfigError(
            f"{where}: {len(gaps)} conversations cannot be learned (rows {listed(gaps)}): {kinds}; {rule}"
        )
    for row, gap in gaps.items():
        findings.left.setdefault(gap, []).append(f"{split} {row}")
    return {row: messages for row, messages in rows.items() if row not in gaps}
