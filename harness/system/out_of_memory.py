"""Memory or disk that ran out: which errors mean it, and the limits of this process. Without torch."""

import errno
import os
import re
import resource
from pathlib import Path

MIB = 2**20
_MESSAGES = ("can't allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED", "Cannot allocate memory")
_REQUEST = re.compile(r"allocate ([\d.]+) (bytes|[KMGTPE]iB)", re.IGNORECASE)
_UNITS = {"bytes": 1} | {f"{letter}ib": 2 ** (10 * power) for power, letter in enumerate("kmgtpe", 1)}


class DiskFull(Exception):
    """The disk is full: no trial can continue until there is space; then each does. `exit_code` is the process's."""

    exit_code = 75


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, means that the disk or the quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):  # of safetensors
            return True
        error = error.__cause__ or error.__context__
    return False


def is_host_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, by its type or its message.

    On a CPU torch raises a plain RuntimeError; memory-mapped files raise an OSError.
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(message in str(error) for message in _MESSAGES)


def requested_bytes(error: BaseException) -> int | None:
    """The size of the allocation that failed, where the error tells it."""
    request = _REQUEST.search(str(error))
    return int(float(request[1]) * _UNITS[request[2].lower()]) if request else None


def failure_reason(figures: dict[str, int | str]) -> str:
    """The reason in a record, from `asked` (may be missing), `reached` and `limit` in bytes, and `of`: whose limit."""
    sizes = {name: f"{value / MIB:,.0f} MiB" for name, value in figures.items() if isinstance(value, int)}
    asked = f"{sizes['asked']} were asked for, " if "asked" in sizes else ""
    return f"out of memory: {asked}{sizes['reached']} had been reached; {figures['of']} has {sizes['limit']}"


def memory_limits() -> list[tuple[int, str]]:
    """The limits of this process's memory in bytes, each with what sets it."""
    limits = [(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "the machine")]
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY:
        limits.append((space, "the address space"))
    return limits + [(limit, "the control group") for limit in _cgroup_limits()]


def _cgroup_limits() -> list[int]:
    """Limits of this process's control groups and their parents: a job's limit is often not set on its steps."""
    groups, found = Path("/proc/self/cgroup"), []
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup") / controllers
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            file = folder / ("memory.limit_in_bytes" if controllers else "memory.max")
            if folder.is_relative_to(root) and file.exists() and (limit := file.read_text().strip()).isdigit():
                found.append(int(limit))
    return found
