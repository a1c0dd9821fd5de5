"""What watches a trial while it trains: divergence and stop requests, costs, curves, the best weights."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors.torch import load_file, save_file

from harness.training.accounting import MemoryMeter, StepClock
from harness.training.module import Diverged, Pruned, TrialModule
from harness.training.process_group import all_reduce_max, all_reduce_max_each, raise_if_stop_requested_on_all
from harness.training.sharding import copy_into, to_full, to_local

_PATIENCE_S = 10.0  # a stop that is asked for waits so long for an evaluation to end

Report = Callable[[int, dict[str, float]], bool]
"""Called with the step and the validation scores after each evaluation; true means: end this trial."""

_LEFT = 2  # what agree() hears of a process that leaves in the middle of a report


class DivergenceCheck(L.Callback):
    """Ends a trial whose loss is no finite number, and one that was asked to stop.

    `kept`: between two steps somebody else ends the trial, who puts it down first.
    """

    def __init__(self, every: int = 10, kept: bool = False) -> None:
        self.every, self.kept = every, kept

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """After each step; the loss is read only every few steps, since reading it waits for the device."""
        if not self.kept:
            raise_if_stop_requested_on_all()
        if trainer.global_step % self.every == 0 and all_reduce_max(int(not torch.isfinite(outputs["loss"]))):
            raise Diverged(f"training loss {float(outputs['loss'])} at step {trainer.global_step}")

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """An evaluation that is soon over is finished: after it the trial can be put down.

        Several devices may have unlike numbers of batches, and stop after the evaluation.
        """
        if trainer.world_size == 1:
            raise_if_stop_requested_on_all(_PATIENCE_S)

    def on_test_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """As in validation."""
        if trainer.world_size == 1:
            raise_if_stop_requested_on_all()


class UnusedParameterCheck(L.Callback):
    """Which trained tensors never got a gradient other than zero: they cost memory and learn nothing."""

    def __init__(self) -> None:
        self._trained: dict[str, torch.nn.Parameter] = {}
        self._waiting: dict[str, torch.nn.Parameter] | None = None

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """What is trained."""
        self._trained = {name: tensor for name, tensor in module.named_parameters() if tensor.requires_grad}

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """The gradients of this step are still there; only tensors that got none so far are looked at."""
        if self._waiting is None:
            self._waiting = dict(self._trained)
        for name, tensor in list(self._waiting.items()):
            if tensor.grad is not None and bool(to_local(tensor.grad).any()):
                del self._waiting[name]

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """A tensor that is spread over devices is alive if any part of it is."""
        self.load_state_dict(self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """What no device has seen to learn yet; each of them must ask."""
        return {} if self._waiting is None else {"waiting": self._everywhere()}

    def _everywhere(self) -> list[str]:
        learned = all_reduce_max_each([int(name not in (self._waiting or {})) for name in self._trained])
        return [name for name, seen in zip(self._trained, learned, strict=True) if not seen]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As it was."""
        if state_dict:
            self._waiting = {name: self._trained[name] for name in state_dict["waiting"]}

    @property
    def dead(self) -> list[str]:
        """Names inside the model, in its order."""
        return [name.removeprefix("model.") for name in self._waiting or {}]


class ResourceMeter(L.Callback):
    """Time of each step, and peaks of memory in training and in evaluation apart."""

    def __init__(self, device: torch.device) -> None:
        self.memory, self.clock = MemoryMeter(device), StepClock(device)
        self.train_peak = self.eval_peak = 0
        self._fresh = True  # the next training step opens a new window of the peak
        self.parts: dict[str, object] = {}

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far."""
        times = {"seconds": list(self.clock.seconds), "examples": list(self.clock.examples)}
        return times | {"train_peak": self.train_peak, "eval_peak": self.eval_peak, "parts": dict(self.parts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As it was; the peaks are those of all processes that trained."""
        self.clock.seconds, self.clock.examples = state_dict["seconds"], state_dict["examples"]
        self.train_peak, self.eval_peak = state_dict["train_peak"], state_dict["eval_peak"]
        self.parts = state_dict["parts"]

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """The first step warms up: its peak does not count."""
        if trainer.global_step == 1 or self._fresh:
            self.memory.reset()
            self._fresh = False
        self.clock.start()

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, _: Any, batch: Any, __: int) -> None:
        """One step was made."""
        self.clock.stop(len(batch["labels"]) * trainer.world_size)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Training pauses: its peak so far counts."""
        self.train_peak = max(self.train_peak, self.memory.peak())
        self.parts = self.memory.components(module, trainer.optimizers[0], self.train_peak, self.eval_peak)
        self.memory.reset()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Evaluation ends."""
        self.eval_peak = max(self.eval_peak, self.memory.peak())
        self.parts["eval_peak"] = self.eval_peak
        self._fresh = True


class MetricsCsvLogger(L.Callback):
    """Learning curves: one row in metrics.csv every few steps and at each evaluation, mirrored to `mirror`."""

    def __init__(
        self, path: Path, mirror: Callable[[int, dict[str, float]], None], scores: Sequence[str], every: int = 10
    ) -> None:
        self.path, self.mirror, self.every = path, mirror, every
        self.columns = ("step", "lr", "train_loss", *(f"val_{name}" for name in scores))

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Begin the file."""
        with open(self.path, "w", newline="") as file:
            csv.writer(file).writerow(self.columns)

    def state_dict(self) -> dict[str, Any]:
        """The file so far."""
        return {"text": self.path.read_text()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Write what was written, here and to the mirror."""
        self.path.write_text(state_dict["text"])
        with open(self.path, newline="") as file:
            for row in csv.DictReader(file):
                step = int(row.pop("step"))
                self.mirror(step, {name: float(value) for name, value in row.items() if value})

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """The loss of this batch, and the learning rate that the next one gets."""
        if trainer.global_step % self.every == 0:
            lr = trainer.optimizers[0].param_groups[0]["lr"]
            self._write(trainer.global_step, {"lr": lr, "train_loss": float(outputs["bare"])})

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The scores of an evaluation."""
        assert isinstance(module, TrialModule)
        self._write(trainer.global_step, {f"val_{name}": value for name, value in module.scores.items()})

    def _write(self, step: int, values: dict[str, float]) -> None:
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow({"step": step, **values})
        self.mirror(step, values)


class BestCheckpoint(L.Callback):
    """Keeps the weights of the best evaluation, stops when nothing improves any more, and asks whether to prune.

    The weights are kept in a file: in memory they would count as the trial's.
    `objective` is accuracy (higher is better) or loss (lower is better); `patience` counts evaluations. Those before
    step `not_before` do not count at all: what AdaLoRA scores before it has shrunk is not what it will be.
    """

    def __init__(self, objective: str, patience: int | None, report: Report, path: Path, not_before: int = 0) -> None:
        self.not_before = not_before
        self.sign = -1.0 if objective == "loss" else 1.0
        self.objective, self.patience, self.report, self.path = objective, patience, report, path
        self.best: dict[str, float] = {}
        self.best_step = self.evaluations_since = 0
        self.reports: list[tuple[int, dict[str, float]]] = []

    def state_dict(self) -> dict[str, Any]:
        """What was reported, and the best of it, weights included."""
        kept = {"best": self.best, "best_step": self.best_step, "evaluations_since": self.evaluations_since}
        return kept | {"reports": self.reports, "weights": load_file(self.path) if self.best else {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As it was; who listens hears of all evaluations again."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.evaluations_since, self.reports = state_dict["evaluations_since"], state_dict["reports"]
        if self.best:
            save_file(state_dict["weights"], self.path)
        for step, scores in self.reports:
            self.report(step, scores)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Compare with the best so far, then report."""
        assert isinstance(module, TrialModule)
        scores = module.scores
        if trainer.global_step < self.not_before:
            return
        if not self.best or self.sign * scores[self.objective] > self.sign * self.best[self.objective]:
            self.best, self.best_step, self.evaluations_since = dict(scores), trainer.global_step, 0
            save_file({name: to_full(tensor) for name, tensor in trained(module)}, self.path)
        else:
            self.evaluations_since += 1
        self.reports.append((trainer.global_step, dict(scores)))
        losing = self._verdict(trainer.global_step, scores)
        if losing and trainer.global_step < trainer.max_steps:  # a trial that has run its course is complete
            raise Pruned(f"below the median of its arm at step {trainer.global_step}")
        if self.patience is not None and self.evaluations_since >= self.patience:
            trainer.should_stop = True

    def _verdict(self, step: int, scores: dict[str, float]) -> bool:
        """Whether to prune: what the first process is answered goes for all, and so does its leaving the trial."""
        try:
            losing = self.report(step, scores)
        except BaseException:
            all_reduce_max(_LEFT)
            raise
        verdict = all_reduce_max(int(losing))
        if verdict == _LEFT:
            raise RuntimeError("another process of this trial left it")
        return bool(verdict)

    def restore(self, module: L.LightningModule) -> None:
        """Put the weights of the best evaluation back."""
        stored = load_file(self.path)
        with torch.no_grad():
            for name, tensor in trained(module):
                copy_into(tensor, stored[name])


def trained(module: L.LightningModule) -> Iterator[tuple[str, torch.Tensor]]:
    """What training changes: trained weights, and buffers, since running statistics move with them."""
    yield from ((name, tensor) for name, tensor in module.named_parameters() if tensor.requires_grad)
    yield from module.named_buffers()
