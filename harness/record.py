"""The record of a trial: what it was, what it cost and what it scored; one fsynced JSON line, in and out."""

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from harness.system.jsonl import JsonlLog
from harness.system.redaction import redact_tree

State = Literal["complete", "pruned", "fail"]

RECORDS = "records.jsonl"
_GONE = object()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """Sizes are in bytes, times in seconds, accuracies in 0…1. What a failed trial did not reach is empty.

    A score under a name like test@4 is that of a nested adapter cut to rank 4. `dead` names the trained tensors that
    never got a gradient. `groups` are the adapter parameters of all tasks (`shared`) and of each, and add up to
    `params`' adapter; empty where no task has its own. `probe` has the base's masked-LM loss in nats on general text
    before and after, and the change. `attempt` counts how often the trial was begun; `reports` holds [step, objective]
    of each evaluation on validation, empty where another trial's result was looked up.
    """

    study: str
    trial: int
    arm: str
    point: dict[str, float]
    objective: str
    state: State
    reason: str
    fingerprint: str
    task: str
    model: str
    lora: dict[str, Any]
    optimizer: dict[str, Any]
    params: dict[str, int]
    memory: dict[str, Any]
    time: dict[str, float]
    scores: dict[str, dict[str, float]]
    steps: dict[str, int]
    seeds: dict[str, int]
    versions: dict[str, str]
    source: dict[str, Any]
    data: dict[str, Any]
    base: dict[str, Any]
    hardware: dict[str, Any]
    adapter: dict[str, Any]
    command: str
    flops: dict[str, int] = dataclasses.field(default_factory=dict)
    merge: dict[str, float] = dataclasses.field(default_factory=dict)
    dead: list[str] = dataclasses.field(default_factory=list)
    groups: dict[str, int] = dataclasses.field(default_factory=dict)
    probe: dict[str, float] = dataclasses.field(default_factory=dict)
    sequence: dict[str, Any] = dataclasses.field(default_factory=dict)
    attempt: int = 1
    reports: list[list[float]] = dataclasses.field(default_factory=list)


def fail_if_not_finite(entry: Record) -> Record:
    """The record itself; with a number in it that is NaN or infinite, which JSON has no word for, a failed one.

    The number is left out, and the reason says which one it was.
    """
    found: list[str] = []
    tree = {field.name: _finite(getattr(entry, field.name), field.name, found) for field in dataclasses.fields(entry)}
    if not found:
        return entry
    reason = "; ".join(part for part in (entry.reason, f"diverged: {', '.join(found)}") if part)
    return dataclasses.replace(entry, **{**tree, "state": "fail", "reason": reason})


def _finite(tree: Any, name: str, found: list[str]) -> Any:
    """The same without numbers that are not finite; each is added to `found` with its name and value.

    A row of numbers means something only as a whole: with one of them it is left out.
    """
    if isinstance(tree, float) and not math.isfinite(tree):
        found.append(f"{name} is {tree}")
        return _GONE
    if isinstance(tree, dict):
        named = {key: _finite(value, f"{name}.{key}", found) for key, value in tree.items()}
        return {key: value for key, value in named.items() if value is not _GONE}
    if isinstance(tree, list):
        rows = [_finite(item, f"{name}[{index}]", found) for index, item in enumerate(tree)]
        kept = [item for item in rows if item is not _GONE]
        return kept if len(kept) == len(rows) or isinstance(tree[0], list) else _GONE
    return tree


def is_final(entry: Record) -> bool:
    """Whether a trial came to an end of its own; an unforeseen error is none, and is tried again."""
    return not entry.reason.startswith("error:")


def process_suspect(entry: Record) -> bool:
    """Whether a trial ended in a way that may have harmed the process it ran in."""
    return entry.reason.startswith(("error:", "out of memory:"))


def headline_metric(entry: Record) -> str:
    """The score that a trial is shown by: accuracy where there is one, of several tasks their mean, else the loss."""
    known = {name for scores in entry.scores.values() for name in scores}
    return next((name for name in ("accuracy", "score") if name in known), "loss")


def find_complete(records: Iterable[Record], fingerprint: str) -> Record | None:
    """A complete trial of the same configuration, if there is one; failures and pruned trials are no answer."""
    same = (entry for entry in records if entry.fingerprint == fingerprint)
    return next((entry for entry in same if entry.state == "complete"), None)


def better(entry: Record, other: Record) -> bool:
    """Whether a trial's validation score is above another's, in the direction of the objective they share."""
    mine, theirs = (item.scores["val"][item.objective] for item in (entry, other))
    return mine < theirs if entry.objective == "loss" else mine > theirs


def to_json(record: Record, indent: int | None = None) -> str:
    """The record as JSON; NaN and infinity are refused, since JSON has neither."""
    tree = redact_tree(dataclasses.asdict(record))
    return json.dumps(tree, indent=indent, allow_nan=False, ensure_ascii=False)


def append(folder: Path, record: Record) -> None:
    """Add one line to the folder's log. When this returns, the line is on the disk. The caller holds a lock."""
    JsonlLog(folder / RECORDS).append(to_json(record))


class Log:
    """The records of a study as they grow, in the order they were written.

    A last line cut short by a crash is left out. A trial that was run again, after an error, has the record of its
    last run.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = JsonlLog(folder / RECORDS)
        self._latest: dict[int, Record] = {}

    def refresh(self) -> None:
        """Read what was added since the last time."""
        for fields in self._lines.new():
            entry = Record(**fields)
            self._latest.pop(entry.trial, None)
            self._latest[entry.trial] = entry

    @property
    def records(self) -> list[Record]:
        """One for each trial."""
        return list(self._latest.values())

    def get(self, trial: int) -> Record | None:
        """The record of a trial, if it has one."""
        return self._latest.get(trial)


def read(folder: Path) -> list[Record]:
    """The records of a study, as in `Log`."""
    log = Log(folder)
    log.refresh()
    return log.records
