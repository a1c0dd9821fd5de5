"""The cost of training: memory by component, time by step."""

import os
import statistics
import time

import torch
from torch import nn
from torch.optim import Optimizer

from harness.devices import bytes_of
from harness.record import Memory, Time
from harness.system.out_of_memory import is_host_out_of_memory
from harness.system.process_memory import release_freed, reset_resident_peak, resident, trim_heap


def optimizer_bytes(optimizer: Optimizer) -> int:
    """Bytes of an optimiser's state tensors (for AdamW two moments and a step counter for each trained tensor)."""
    return bytes_of(
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on a GPU or on the machine."""
    return isinstance(error, torch.OutOfMemoryError) or is_host_out_of_memory(error)


class MemoryMeter:
    """Peaks of memory: allocated bytes on a CUDA device, the resident set of the process on a CPU.

    The resident set holds the interpreter and its libraries too. They are measured when the meter is created, before
    the network is built, and called `process`, so that the components add up to the peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.kind = "cuda allocated" if device.type == "cuda" else "resident set"
        release_freed()  # memory of an earlier trial must not count for this one
        self.process = 0 if device.type == "cuda" else resident("VmRSS")
        self.reserved = 0
        if device.type != "cuda" or torch.cuda.is_initialized():
            self.reset()  # a trial that runs out of memory reports its own peak, not an earlier one's

    def reset(self) -> None:
        """Start a new peak from the memory held now."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            trim_heap()
            reset_resident_peak()

    def peak(self) -> int:
        """The peak since the last reset, in bytes."""
        if self.device.type != "cuda":
            return resident("VmHWM")
        torch.cuda.synchronize(self.device)
        self.reserved = torch.cuda.max_memory_reserved(self.device)
        return torch.cuda.max_memory_allocated(self.device)

    def components(self, model: nn.Module, optimizer: Optimizer, train_peak: int, eval_peak: int) -> Memory:
        """The training peak taken apart: exact sums of what is known, and `activations`, the rest."""
        parameters = bytes_of([*model.parameters(), *model.buffers()])
        gradients = bytes_of(tensor for tensor in model.parameters() if tensor.requires_grad)
        state = optimizer_bytes(optimizer)
        return Memory(
            process=self.process,
            parameters=parameters,
            gradients=gradients,
            optimizer=state,
            activations=train_peak - self.process - parameters - gradients - state,
            train_peak=train_peak,
            eval_peak=eval_peak,
            kind=self.kind,
            reserved=self.reserved or None,
        )


class StepClock:
    """Seconds of each optimiser step and the examples in it; the first `warmup` steps are left out.

    A GPU is asked when its step began and ended, and answers when all are read: to wait for it would slow it down.
    """

    def __init__(self, device: torch.device, warmup: int = 5) -> None:
        self.device, self.warmup = device, warmup
        self.cpu_seconds: list[float] = []
        self.examples: list[int] = []
        self.load = 0.0
        """The highest load average of the machine, over a minute, after any step."""
        self._seconds: list[float] = []
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []  # steps that are not in `_seconds` yet
        self._begin: torch.cuda.Event | None = None
        self._start = self._cpu_start = 0.0

    @property
    def seconds(self) -> list[float]:
        """The seconds of each step so far. Waits until a GPU has ended the last one."""
        if self._events:
            self._events[-1][1].synchronize()
            self._seconds += [begin.elapsed_time(end) / 1000 for begin, end in self._events]
            self._events = []
        return self._seconds

    @seconds.setter
    def seconds(self, found: list[float]) -> None:
        self._seconds, self._events = found, []

    def start(self) -> None:
        """Before the forward pass."""
        self._start, self._cpu_start = time.perf_counter(), time.process_time()
        if self.device.type == "cuda":
            self._begin = _event()

    def stop(self, examples: int) -> None:
        """After the update."""
        if self._begin is None:
            self._seconds.append(time.perf_counter() - self._start)
        else:
            self._events.append((self._begin, _event()))
        self.cpu_seconds.append(time.process_time() - self._cpu_start)
        self.examples.append(examples)
        self.load = max(self.load, os.getloadavg()[0])

    def summary(self) -> Time:
        """The median step, of the clock and of the processor, and the examples per second of all counted steps."""
        seconds = self.seconds[self.warmup :] or self.seconds
        examples = self.examples[self.warmup :] or self.examples
        if not seconds:
            return Time()
        cpu = self.cpu_seconds[self.warmup :] or self.cpu_seconds
        return Time(
            step_median_s=statistics.median(seconds),
            examples_per_s=sum(examples) / sum(seconds),
            step_cpu_s=statistics.median(cpu) if cpu else None,
            load=self.load,
        )


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
