"""Out of memory on a GPU or on the machine, and whether a failed trial left memory allocated in this process."""

import sys

import torch

from harness.system.out_of_memory import MIB, memory_limits, requested_bytes
from harness.system.process_memory import release_freed, resident

# What a process may gain without being leaky: a first trial leaves 30 MiB (text) to 200 MiB (images) of libraries, and
# workspaces on a GPU.
_MARGIN = 256 * MIB


def what_ran_out(error: BaseException, device: torch.device) -> dict[str, int | str]:
    """The figures of an out-of-memory error in bytes: `asked`, the peak `reached`, and the `limit` of what (`of`)."""
    found: dict[str, int | str] = {}
    if (requested := requested_bytes(error)) is not None:
        found["asked"] = requested
    if device.type == "cuda" and "CUDA" in str(error):
        found["reached"] = torch.cuda.max_memory_allocated(device)
        return found | {"limit": torch.cuda.get_device_properties(device).total_memory, "of": "the GPU"}
    limit, of = min(memory_limits())
    # An address space is exhausted by what is reserved, used or not.
    found["reached"] = resident("VmPeak" if of == "the address space" and sys.platform == "linux" else "VmHWM")
    return found | {"limit": limit, "of": of}


class MemoryBaseline:
    """The memory that this process holds at its start, to compare with after a trial that failed."""

    def __init__(self) -> None:
        self.resident, self.allocated = self._held()

    def leak_reason(self) -> str:
        """Return why this process must not run another trial; empty if it holds no more memory than at its start."""
        try:
            now, allocated = self._held()
        except RuntimeError as error:  # an assertion on the device, a GPU that fell off the bus: nothing works after it
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
