"""The progress of a continual-learning trial, saved to and restored from a checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.model import Network
from harness.record import Steps, plain
from harness.system.signals import Interrupted
from harness.training import Checkpoints, random_state, set_random_state
from harness.trial.context import Report
from harness.trial.continual.evaluation import ContinualEvaluation
from harness.trial.continual.snapshots import State, TaskSnapshots
from harness.trial.continual.training import ContinualTraining


class ContinualCheckpoint:
    """The part of a checkpoint beside the task that is being trained, or all of it in an evaluation."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        model: Network,
        snapshots: TaskSnapshots,
        evaluation: ContinualEvaluation,
        training: ContinualTraining,
    ) -> None:
        self.checkpoints, self.model, self.snapshots = checkpoints, model, snapshots
        self.evaluation, self.training = evaluation, training
        self.draft, self.meter = training.trial.draft, training.trial.meter
        self.learned = 0
        self.reported: list[int] = []  # the steps made at each evaluation
        self._state: dict[str, Any] = {}

    def snapshot(self, learned: int) -> None:
        """Remember how things stand between a task's training and an evaluation, where nothing is under way."""
        self._state = {
            "learned": learned,
            "states": list(self.snapshots.states),
            "rows": {split: list(rows) for split, rows in self.evaluation.rows.items()},
            "predictions": list(self.evaluation.predictions),
            "reported": list(self.reported),
            "steps": plain(self.draft.record.steps),
            "trained": list(self.training.trained),
            "reached": sorted(self.training.reached),
            "curves": dict(self.training.curves),
            "method": self.training.method.state_dict(),
            "meters": self.meter.state_dict(),
            "random": random_state(),
        }

    def extra(self) -> dict[str, Any]:
        """Return the state beside the current task's: earlier updates are frozen and not part of that."""
        frozen = {name: tensor for name, tensor in self._learned() if not tensor.requires_grad}
        return {"continual": self._state | {"weights": _on_cpu(frozen)}}

    @contextmanager
    def guard(self, learned: int) -> Iterator[None]:
        """Around an evaluation: interrupted there, the trial goes on from its beginning."""
        self.snapshot(learned)
        try:
            yield
        except Interrupted:
            weights = _on_cpu(dict(self._learned()) | dict(self.model.named_buffers()))
            self.checkpoints.save(
                {"step": self.draft.record.steps.made, "continual": self._state | {"weights": weights}}
            )
            raise

    def restore(self, report: Report) -> dict[str, Any]:
        """Put everything back as it was; who listens hears of all evaluations again. Returns the task under way."""
        state = self.checkpoints.load()
        if not state:
            return {}
        kept = state.pop("continual")
        self.learned, self.reported = kept["learned"], kept["reported"]
        for number in range(self.learned):
            self.training.method.prepare(number)
        self._put_back(kept["weights"])
        self.training.method.load_state_dict(kept.get("method", {}))
        self.snapshots.states = [_beside(self.model, each) for each in kept["states"]]
        self.evaluation.rows, self.evaluation.predictions = kept["rows"], kept["predictions"]
        steps = replace(Steps.read(kept["steps"]), resumed=state["step"])
        self.draft.record = replace(self.draft.record, steps=steps)
        self.training.trained, self.training.reached = dict.fromkeys(kept["trained"]), set(kept["reached"])
        self.meter.load_state_dict(kept["meters"])
        self.training.show(kept["curves"])
        for made, scores in list(zip(self.reported, self.evaluation.rows["val"], strict=True))[1:]:
            report(made, scores)
        set_random_state(kept["random"])
        return state if "weights" in state else {}

    def _learned(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the trained tensors, and the earlier updates."""
        for name, tensor in self.model.named_parameters():
            if tensor.requires_grad or ".lora_" in name:
                yield name, tensor

    @torch.no_grad()
    def _put_back(self, weights: State) -> None:
        own = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        for name, tensor in weights.items():
            if name in own:  # the A of a task under way that is not trained is computed again
                own[name].copy_(tensor)


def _on_cpu(state: State) -> State:
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


def _beside(model: Network, state: State) -> State:
    return {name: tensor.to(model.get_parameter(name).device) for name, tensor in state.items()}
