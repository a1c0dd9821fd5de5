"""Saves a trial between two steps, and resumes it there, bit for bit on a CPU."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from harness.system import fault_injection
from harness.system.signals import Interrupted, stop_signal
from harness.training.checkpoint import Checkpoints, from_bytes, random_state, set_random_state, to_bytes
from harness.training.distributed import all_gather_bytes, all_reduce_max, broadcast_bytes
from harness.training.loop import Callback, Trainer
from harness.training.module import Pruned, trained_tensors
from harness.training.sharding import copy_into, shard_like, to_full

log = logging.getLogger(__name__)

_DUE = 1  # the code for a checkpoint that is due by the first process's clock; every signal number is higher


class CheckpointCallback(Callback):
    """Saves a trial when a stop is requested, every minute, and before evaluations; resumes it from there.

    It comes first of all callbacks, so that what they do before a step is still to come when the trial is resumed. The
    processes of a trial agree on the step; the first of them writes, and reads for all. Each resumes with its own
    random state.

    `state` is the checkpoint to resume from, by default the newest one. `steps_before` counts the trial's steps before
    this training, and `extra` returns further entries of a checkpoint.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        state: dict[str, Any] | None = None,
        steps_before: int = 0,
        extra: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.checkpoints, self.steps_before, self.extra = checkpoints, steps_before, extra
        self.batch_sampler: Any = None  # set once the training loader exists, which needs the trainer
        self.resumed_at = 0
        self._halted: Pruned | None = None
        self._state = state
        self._random: dict[str, Any] | None = None  # the random state of the next step
        self._last_random: dict[str, Any] = {}

    def halt(self, pruned: Pruned) -> None:
        """Save the trial before its next step, from which it may go on, and raise what is given."""
        self._halted = pruned

    def begin(self, trainer: Trainer) -> None:
        """Put everything back as it was, before the loader starts."""
        state, self._state = self._state, {}
        if state is None:
            state = self.checkpoints.load() if trainer.fabric.is_global_zero else {}
            if trainer.several:
                state = from_bytes(broadcast_bytes(to_bytes(state)))
        if not state:
            return
        self.resumed_at, trainer.step, trainer.should_stop = state["step"], state["batches"], state["ended"]
        self.batch_sampler.resume_at(state["batches"])
        for name, tensor in trained_tensors(trainer.module):
            copy_into(tensor, state["weights"][name])
        if not state["ended"]:
            _load_optimizer(trainer.optimizer, state["optimizer"])
            trainer.fabric.strategy.precision.load_state_dict(state["precision"])
        for callback in self._others(trainer):
            callback.load_state_dict(state["callbacks"].get(type(callback).__name__, {}))
        self._random = state["random"][trainer.fabric.global_rank]
        log.info("trial goes on from step %d", self.resumed_at)
        if (threads := state.get("threads")) not in (None, torch.get_num_threads()):
            now = torch.get_num_threads()
            log.warning("begun with %d threads, goes on with %d: last digits differ; trainer.threads=N", threads, now)

    def before_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        self._restore_random_state()
        fault_injection.crash_point("in_training")
        if self._halted is not None:
            self._save(trainer, ended=False)
            raise self._halted
        self._save_if_due(trainer, ended=False)

    def end(self, trainer: Trainer) -> None:
        """The tests that follow may take long."""
        self._restore_random_state()
        self._last_random = random_state()
        self._save_if_due(trainer, ended=True)

    @contextmanager
    def guard(self, trainer: Trainer) -> Iterator[None]:
        """Around what follows training: interrupted there, the trial resumes from the end of its training."""
        try:
            yield
        except Interrupted:
            self._save(trainer, ended=True)
            raise

    def _restore_random_state(self) -> None:
        if self._random is not None:
            set_random_state(self._random)
            self._random = None

    def _others(self, trainer: Trainer) -> list[Callback]:
        return [callback for callback in trainer.callbacks if callback is not self]

    def _save_if_due(self, trainer: Trainer, ended: bool) -> None:
        """Save if a stop was requested of any process, or if the first process's clock says so. Raises Interrupted."""
        evaluates = not ended and trainer.step + 1 in trainer.length.evaluate_after
        due = trainer.fabric.is_global_zero and self.checkpoints.due(evaluates)
        code = all_reduce_max(stop_signal() or (_DUE if due else 0))
        if code:
            self._save(trainer, ended)
        if code > _DUE:
            raise Interrupted(code)

    def _save(self, trainer: Trainer, ended: bool) -> None:
        """A collective: every process must call it; sharded tensors are gathered."""
        first = trainer.fabric.is_global_zero
        state = {
            "step": self.steps_before + trainer.step,
            "ended": ended,
            "batches": trainer.step,
            "weights": _gathered(trained_tensors(trainer.module), first),
            "callbacks": {type(callback).__name__: callback.state_dict() for callback in self._others(trainer)},
            "threads": torch.get_num_threads(),
            "random": [
                from_bytes(each) for each in all_gather_bytes(to_bytes(self._last_random if ended else random_state()))
            ],
        }
        if not ended:
            state["optimizer"] = _optimizer_state(trainer.optimizer, first)
            state["precision"] = trainer.fabric.strategy.precision.state_dict()
        if first:
            self.checkpoints.save(state | self.extra())


def _gathered(tensors: Iterable[tuple[str, Tensor]], first: bool) -> dict[str, Tensor]:
    """The full tensors, on the first process alone: no other has to hold them."""
    found = {}
    for name, tensor in tensors:
        full = to_full(tensor)
        if first:
            found[name] = full
    return found


def _optimizer_state(optimizer: Optimizer, first: bool) -> dict[str, Any]:
    state = optimizer.state_dict()
    return state | {"state": {index: _gathered(entry.items(), first) for index, entry in state["state"].items()}}


def _load_optimizer(optimizer: Optimizer, kept: dict[str, Any]) -> None:
    """Each moment is sharded as its weight is."""
    weights = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    state = {
        index: {name: shard_like(weights[index], full) if full.ndim else full for name, full in entry.items()}
        for index, entry in kept["state"].items()
    }
    optimizer.load_state_dict(kept | {"state": state})
