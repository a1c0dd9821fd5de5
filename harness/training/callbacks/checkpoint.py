"""Saves a trial between two steps, and resumes it there, bit for bit on a CPU."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from harness.system import fault_injection
from harness.system.signals import Interrupted, reinstall_handlers, stop_signal
from harness.training.checkpoint import Checkpoints, from_bytes, random_state, set_random_state, to_bytes
from harness.training.distributed import all_gather_bytes, all_reduce_max, broadcast_bytes
from harness.training.module import Pruned, trained_tensors
from harness.training.sharding import copy_into, shard_like, to_full

log = logging.getLogger(__name__)

_DUE = 1  # the code for a checkpoint that is due by the first process's clock; every signal number is higher


class CheckpointCallback(L.Callback):
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

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Restore weights and the position in the data, before the loader starts."""
        if self._state is None:
            self._state = self.checkpoints.load() if trainer.is_global_zero else {}
            if trainer.world_size > 1:
                self._state = from_bytes(broadcast_bytes(to_bytes(self._state)))
        if not self._state:
            return
        self.resumed_at = self._state["step"]
        for name, tensor in trained_tensors(module):
            copy_into(tensor, self._state["weights"][name])
        trainer.fit_loop.load_state_dict(self._state["loops"])
        self.batch_sampler.resume_at(self._state["batches"])
        self._random = self._state["random"][trainer.global_rank]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Restore what exists only now: optimiser, schedule, the states of the other callbacks."""
        reinstall_handlers()  # Lightning's handler of SIGTERM would end the trial before it is saved
        state, self._state = self._state, {}
        if not state:
            return
        if not state["ended"]:
            _load_optimizer(trainer.optimizers[0], state["optimizer"])
            trainer.lr_scheduler_configs[0].scheduler.load_state_dict(state["schedule"])
            trainer.precision_plugin.load_state_dict(state["precision"])
        self._restore_callbacks(trainer, state)
        trainer.should_stop = state["ended"]
        log.info("trial goes on from step %d", self.resumed_at)
        if (threads := state.get("threads")) not in (None, torch.get_num_threads()):
            now = torch.get_num_threads()
            log.warning("begun with %d threads, goes on with %d: last digits differ; trainer.threads=N", threads, now)

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self._restore_random_state()
        fault_injection.crash_point("in_training")
        if self._halted is not None:
            self._save(trainer, module, ended=False)
            raise self._halted
        self._save_if_due(trainer, module, ended=False)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The evaluation that follows may take long."""
        self._restore_random_state()
        self._last_random = random_state()
        self._save_if_due(trainer, module, ended=True)

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Resumed after the last step, there is nothing to train, and no other hook is called."""
        state, self._state = self._state, {}
        if state:
            self._restore_callbacks(trainer, state)
            self._restore_random_state()
            self._last_random = random_state()

    @contextmanager
    def guard(self, trainer: L.Trainer, module: L.LightningModule) -> Iterator[None]:
        """Around what follows training: interrupted there, the trial resumes from the end of its training."""
        try:
            yield
        except Interrupted:
            self._save(trainer, module, ended=True)
            raise

    def _restore_random_state(self) -> None:
        if self._random is not None:
            set_random_state(self._random)
            self._random = None

    def _restore_callbacks(self, trainer: L.Trainer, state: dict[str, Any]) -> None:
        for callback in self._others(trainer):
            callback.load_state_dict(state["callbacks"].get(type(callback).__name__, {}))

    def _others(self, trainer: L.Trainer) -> list[L.Callback]:
        return [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]

    def _save_if_due(self, trainer: L.Trainer, module: L.LightningModule, ended: bool) -> None:
        """Save if a stop was requested of any process, or if the first process's clock says so. Raises Interrupted."""
        evaluates = not ended and (trainer.global_step + 1) % int(trainer.val_check_batch or 1) == 0  # after this step
        due = trainer.is_global_zero and self.checkpoints.due(evaluates)
        code = all_reduce_max(stop_signal() or (_DUE if due else 0))
        if code:
            self._save(trainer, module, ended)
        if code > _DUE:
            raise Interrupted(code)

    def _save(self, trainer: L.Trainer, module: L.LightningModule, ended: bool) -> None:
        """A collective: every process must call it; sharded tensors are gathered."""
        first = trainer.is_global_zero
        loops = _between_batches(trainer.fit_loop.state_dict())
        state = {
            "step": self.steps_before + trainer.global_step,
            "ended": ended,
            "batches": loops["epoch_loop.batch_progress"]["total"]["completed"],
            "loops": loops,
            "weights": _gathered(trained_tensors(module), first),
            "callbacks": {type(callback).__name__: callback.state_dict() for callback in self._others(trainer)},
            "threads": torch.get_num_threads(),
            "random": [
                from_bytes(each) for each in all_gather_bytes(to_bytes(self._last_random if ended else random_state()))
            ],
        }
        if not ended:
            state |= {
                "optimizer": _optimizer_state(trainer.optimizers[0], first),
                "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
                "precision": trainer.precision_plugin.state_dict(),
            }
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


def _between_batches(loops: dict[str, Any]) -> dict[str, Any]:
    """Lightning's counters as they are between two batches: here the next batch was already fetched."""
    progress = loops["epoch_loop.batch_progress"]
    for count in (progress["total"], progress["current"]):
        count["ready"] = count["started"] = count["processed"] = count["completed"]
    progress["is_last_batch"] = False
    return loops
