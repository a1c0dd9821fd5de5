"""What a trial costs: parameters in groups that add up, memory by component, time by step."""

import dataclasses
import gc
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode


@dataclasses.dataclass(frozen=True)
class Params:
    """Parameter counts by tensor identity: a tensor that is used twice counts once."""

    adapter: int
    head: int
    other: int
    frozen: int
    total: int

    def __post_init__(self) -> None:
        assert self.adapter + self.head + self.other + self.frozen == self.total

    @property
    def trainable(self) -> int:
        """All that receives updates."""
        return self.adapter + self.head + self.other


def count(model: nn.Module, adapter: Iterable[nn.Parameter], head: Iterable[nn.Parameter]) -> Params:
    """Count a network's parameters; `other` is what is trained and belongs to neither adapter nor head."""
    sizes = {id(tensor): tensor.numel() for tensor in model.parameters()}
    trained = {id(tensor) for tensor in model.parameters() if tensor.requires_grad}
    adapter_ids = {id(tensor) for tensor in adapter} & trained
    head_ids = {id(tensor) for tensor in head} & trained
    assert not adapter_ids & head_ids, "a tensor is counted as adapter and as head"

    def total(ids: Iterable[int]) -> int:
        return sum(sizes[key] for key in ids)

    return Params(
        adapter=total(adapter_ids),
        head=total(head_ids),
        other=total(trained - adapter_ids - head_ids),
        frozen=total(sizes.keys() - trained),
        total=total(sizes),
    )


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of distinct tensors."""
    return sum({id(tensor): tensor.numel() * tensor.element_size() for tensor in tensors}.values())


def optimizer_bytes(optimizer: Optimizer) -> int:
    """Bytes of an optimiser's state tensors (for AdamW two moments and a step counter for each trained tensor)."""
    return bytes_of(
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
    )


def flops_of(work: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions that `work` does, by torch's counter.

    A multiplication and an addition are two. Elementwise work is not counted. The fused recurrent layers of oneDNN are
    turned off meanwhile, since the counter does not know them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")  # of Intel's GPUs
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            work()
    total: int = counter.get_total_flops()
    return total


class MemoryMeter:
    """Peaks of memory: allocated bytes on a CUDA device, the resident set of the process on a CPU.

    The resident set holds the interpreter and its libraries too. They are measured when the meter is made, before the
    network is built, and called `process`, so that the components still add up to the peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.kind = "cuda allocated" if device.type == "cuda" else "resident set"
        release_freed()  # what an earlier trial left must not count for this one
        self.process = 0 if device.type == "cuda" else resident("VmRSS")
        self.reserved = 0
        if device.type != "cuda" or torch.cuda.is_initialized():
            self.reset()  # a trial that runs out of memory says its own peak, not an earlier one's

    def reset(self) -> None:
        """Start a new peak from what is held now."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _trim()
            _reset_resident_peak()

    def peak(self) -> int:
        """The highest since the last reset, in bytes."""
        if self.device.type != "cuda":
            return resident("VmHWM")
        torch.cuda.synchronize(self.device)
        self.reserved = torch.cuda.max_memory_reserved(self.device)
        return torch.cuda.max_memory_allocated(self.device)

    def components(self, model: nn.Module, optimizer: Optimizer, train_peak: int, eval_peak: int) -> dict[str, object]:
        """The training peak taken apart: exact sums of what is known, and `activations`, the rest."""
        known = {
            "process": self.process,
            "parameters": bytes_of([*model.parameters(), *model.buffers()]),
            "gradients": bytes_of(tensor for tensor in model.parameters() if tensor.requires_grad),
            "optimizer": optimizer_bytes(optimizer),
        }
        parts = known | {"activations": train_peak - sum(known.values())}
        assert sum(parts.values()) == train_peak
        peaks: dict[str, object] = {"train_peak": train_peak, "eval_peak": eval_peak, "kind": self.kind}
        if self.reserved:
            peaks["reserved"] = self.reserved
        return parts | peaks


class StepClock:
    """Seconds of each optimiser step and the examples in it; the first steps warm up and are left out."""

    def __init__(self, device: torch.device, warmup: int = 5) -> None:
        self.device, self.warmup = device, warmup
        self.seconds: list[float] = []
        self.examples: list[int] = []
        self._start = 0.0

    def start(self) -> None:
        """Before the forward pass."""
        self._start = self._now()

    def stop(self, examples: int) -> None:
        """After the update."""
        self.seconds.append(self._now() - self._start)
        self.examples.append(examples)

    def summary(self) -> dict[str, float]:
        """The median step and the examples per second of all counted steps."""
        seconds = self.seconds[self.warmup :] or self.seconds
        examples = self.examples[self.warmup :] or self.examples
        if not seconds:
            return {}
        return {"step_median_s": statistics.median(seconds), "examples_per_s": sum(examples) / sum(seconds)}

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def resident(field: str) -> int:
    """Bytes of this process, by a name of /proc/self/status: VmRSS is the resident set, VmHWM its peak."""
    if sys.platform != "linux":  # elsewhere the kernel keeps one peak for the whole life of the process
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _reset_resident_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def release_freed() -> None:
    """Give back what is no longer held: the resident set then is what is, not what an earlier trial was.

    A trainer and its model refer to each other, so that only the collector of cycles frees them.
    """
    gc.collect()
    _trim()


def _trim() -> None:
    """Give freed heap back to the system."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
