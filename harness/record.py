"""The record of a trial: what it was, what it cost and what it scored; one fsynced JSON line, in and out."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Literal

from harness.redaction import redact_tree

State = Literal["complete", "pruned", "fail"]

RECORDS = "records.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """Sizes are in bytes, times in seconds, accuracies in 0…1. What a failed trial did not reach is empty.

    A score under a name like test@4 is that of a nested adapter cut to rank 4. `dead` names the trained tensors that
    never got a gradient. `groups` are the adapter parameters of all tasks (`shared`) and of each, and add up to
    `params`' adapter; empty where no task has its own. `probe` has the base's masked-LM loss in nats on general text
    before and after, and the change.
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


def finished(entry: Record) -> bool:
    """Whether a trial came to an end of its own; an unforeseen error is none, and is tried again."""
    return not entry.reason.startswith("error:")


def measure(entry: Record) -> str:
    """The score that a trial is shown by: accuracy where there is one, of several tasks their mean, else the loss."""
    known = {name for scores in entry.scores.values() for name in scores}
    return next((name for name in ("accuracy", "score") if name in known), "loss")


def better(entry: Record, other: Record) -> bool:
    """Whether a trial's validation score is above another's, in the direction of the objective they share."""
    mine, theirs = (item.scores["val"][item.objective] for item in (entry, other))
    return mine < theirs if entry.objective == "loss" else mine > theirs


def to_json(record: Record, indent: int | None = None) -> str:
    """The record as JSON; NaN and infinity are refused, since JSON has neither."""
    tree = redact_tree(dataclasses.asdict(record))
    return json.dumps(tree, indent=indent, allow_nan=False, ensure_ascii=False)


def append(folder: Path, record: Record) -> None:
    """Add one line to the folder's log. When this returns, the line is on the disk."""
    path = folder / RECORDS
    line = to_json(record).encode() + b"\n"
    fresh = not path.exists()
    with open(path, "ab+") as file:
        _cut_torn_tail(file)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        _sync_folder(folder)


def read(folder: Path) -> list[Record]:
    """The records of a study in the order they were first written; a last line cut short by a crash is left out.

    A trial that was run again, after an error, has the record of its last run.
    """
    path = folder / RECORDS
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    latest: dict[int, Record] = {}
    for line in lines[:-1]:
        entry = Record(**json.loads(line))
        latest[entry.trial] = entry
    return list(latest.values())


def _cut_torn_tail(file: Any) -> None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(0)
    content = file.read()
    if not content.endswith(b"\n"):
        file.truncate(content.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
