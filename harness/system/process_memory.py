"""The memory of this process: its resident set, its peak, and freed memory given back to the system."""

import ctypes
import gc
import resource
import sys
from pathlib import Path


def resident(field: str) -> int:
    """Bytes of this process, by a name of /proc/self/status: VmRSS is the resident set, VmHWM its peak."""
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
    """Give back what is no longer held: the resident set then is what is, not what an earlier trial was.

    A trainer and its model refer to each other, so that only the collector of cycles frees them.
    """
    gc.collect()
    trim_heap()


def trim_heap() -> None:
    """Give freed heap back to the system."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
