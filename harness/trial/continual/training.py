"""The training of tasks one after another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.training import (
    BestCheckpoint,
    Callback,
    CheckpointCallback,
    Checkpoints,
    DivergenceCheck,
    MetricsCsvLogger,
    Trainer,
    TrialModule,
    UnusedParameterCheck,
    make_fabric,
    plan,
)
from harness.trial.context import BEST
from harness.trial.continual.methods import ContinualMethod
from harness.trial.running import RunningTrial, make_module


class ContinualTraining:
    """Fits one task after another. `reached` are the trained tensors that got a gradient in any of them.

    `curves` has of each task the steps before it, and the text of its file of metrics.
    """

    def __init__(self, trial: RunningTrial, checkpoints: Checkpoints, method: ContinualMethod) -> None:
        self.trial, self.checkpoints, self.tasks = trial, checkpoints, trial.task.parts
        self.method = method
        self.trained: dict[str, None] = {}
        self.reached: set[str] = set()
        self.curves: dict[str, tuple[int, str]] = {}

    def train_task(self, number: int, under_way: dict[str, Any], extra: Callable[[], dict[str, Any]]) -> None:
        """Fit a task, with an optimiser and a schedule of its own, and leave the weights of its best evaluation.

        It goes on from where it was put down, if it is `under_way`; `extra` says what else a checkpoint has to hold.
        """
        self.method.prepare(number)
        self.method.initialise(number)
        trial, name = self.trial, list(self.tasks)[number]
        settings, draft, before = trial.config.trainer, trial.draft, trial.draft.record.steps.made
        train, validation = self.method.rows(number), trial.splits["validation"][name]
        batches = -(-len(train) // settings.rows_of_step)
        length = plan(batches, settings.epochs, settings.max_steps, settings.evaluations, round_up=settings.round_up)
        module = self._module(name, length.steps)
        unused, curve = UnusedParameterCheck(), self._curve(name, before, module.metrics.names)
        checkpoint_callback = CheckpointCallback(self.checkpoints, under_way, before, extra)
        best = self._best_checkpoint(module)
        watching: list[Callback] = [DivergenceCheck(), trial.meter, unused, curve]
        callbacks = [checkpoint_callback, *watching, best]
        trainer = Trainer(make_fabric(trial.device, trial.precision), length, callbacks, trial.config.optimizer.clip)
        training = trial.training_batches(train)
        checkpoint_callback.batch_sampler = training.batch_sampler
        steps = replace(draft.record.steps, planned=draft.record.steps.planned + length.steps)
        try:
            trainer.fit(module, training, trial.evaluation_batches(validation))
        finally:
            steps = replace(steps, made=before + trainer.step)
            draft.record = replace(draft.record, steps=steps)
            self._note(unused)
        best.restore(module)
        draft.record = replace(draft.record, steps=replace(steps, best=before + best.best_step))
        self.curves[name] = before, curve.path.read_text()
        trial.model.to(trial.device)
        self.method.end(number)

    def show(self, curves: Mapping[str, tuple[int, str]]) -> None:
        """The curves of earlier tasks, in files and to the mirror."""
        self.curves = dict(curves)
        for name, (before, text) in curves.items():
            self._curve(name, before, ()).load_state_dict({"text": text})

    @property
    def dead(self) -> list[str]:
        """The trained tensors that never got a gradient; a head gets none from the tasks of others."""
        return [name for name in self.trained if name not in self.reached]

    def _module(self, name: str, steps: int) -> TrialModule:
        metrics, penalty = self.tasks[name].metrics(), self.method.penalty()
        return make_module(self.trial, self.trial.model, metrics, steps, penalty=penalty)

    def _best_checkpoint(self, module: TrialModule) -> BestCheckpoint:
        by_accuracy = self.trial.config.trainer.objective == "score" and "accuracy" in module.metrics.names
        objective = "accuracy" if by_accuracy else "loss"
        patience = self.trial.config.trainer.patience
        return BestCheckpoint(objective, self.trial.context.folder / BEST, patience=patience)

    def _curve(self, name: str, before: int, scores: Sequence[str]) -> MetricsCsvLogger:
        def log(step: int, values: dict[str, float]) -> None:
            self.trial.mirror.log(before + step, {f"{name}/{key}": value for key, value in values.items()})

        return MetricsCsvLogger(self.trial.context.folder / f"metrics_{name}.csv", log, scores)

    def _note(self, unused: UnusedParameterCheck) -> None:
        names = [name for name, tensor in self.trial.model.named_parameters() if tensor.requires_grad]
        self.trained |= dict.fromkeys(names)
        self.reached |= set(names) - set(unused.unused)
