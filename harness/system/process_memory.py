"""The memory of this process: resident set, peak, and returning freed memory to the system."""

import ctypes
import functools
import gc
import resource
import sys
from pathlib import Path


def resident(field: str) -> int:
    """A field of /proc/self/status in bytes: VmRSS is the resident set, VmHWM its peak."""
    if sys.platform != "linux":  # elsewhere the kernel keeps one peak for the whole life of the process
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def reset_resident_peak() -> None:
    """Start a new peak from the current resident set (Linux only)."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def release_freed() -> None:
    """Collect garbage and return freed memory, so that the resident set holds nothing of an earlier trial.

    Objects that refer to each other are freed by the cycle collector alone.
    """
    gc.collect()
    trim_heap()


@functools.cache
def leave_libraries_out() -> None:
    """Leave what this process holds now out of all later collections of garbage: once, after a worker's first trial.

    Nearly all of it are the objects of libraries, some 700,000, which each collection would pass over again.
    """
    gc.collect()
    gc.freeze()


def trim_heap() -> None:
    """Return freed heap to the system (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
