"""The folder of single trials: one writer at a time, records that are never lost, a folder for each trial."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness import record
from harness.config import ConfigError
from harness.record import Record
from harness.system.jsonl import sync_tree
from harness.trial import CHECKPOINTS

CONFIG = "config.yaml"


class Ledger:
    """The records of single trials, and the paths of its files. Made by `open_ledger`, which holds the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = record.read(folder)

    def add(self, entry: Record) -> None:
        """Write a record; when this returns it is on the disk, and the trial's files before it."""
        sync_tree(self.folder / "trials" / f"{entry.trial:04d}")
        record.append(self.folder, entry)
        self.records = [other for other in self.records if other.trial != entry.trial] + [entry]

    def find(self, fingerprint: str) -> Record | None:
        """As record.answered."""
        return record.find_complete(self.records, fingerprint)

    def next_number(self) -> int:
        """One above the highest number in use."""
        return max((entry.trial for entry in self.records), default=-1) + 1

    def trial_folder(self, number: int) -> Path:
        """A fresh folder for a trial. Of what an interrupted attempt left there, only the checkpoint stays."""
        folder = self.folder / "trials" / f"{number:04d}"
        assert all(entry.trial != number or not record.is_final(entry) for entry in self.records), "run already"
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.is_dir() and path.name != CHECKPOINTS:
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()
        return folder


@contextmanager
def open_ledger(results: Path, study: str) -> Iterator[Ledger]:
    """Open a study's folder for writing, made if need be. Raises ConfigError if another process has it open."""
    folder = (results / study).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115  held for as long as the study is open
    except OSError as error:
        raise ConfigError(f"results={results}: {error.strerror or error}") from None
    with lock:
        _lock(lock, study)
        yield Ledger(folder)


def _lock(lock: IO[str], study: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"study={study}: another process is running it; wait for it, or give another name") from None
