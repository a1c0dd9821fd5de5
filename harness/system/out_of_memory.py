"""Memory or disk that ran out: which errors mean it, and the limits of this process. Without torch."""

import errno
import os
import re
import resource
from pathlib import Path

from harness.system.control_groups import control_groups

MIB = 2**20
_MEMINFO = Path("/proc/meminfo")
_MESSAGES = ("can't allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED", "Cannot allocate memory")
_REQUEST = re.compile(r"allocate ([\d.]+) (bytes|[KMGTPE]iB)", re.IGNORECASE)
_UNITS = {"bytes": 1} | {f"{letter}ib": 2 ** (10 * power) for power, letter in enumerate("kmgtpe", 1)}


class DiskFull(Exception):
    """The disk is full: no trial can continue until there is space; then each does. `exit_code` is the process's."""

    exit_code = 75


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, means that the disk or the quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):  # of safetensors
            return True
        error = error.__cause__ or error.__context__
    return False


def is_host_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, by its type or its message.

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


def free_memory() -> int:
    """Bytes that further processes can have: of the machine, and of the control groups that this process is in."""
    free = [size - held for size, held in _cgroup_use()]
    if _MEMINFO.exists():
        fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free.append(int(fields["MemAvailable"].split()[0]) * 1024)
    else:
        free.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return max(0, min(free))


def _cgroup_limits() -> list[int]:
    return [limit for limit, _ in _cgroup_use()]


def _cgroup_use() -> list[tuple[int, int]]:
    """Return, for each control group with a memory limit, the limit and the memory held without files that can be
    dropped.
    """
    names = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    found = []
    for group in control_groups("memory"):
        for limit, held in ((group / limit, group / held) for limit, held in names):
            if limit.exists() and (most := limit.read_text().strip()).isdigit():
                found.append((int(most), max(0, _number(held) - _dropped(group / "memory.stat"))))
    return found


def _number(file: Path) -> int:
    return int(file.read_text()) if file.exists() else 0


def _dropped(statistics: Path) -> int:
    """Bytes of files that the kernel keeps and gives back when it needs memory."""
    rows = dict(line.split() for line in statistics.read_text().splitlines()) if statistics.exists() else {}
    return int(rows.get("total_inactive_file", rows.get("inactive_file", 0)))
