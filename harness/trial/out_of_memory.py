"""Memory or disk that ran out: which errors mean it, what is known, and whether a process is as it was before."""

import errno
import os
import re
import resource
import sys
from pathlib import Path

import torch

from harness.system.process_memory import release_freed, resident

MIB = 2**20
# What a process may gain and still be as it was: a first trial leaves 30 MiB (text) to 200 MiB (images) of libraries,
# and workspaces on a GPU.
_MARGIN = 256 * MIB
_MEANS_IT = ("can't allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED", "Cannot allocate memory")
_ASKED = re.compile(r"allocate ([\d.]+) (bytes|[KMGTPE]iB)", re.IGNORECASE)
_UNITS = {"bytes": 1} | {f"{letter}ib": 2 ** (10 * power) for power, letter in enumerate("kmgtpe", 1)}


class DiskFull(Exception):
    """No trial can go on; each does, from where it was, when there is room again. `exit_code` is the process's."""

    exit_code = 75


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, says that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):  # of safetensors
            return True
        error = error.__cause__ or error.__context__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no more memory, on a GPU or on the machine.

    On a CPU torch raises a plain RuntimeError; files that are mapped into memory raise an OSError.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in _MEANS_IT)


def what_ran_out(error: BaseException, device: torch.device) -> dict[str, int | str]:
    """What is known when memory ran out, in bytes: `asked`, the peak `reached`, and the `limit` of what."""
    found: dict[str, int | str] = {}
    if asked := _ASKED.search(str(error)):
        found["asked"] = int(float(asked[1]) * _UNITS[asked[2].lower()])
    if device.type == "cuda" and "CUDA" in str(error):
        found["reached"] = torch.cuda.max_memory_allocated(device)
        return found | {"limit": torch.cuda.get_device_properties(device).total_memory, "of": "the GPU"}
    limit, of = min(_limits())
    # An address space runs out by what is reserved, touched or not.
    found["reached"] = resident("VmPeak" if of == "the address space" and sys.platform == "linux" else "VmHWM")
    return found | {"limit": limit, "of": of}


def in_words(found: dict[str, int | str]) -> str:
    """The figures as a record's reason says them."""
    figures = {name: f"{value / MIB:,.0f} MiB" for name, value in found.items() if isinstance(value, int)}
    asked = f"{figures['asked']} were asked for, " if "asked" in figures else ""
    return f"out of memory: {asked}{figures['reached']} had been reached; {found['of']} has {figures['limit']}"


def _limits() -> list[tuple[int, str]]:
    """The bytes that this process may have, by what sets the limit."""
    limits = [(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "the machine")]
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY:
        limits.append((space, "the address space"))
    return limits + [(limit, "the control group") for limit in _group_limits()]


def _group_limits() -> list[int]:
    """Of the control groups that this process is in, the outer ones too: a job's limit is often not on its steps."""
    groups, found = Path("/proc/self/cgroup"), []
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup") / kinds
        here = root / path.lstrip("/")
        for folder in (here, *here.parents):
            file = folder / ("memory.limit_in_bytes" if kinds else "memory.max")
            if folder.is_relative_to(root) and file.exists() and (said := file.read_text().strip()).isdigit():
                found.append(int(said))
    return found


class MemoryBaseline:
    """What this process holds when it begins, for a comparison after a trial that failed."""

    def __init__(self) -> None:
        self.resident, self.allocated = self._held()

    def lost(self) -> str:
        """Why this process is no place for another trial; empty where it is as it was."""
        try:
            now, allocated = self._held()
        except RuntimeError as error:  # an assertion on the device, a GPU that fell off: nothing works after it
            return f"a GPU that answers with errors: {str(error).splitlines()[0]}"
        if (more := allocated - self.allocated) > _MARGIN:
            return f"{more // MIB:,} MiB of the GPU that a failed trial left behind"
        if (more := now - self.resident) > _MARGIN:
            return f"{more // MIB:,} MiB of memory that a failed trial left behind"
        return ""

    @staticmethod
    def _held() -> tuple[int, int]:
        release_freed()
        if not torch.cuda.is_initialized():
            return resident("VmRSS"), 0
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return resident("VmRSS"), torch.cuda.memory_allocated()
