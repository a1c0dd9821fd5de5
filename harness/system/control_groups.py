"""The control groups of this process, which bound its memory and its processor time (Linux, either version)."""

from collections.abc import Iterator
from pathlib import Path

_OF_PROCESS, _ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def control_groups(controller: str) -> Iterator[Path]:
    """The folders of the groups that bound `controller` and of their parents: limits are a job's, not its steps'."""
    for line in _OF_PROCESS.read_text().splitlines() if _OF_PROCESS.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _ROOT / controllers
        group = root / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))
