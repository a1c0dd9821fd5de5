"""The life of a trial over a sequence of tasks: one is learned after another, and after each all of them are scored."""

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from harness import tracking
from harness.analysis import summary
from harness.artifacts import save_trained, saved_files
from harness.config import Config, ConfigError, ContinualTaskConfig
from harness.inputs import loader, read_inputs
from harness.lora import SpecError, add_pairs, effective_ranks, named_pairs, overlap
from harness.model import Heads, Network, build_model
from harness.network import compare_merged
from harness.task import Inputs, OneOfTasks, TaskSequence
from harness.training import Curve, Guard, Meters, Plan, Pruned, Pulse, Watch, fit, make_trainer, plan, test
from harness.trial.single import (
    BEST,
    Facts,
    Place,
    Report,
    adapt_and_count,
    make_module,
    measure,
    on_device,
    open_trial,
    probe,
)

Splits = dict[str, dict[str, Inputs]]  # split -> task -> its rows
State = dict[str, Tensor]


def live_sequence(config: Config, place: Place, report: Report, mirror: tracking.Mirror, facts: Facts) -> None:
    """The life of a trial on one screen; `report` hears the mean validation scores of all tasks after each of them."""
    task, device, precision = open_trial(config, facts)
    assert isinstance(task, TaskSequence)
    assert isinstance(config.task, ContinualTaskConfig)
    meters = Meters(device)
    model = build_model(config.model, task.outputs).to(device)
    splits = _splits(config, task)
    probe(config, model, device, facts, "before")
    adapt_and_count(config, model, next(iter(splits["train"].values())), device, precision, facts)
    state = Kept(model, apart=config.task.learn == "separate")
    exam = Exam(config, model, task, splits, state, device, precision, place.folder)
    names = list(task.parts)
    facts.sequence = {"tasks": names, "learn": config.task.learn, "heads": config.task.heads}
    facts.steps = {"planned": 0, "made": 0, "best": 0}
    lessons = Lessons(config, model, task, splits, place, facts, mirror, meters, device, precision)
    started = time.perf_counter()
    try:
        exam.sit(learned=0)
        for number, name in enumerate(names):
            state.begin()
            if number and config.task.learn == "orthogonal":
                _add_pairs(model, number, facts)
            lessons.give(name)
            state.end()
            scores = exam.sit(learned=number + 1)
            if report(facts.steps["made"], scores) and number + 1 < len(names):
                raise Pruned(f"below the median of its arm after {name}")
    finally:
        facts.time = {**meters.clock.summary(), "train_s": time.perf_counter() - started}
        facts.memory, facts.dead = meters.parts, lessons.dead
        facts.scores = {split: dict(rows[-1]) for split, rows in exam.rows.items() if rows}
        facts.sequence |= exam.matrices()
    probe(config, model, device, facts, "after")
    facts.sequence |= asdict(summary(facts.sequence["test"])) | {"overlap": float(overlap(model.base).detach())}
    facts.sequence["kept"] = state.parameters()
    facts.effective_ranks = effective_ranks(model.base)
    facts.adapter = _save(config, model, names, state, place.folder)
    exam.save(place.folder / "predictions.csv")
    last = splits["test"][names[-1]]
    facts.merge = compare_merged(
        model.to(device), on_device(last.batch(last.sample(config.trainer.batch_size)), device)
    )


def _splits(config: Config, task: TaskSequence) -> Splits:
    """Every split of every task, its batches numbered."""
    assert isinstance(config.task, ContinualTaskConfig)
    alone = {name: replace(config, task=part) for name, part in config.task.chosen.items()}
    return {
        split: {
            name: OneOfTasks(read_inputs(alone[name], part, split), number)
            for number, (name, part) in enumerate(task.parts.items())
        }
        for split in ("train", "validation", "test")
    }


def _add_pairs(model: Network, number: int, facts: Facts) -> None:
    try:
        add_pairs(model.base, number)
    except SpecError as error:
        raise ConfigError(f"task.learn=orthogonal: {error}") from None
    facts.ranks = {name: pair.rank for name, pair in named_pairs(model.base)}
    facts.scales = {name: pair.scale for name, pair in named_pairs(model.base)}


@dataclass
class Lessons:
    """Fits one task after another. `reached` are the trained tensors that got a gradient in any of them."""

    config: Config
    model: Network
    task: TaskSequence
    splits: Splits
    place: Place
    facts: Facts
    mirror: tracking.Mirror
    meters: Meters
    device: torch.device
    precision: str
    trained: dict[str, None] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)

    def give(self, name: str) -> None:
        """Fit a task, with an optimiser and a schedule of its own, and leave the weights of its best evaluation."""
        trainer_config, steps = self.config.trainer, self.facts.steps
        train, validation = self.splits["train"][name], self.splits["validation"][name]
        batches = -(-len(train) // trainer_config.batch_size)
        length = plan(batches, trainer_config.epochs, trainer_config.max_steps, trainer_config.evaluations)
        module = make_module(self.config, self.model, measure(self.task.parts[name]), length.steps, self.precision)
        by_accuracy = trainer_config.objective == "score" and "accuracy" in module.measure.names
        objective = "accuracy" if by_accuracy else "loss"
        watch = Watch(objective, trainer_config.patience, lambda *_: False, self.place.folder / BEST)
        pulse, curve = Pulse(), self._curve(name, module.measure.names)
        callbacks: list[L.Callback] = [Guard(), self.meters, pulse, curve, watch]
        clip = self.config.optimizer.clip
        trainer = make_trainer(self.place.folder, length, self.device, 1, "auto", self.precision, clip, callbacks)
        before = steps["made"]
        steps["planned"] += length.steps
        try:
            fit(trainer, module, loader(self.config, train, True), loader(self.config, validation, False))
        finally:
            steps["made"] = before + trainer.global_step
            self._note(pulse)
        watch.restore(module)
        steps["best"] = before + watch.best_step
        self.model.to(self.device)

    def _curve(self, name: str, scores: Sequence[str]) -> Curve:
        before = self.facts.steps["made"]

        def log(step: int, values: dict[str, float]) -> None:
            self.mirror.log(before + step, {f"{name}/{key}": value for key, value in values.items()})

        return Curve(self.place.folder / f"metrics_{name}.csv", log, scores)

    def _note(self, pulse: Pulse) -> None:
        names = [name for name, tensor in self.model.named_parameters() if tensor.requires_grad]
        self.trained |= dict.fromkeys(names)
        self.reached |= set(names) - set(pulse.dead)

    @property
    def dead(self) -> list[str]:
        """The trained tensors that never got a gradient; a head gets none from the tasks of others."""
        return [name for name in self.trained if name not in self.reached]


class Kept:
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


class Exam:
    """Scores every task on validation and test, and keeps what was predicted for each test item."""

    def __init__(
        self,
        config: Config,
        model: Network,
        task: TaskSequence,
        splits: Splits,
        state: Kept,
        device: torch.device,
        precision: str,
        folder: Path,
    ) -> None:
        self.config, self.model, self.state, self.device = config, model, state, device
        self.trainer = make_trainer(folder, Plan(1, 1), device, 1, "auto", precision, None, [Guard()])
        self.modules = {
            name: make_module(config, model, measure(part), 1, precision) for name, part in task.parts.items()
        }
        self.splits = {"val": splits["validation"], "test": splits["test"]}
        self.rows: dict[str, list[dict[str, float]]] = {"val": [], "test": []}
        self.predictions: list[list[float]] = []

    def sit(self, learned: int) -> dict[str, float]:
        """A row of both matrices, after `learned` tasks; returns the validation scores."""
        found: dict[str, dict[str, dict[str, float]]] = {"val": {}, "test": {}}
        for number, (name, module) in enumerate(self.modules.items()):
            self.state.show(number)
            for split, inputs in self.splits.items():
                found[split][name] = test(self.trainer, module, loader(self.config, inputs[name], False))
            self._keep(learned, number, module)
        for split, scores in found.items():
            self.rows[split].append(_joined(scores))
        self.model.to(self.device)
        return self.rows["val"][-1]

    def _keep(self, learned: int, number: int, module: Any) -> None:
        for rows, items in module.predictions:
            both = zip(rows.tolist(), items.tolist(), strict=True)
            self.predictions += [[learned, number, row, *item] for row, item in both]

    def matrices(self) -> dict[str, list[list[float]]]:
        """R of each split: a row for the start and for each task learned, a column for each task."""
        return {
            split: [[_score(row, name) for name in self.modules] for row in rows] for split, rows in self.rows.items()
        }

    def save(self, path: Path) -> None:
        """One line for each test item and each row of the matrix."""
        with open(path, "w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["learned", "task", "row", "label", "predicted"])
            table.writerows(sorted(self.predictions))


def _score(row: Mapping[str, float], name: str) -> float:
    return row.get(f"{name}/accuracy", row.get(f"{name}/r2", 0.0))


def _joined(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """As a mixture's: means over the tasks, and each task's own."""
    flat = {f"{name}/{key}": value for name, own in scores.items() for key, value in own.items()}
    means = {
        "score": sum(_score(flat, name) for name in scores) / len(scores),
        "loss": sum(flat[f"{name}/loss"] for name in scores) / len(scores),
    }
    return means | flat


def _save(config: Config, model: Network, names: list[str], state: Kept, folder: Path) -> dict[str, Any]:
    """The adapter and the head as they are in the end, or, learned apart, those of each task in a folder of its own."""
    target = folder / "adapter"
    target.mkdir(exist_ok=True)
    if not state.apart:
        save_trained(config, model, target)
    for number, name in enumerate(names if state.apart else ()):
        state.show(number)
        (target / name).mkdir()
        save_trained(config, model, target / name)
    return saved_files(folder)
