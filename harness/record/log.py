"""Records on the disk: one fsynced JSON line each, in and out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.record.fields import plain
from harness.record.sections import VERSION, Record
from harness.record.table import frame
from harness.record.upgrade import upgraded
from harness.system.jsonl import JsonlLog
from harness.system.redaction import redact_tree
from harness.system.study_files import RECORDS

if TYPE_CHECKING:
    import pandas as pd


def trial_path(number: int) -> str:
    """The folder of a trial that has ended, relative to its study's; attempts at it have others."""
    return f"trials/{number:04d}"


def to_json(record: Record, indent: int | None = None) -> str:
    """The record as JSON; NaN and infinity are refused, since JSON has neither."""
    return json.dumps(redact_tree(plain(record)), indent=indent, allow_nan=False, ensure_ascii=False)


def from_tree(tree: dict[str, Any]) -> Record:
    """A record from its JSON, of this version or an earlier one. Raises ValueError for one of a later version."""
    version = tree.get("schema_version", 0)
    if version > VERSION:
        raise ValueError(
            f"a record of schema version {version}: this version of lora-harness reads up to {VERSION}; upgrade it"
        )
    return Record.read(upgraded(tree) if version < VERSION else tree)


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
        for tree in self._lines.new():
            entry = from_tree(tree)
            self._latest.pop(entry.trial, None)
            self._latest[entry.trial] = entry

    @property
    def records(self) -> list[Record]:
        """One for each trial."""
        return list(self._latest.values())

    def get(self, trial: int) -> Record | None:
        """The record of a trial, if it has one."""
        return self._latest.get(trial)


class Records(list[Record]):
    """The records of a study."""

    def frame(self) -> "pd.DataFrame":
        """One row a trial, by number; a column for each figure and setting that any of them reached."""
        return frame(self)


def read(folder: Path | str) -> Records:
    """The records of the study in a folder, as in `Log`; none where there is no file of records."""
    log = Log(Path(folder))
    log.refresh()
    return Records(log.records)
