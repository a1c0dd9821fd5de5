"""The training of one trial: its steps, and the evaluations after those of its plan, on one or several devices."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import chain, repeat
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.seed import reset_seed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from harness.training.distributed import raise_if_stop_requested_on_all
from harness.training.fabric import freed_afterwards, quiet
from harness.training.module import TrialModule, in_evaluation_mode
from harness.training.plan import Plan

EVALUATION_PATIENCE_S = 10.0
"""How long an evaluation may still take after a stop request: the trial can be saved after it."""


class Callback:
    """The hooks of a trial around its steps. A checkpoint has the states of all, by the names of their classes."""

    def begin(self, trainer: "Trainer") -> None:
        """Before the first step."""

    def before_step(self, trainer: "Trainer", batch: dict[str, Any]) -> None:
        """Before the pass over a batch, which is on the device."""

    def after_backward(self) -> None:
        """Run once the gradients of the loss are computed, before they are clipped."""

    def after_step(self, trainer: "Trainer", batch: dict[str, Any]) -> None:
        """After the update; the gradients are still there."""

    def before_evaluation(self, trainer: "Trainer") -> None:
        """Before the validation split is read, in evaluation mode."""

    def after_evaluation(self, trainer: "Trainer") -> None:
        """Run once the module has its scores, in evaluation mode."""

    def end(self, trainer: "Trainer") -> None:
        """After the last step and its evaluation."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that `load_state_dict` restores, after `begin`."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state."""


class Trainer:
    """Trains a module, and scores it. `step` counts the steps made, `loss` and `bare` are of the last one."""

    module: TrialModule
    optimizer: torch.optim.Optimizer

    def __init__(self, fabric: Fabric, length: Plan, callbacks: Sequence[Callback], clip: float | None = None) -> None:
        self.fabric, self.length, self.callbacks, self.clip = fabric, length, callbacks, clip
        self.several, self.step, self.should_stop = fabric.world_size > 1, 0, False
        self.loss = self.bare = torch.zeros(())

    def fit(self, module: TrialModule, train: DataLoader[int], validation: DataLoader[int]) -> None:
        """Train to the end of the plan, or until a callback ends it."""
        if self.several:
            reset_seed()  # whatever each process has drawn so far
        with quiet(), freed_afterwards(self.fabric, module):
            self._place(module)
            self.optimizer = module.new_optimizer()
            for callback in reversed(self.callbacks):  # the first one puts all others back where they were
                callback.begin(self)
            batches = chain.from_iterable(repeat(train))
            while self.step < self.length.steps and not self.should_stop:
                self._make_step(self.fabric.to_device(next(batches)))
                if self.step in self.length.evaluate_after:
                    self._evaluate(validation)
            for callback in self.callbacks:
                callback.end(self)
            del self.optimizer, self._model  # their memory

    def test(self, module: TrialModule, loader: DataLoader[int]) -> dict[str, float]:
        """The scores on a split, with the weights as they are."""
        raise_if_stop_requested_on_all()  # a collective: all processes of a trial reach this point
        with quiet(), freed_afterwards(self.fabric, module), in_evaluation_mode(module):
            module.to(self.fabric.device)
            module.begin_test()
            self._pass_over(loader, module.test_step, patience_s=0.0)
            module.end_test(self.step, self.fabric.world_size)
        return dict(module.scores)

    def _place(self, module: TrialModule) -> None:
        self.fabric.to_device(module)
        self.module, self._model = module, self.fabric.strategy.setup_module(module)
        module.to(self.fabric.device)  # what of it is not sharded

    def _make_step(self, batch: dict[str, Any]) -> None:
        for callback in self.callbacks:
            callback.before_step(self, batch)
        self._compute_gradients(batch)
        for callback in self.callbacks:
            callback.after_backward()
        if self.clip is not None:
            self.fabric.strategy.clip_gradients_norm(self._model, self.optimizer, self.clip, error_if_nonfinite=False)
        self.fabric.strategy.optimizer_step(self.optimizer)
        self.step += 1
        self.module.set_rate(self.optimizer, self.step)
        for callback in self.callbacks:
            callback.after_step(self, batch)

    def _compute_gradients(self, batch: dict[str, Any]) -> None:
        """The gradients of a batch's loss, or of the losses of its parts; the processes of DDP add them up after the
        last one.
        """
        with self.fabric.autocast():
            recorded = self.module.recorded_loss(batch, self.step)
        if recorded is not None:
            self.loss = self.bare = recorded
            return
        self.module.zero_gradients(self.optimizer)
        parts, shares = batch.get("parts", [batch]), batch.get("shares", [None])
        for number, (part, share) in enumerate(zip(parts, shares, strict=True), 1):
            last, model = number == len(parts), self._model
            with model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext():
                with self.fabric.autocast():
                    found = model(part, share, last)
                self.fabric.backward(found["loss"])
            self.loss = found["loss"].detach()
            self.bare = found["bare"] if number == 1 else self.bare + found["bare"]

    def _evaluate(self, validation: DataLoader[int]) -> None:
        self.module.zero_grad()  # their memory
        with in_evaluation_mode(self.module):
            if self.several:  # each has the running statistics of its own batches: the first one's are saved
                for buffer in self.module.model.buffers():
                    torch.distributed.broadcast(buffer, 0)
            for callback in self.callbacks:
                callback.before_evaluation(self)
            self._pass_over(validation, self.module.validation_step, EVALUATION_PATIENCE_S)
            self.module.end_validation(self.step)
            for callback in self.callbacks:
                callback.after_evaluation(self)

    def _pass_over(self, loader: DataLoader[int], look: Callable[[dict[str, Tensor]], None], patience_s: float) -> None:
        for batch in loader:
            with self.fabric.autocast():
                look(self.fabric.to_device(batch))
            if not self.several:  # several processes may have different numbers of batches: they stop afterwards
                raise_if_stop_requested_on_all(patience_s)
