"""Times steps of a trial in several arithmetics: the same network and batches, taking turns."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from harness.config import Config
from harness.devices import resolve_half
from harness.model import Network, build_model
from harness.task import Task, build_task
from harness.training import autocast, task_losses
from harness.trial.adapt import method_of, spec_errors
from harness.trial.inputs import loader, training_rows
from harness.trial.optimizers import fuses, make_optimizer
from harness.trial.passes import on_device

_BATCHES = 2
_TIMED_S = 1.0
_MOST_TURNS = 10
_LEAST_GAIN = 1.1  # less is not worth leaving float32, and near what two measurements differ by
_SAME_LOSS = {"rel_tol": 0.02, "abs_tol": 0.02}  # bf16 moves a loss near 1 by a thousandth


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic of a step: the trainer's precision, and the base's attention, None if it offers no choice."""

    precision: str
    attention: str | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.precision, self.attention)))


@dataclass(frozen=True)
class Timing:
    """Seconds of a step, on a CPU of the processor, on a GPU of the clock; the loss of the batches, without dropout."""

    seconds: float
    loss: float


def fastest_steps(config: Config, device: torch.device) -> dict[str, Any]:
    """The `precision` and `attention` with the fastest steps, the milliseconds of each (`step_ms`), and `why`.

    Float32 stays where nothing is faster by a tenth, or where what is has another loss. On a CPU one thread is timed by
    its processor's clock: several wait for one another under other load, and the clock counts that.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = TimedSteps(config, device)
        free = config.model.attends == "auto"
        timings = steps.compare(candidates(device, steps.model.attention_kind or None, free=free))
    finally:
        torch.set_num_threads(before)
    return choose(timings)


def candidates(device: torch.device, attention: str | None, *, free: bool) -> list[Arithmetic]:
    """Float32 first, then half precision, with the attention there is, and with eager where sdpa is `free` to go."""
    half = resolve_half(device)
    found = [Arithmetic("32-true", attention), Arithmetic(half, attention)]
    return [*found, Arithmetic(half, "eager")] if free and attention == "sdpa" else found


def choose(timings: Mapping[Arithmetic, Timing]) -> dict[str, Any]:
    """Return the result of `fastest_steps` from timings, of which the first is that of float32."""
    exact, usual = next(iter(timings.items()))
    sound = (each for each, found in timings.items() if math.isclose(found.loss, usual.loss, **_SAME_LOSS))
    best = min(sound, key=lambda each: timings[each].seconds, default=exact)
    if usual.seconds < _LEAST_GAIN * timings[best].seconds:
        best = exact
    step_ms = {str(each): round(1000 * found.seconds, 2) for each, found in timings.items()}
    shown = ", ".join(f"{name} {value:g} ms" for name, value in step_ms.items())
    why = f"{best}: a step took {shown}"
    if best == exact:
        why += f"; float32 stays unless another is {_LEAST_GAIN:g} times as fast at the same loss"
    return {"precision": best.precision, "attention": best.attention, "step_ms": step_ms, "why": why}


class TimedSteps:
    """Steps of a trial: its network as it adapts it, its batches, its optimiser at a learning rate of zero.

    The random state is left as it was.
    """

    def __init__(self, config: Config, device: torch.device, batches: int = _BATCHES) -> None:
        task = build_task(config.task)
        self.config, self.device, self.losses = config, device, task.losses
        with self._own_random_state():
            rows = loader(training_rows(config, task), config.trainer.batch_size, config.seed, training=True)
            self.batches = [on_device(batch, device) for batch in islice(rows, batches)]
            self.model = _adapted(config, task).to(device)
        self.trained = [tensor for tensor in self.model.parameters() if tensor.requires_grad]

    def compare(self, candidates: Sequence[Arithmetic], seconds: float = _TIMED_S) -> dict[Arithmetic, Timing]:
        """The least time of a step in each, over turns that last so many seconds in all."""
        best: dict[Arithmetic, float] = {}
        with self._own_random_state():
            for each in candidates:
                self.run(each)  # kernels are chosen, and compiled, for each shape
            started = time.perf_counter()
            for turn in range(_MOST_TURNS):
                for each in candidates[:: 1 if turn % 2 else -1]:
                    best[each] = min(self.run(each), best.get(each, math.inf))
                if time.perf_counter() - started > seconds:
                    break
            return {each: Timing(best[each], self.loss(each)) for each in candidates}

    def _own_random_state(self) -> AbstractContextManager[None]:
        return torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])

    def run(self, how: Arithmetic) -> float:
        """Seconds of a step, the mean over the batches."""
        self._use(how)
        self.model.train()
        optimizer = self._optimizer(how)
        started = self._now()
        for batch in self.batches:
            optimizer.zero_grad()
            self._loss(how, batch).backward()
            if self.config.optimizer.clip is not None:
                torch.nn.utils.clip_grad_norm_(self.trained, self.config.optimizer.clip)
            optimizer.step()
        return (self._now() - started) / len(self.batches)

    @torch.no_grad()
    def loss(self, how: Arithmetic) -> float:
        """The mean loss of the batches in evaluation mode."""
        self._use(how)
        self.model.eval()
        return sum(float(self._loss(how, batch)) for batch in self.batches) / len(self.batches)

    def _use(self, how: Arithmetic) -> None:
        if how.attention is not None and how.attention != self.model.attention_kind:
            self.model.use_attention(how.attention)

    def _optimizer(self, how: Arithmetic) -> torch.optim.Optimizer:
        fused = fuses(how.precision, self.config.optimizer.clip, penalised=False, on_gpu=self.device.type == "cuda")
        make = make_optimizer(self.config, fused=fused)
        return make([{"params": self.trained, "lr": 0.0, "weight_decay": 0.0}])

    def _loss(self, how: Arithmetic, batch: Mapping[str, Tensor]) -> Tensor:
        with autocast(how.precision, self.device):
            return task_losses(self.model, dict(batch), self.losses)[0].sum()

    def _now(self) -> float:
        if self.device.type != "cuda":
            return time.process_time()  # other load on the machine must not choose
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _adapted(config: Config, task: Task) -> Network:
    model = build_model(config.model, task.outputs)
    if config.trainer.activation_checkpointing:
        model.checkpoint_activations()
    with spec_errors():
        method_of(config).adapt(model)
    return model
