"""A command that cannot open its storage leaves a study's folder as it found it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.cluster.locks import LOCKS
from harness.cluster.storage import STORAGE
from harness.system.jsonl import replace_text


@contextmanager
def left_as_found(folder: Path) -> Iterator[None]:
    """Whatever ends the block early, the note of where the study is kept is as before, and folders made are gone.

    A folder in which another process has put something meanwhile stays.
    """
    note = folder / STORAGE
    before = note.read_text() if note.exists() else None
    made = [path for path in (folder / LOCKS, folder, *folder.parents) if not path.exists()]
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            with suppress(OSError):
                _restore(note, before)
            if made:
                (folder / LOCKS / "study").unlink(missing_ok=True)
            for path in made:
                with suppress(OSError):
                    path.rmdir()


def _restore(note: Path, before: str | None) -> None:
    if before is None:
        note.unlink(missing_ok=True)
    else:
        replace_text(note, before)
