"""The tasks of a sequence as they are learned, one after another, and what is kept of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor

from harness.config import Config, ConfigError, ContinualTaskConfig
from harness.lora import SpecError, add_updates, named_updates
from harness.model import Heads, Network
from harness.task import ContinualTask, Inputs
from harness.training import (
    BestCheckpoint,
    CheckpointCallback,
    Checkpoints,
    DivergenceCheck,
    MetricsCsvLogger,
    ResourceMeter,
    UnusedParameterCheck,
    fit,
    make_trainer,
    plan,
)
from harness.trial import tracking
from harness.trial.inputs import loader
from harness.trial.single import BEST, Facts, TrialContext, make_module, measure

Splits = dict[str, dict[str, Inputs]]  # split -> task -> its rows
State = dict[str, Tensor]


@dataclass
class ContinualTraining:
    """Fits one task after another. `reached` are the trained tensors that got a gradient in any of them."""

    config: Config
    model: Network
    task: ContinualTask
    splits: Splits
    place: TrialContext
    facts: Facts
    mirror: tracking.Mirror
    meters: ResourceMeter
    device: torch.device
    precision: str
    checkpoints: Checkpoints
    trained: dict[str, None] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    curves: dict[str, tuple[int, str]] = field(default_factory=dict)  # the steps before each task, and its file

    def give(self, number: int, under_way: dict[str, Any], beside: Callable[[], dict[str, Any]]) -> None:
        """Fit a task, with an optimiser and a schedule of its own, and leave the weights of its best evaluation.

        It goes on from where it was put down, if it is `under_way`; `beside` is as in Keeper.
        """
        self.prepare(number)
        name = list(self.task.parts)[number]
        trainer_config, steps = self.config.trainer, self.facts.steps
        train, validation = self.splits["train"][name], self.splits["validation"][name]
        batches = -(-len(train) // trainer_config.batch_size)
        length = plan(batches, trainer_config.epochs, trainer_config.max_steps, trainer_config.evaluations)
        module = make_module(self.config, self.model, measure(self.task.parts[name]), length.steps, self.precision)
        by_accuracy = trainer_config.objective == "score" and "accuracy" in module.measure.names
        objective = "accuracy" if by_accuracy else "loss"
        watch = BestCheckpoint(objective, trainer_config.patience, lambda *_: False, self.place.folder / BEST)
        before = steps["made"]
        pulse, curve = UnusedParameterCheck(), self._curve(name, before, module.measure.names)
        keeper = CheckpointCallback(self.checkpoints, under_way, before, beside)
        callbacks: list[L.Callback] = [keeper, DivergenceCheck(kept=True), self.meters, pulse, curve, watch]
        clip = self.config.optimizer.clip
        trainer = make_trainer(self.place.folder, length, self.device, 1, "auto", self.precision, clip, callbacks)
        training = loader(self.config, train, True)
        keeper.batches = training.batch_sampler
        steps["planned"] += length.steps
        try:
            fit(trainer, module, training, loader(self.config, validation, False))
        finally:
            steps["made"] = before + trainer.global_step
            self._note(pulse)
        watch.restore(module)
        steps["best"] = before + watch.best_step
        self.curves[name] = before, curve.path.read_text()
        self.model.to(self.device)

    def prepare(self, number: int) -> None:
        """Give the network what a task's learning needs."""
        assert isinstance(self.config.task, ContinualTaskConfig)
        if number and self.config.task.learn == "orthogonal":
            _add_pairs(self.model, number, self.facts)

    def show(self, curves: Mapping[str, tuple[int, str]]) -> None:
        """The curves of earlier tasks, in files and to the mirror."""
        self.curves = dict(curves)
        for name, (before, text) in curves.items():
            self._curve(name, before, ()).load_state_dict({"text": text})

    def _curve(self, name: str, before: int, scores: Sequence[str]) -> MetricsCsvLogger:
        def log(step: int, values: dict[str, float]) -> None:
            self.mirror.log(before + step, {f"{name}/{key}": value for key, value in values.items()})

        return MetricsCsvLogger(self.place.folder / f"metrics_{name}.csv", log, scores)

    def _note(self, pulse: UnusedParameterCheck) -> None:
        names = [name for name, tensor in self.model.named_parameters() if tensor.requires_grad]
        self.trained |= dict.fromkeys(names)
        self.reached |= set(names) - set(pulse.dead)

    @property
    def dead(self) -> list[str]:
        """The trained tensors that never got a gradient; a head gets none from the tasks of others."""
        return [name for name in self.trained if name not in self.reached]


def _add_pairs(model: Network, number: int, facts: Facts) -> None:
    try:
        add_updates(model.base, number)
    except SpecError as error:
        raise ConfigError(f"task.learn=orthogonal: {error}") from None
    facts.ranks = {name: pair.rank for name, pair in named_updates(model.base)}
    facts.scales = {name: pair.scale for name, pair in named_updates(model.base)}


class TaskSnapshots:
    """What is trained, as it was after each task; kept for each of them if they are learned `apart`."""

    def __init__(self, model: Network, apart: bool) -> None:
        self.model, self.apart = model, apart
        self.start = self._now() if apart else {}
        self.states: list[State] = []

    def begin(self) -> None:
        """Before a task: apart, each begins from the same start."""
        if self.apart:
            self._put(self.start)

    def end(self) -> None:
        """After a task."""
        if self.apart:
            self.states.append(self._now())

    def show(self, task: int) -> None:
        """Put what answers a task in its place: apart, its own, or, before it is learned, the newest there is."""
        if self.apart and self.states:
            self._put(self.states[min(task, len(self.states) - 1)])

    def parameters(self) -> int:
        """Adapter and head parameters that have to be kept to answer every task as it was scored."""
        if self.apart:
            # Each task's own head alone: with one for each, a state holds those of the others too.
            return sum(
                tensor.numel()
                for task, state in enumerate(self.states)
                for name, tensor in state.items()
                if not self._others_head(name, task)
            )
        own = [tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad or ".lora_" in name]
        return sum(tensor.numel() for tensor in own)

    def _others_head(self, name: str, task: int) -> bool:
        heads = list(self.model.head) if isinstance(self.model.head, Heads) else []
        return any(name.startswith(f"head.{other}.") for other in heads if other != heads[task])

    def _now(self) -> State:
        return {name: tensor.detach().clone() for name, tensor in self.model.named_parameters() if tensor.requires_grad}

    @torch.no_grad()
    def _put(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in state.items():
            self.model.get_parameter(name).copy_(tensor)
