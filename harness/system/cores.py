"""The processor cores that this process may use, and how many of them nobody uses now."""

import math
import os
import time
from pathlib import Path

from harness.system.control_groups import control_groups

_STAT = Path("/proc/stat")


def allowed_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores() -> int:
    """The cores that this process may run on, at most as many as its control groups grant time for."""
    quotas = [math.floor(quota) for group in control_groups("cpu") for quota in _quota(group)]
    return max(1, min([allowed_cores(), *quotas]))


def free_cores(busy: int = 0, over_s: float = 1.0) -> int:
    """The usable cores that were idle over the next so many seconds; at least one where none is known to be `busy`."""
    cores = usable_cores()
    least = 0 if busy else 1
    if not _STAT.exists() or not hasattr(os, "sched_getaffinity"):
        return max(least, cores - busy)
    before = _idle_seconds()
    time.sleep(over_s)
    return max(least, min(cores, round((_idle_seconds() - before) / over_s)))


def _idle_seconds() -> float:
    """Seconds that the cores of this process have been idle since the machine began, added up."""
    tick, mine = os.sysconf("SC_CLK_TCK"), {f"cpu{core}" for core in os.sched_getaffinity(0)}
    rows = [line.split() for line in _STAT.read_text().splitlines()]
    return sum((int(row[4]) + int(row[5])) / tick for row in rows if row[0] in mine)


def _quota(group: Path) -> list[float]:
    """Return how many cores' time a control group has; empty if it is unlimited."""
    newer, older = group / "cpu.max", (group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us")
    if newer.exists():
        words = newer.read_text().split()
    elif all(file.exists() for file in older):
        words = [file.read_text().strip() for file in older]
    else:
        return []
    return [int(words[0]) / int(words[1])] if words[0].isdigit() and int(words[0]) else []
