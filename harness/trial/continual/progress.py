"""How far a trial over a sequence of tasks has come, in and out of a checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from harness.model import Network
from harness.system.signals import Interrupted
from harness.training import Checkpoints, random_state, set_random_state
from harness.trial.continual.evaluation import ContinualEvaluation
from harness.trial.continual.learning import ContinualTraining, State, TaskSnapshots
from harness.trial.single import Report


class ContinualCheckpoint:
    """How far a sequence has come. A checkpoint holds it beside the lesson under way, or, in an exam, by itself."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        model: Network,
        kept: TaskSnapshots,
        exam: ContinualEvaluation,
        lessons: ContinualTraining,
    ) -> None:
        self.checkpoints, self.model, self.kept, self.exam, self.lessons = checkpoints, model, kept, exam, lessons
        self.learned = 0
        self.reported: list[int] = []  # the steps made at each exam
        self._noted: dict[str, Any] = {}

    def note(self, learned: int) -> None:
        """Remember how things stand between a lesson and an exam, where nothing is under way."""
        self._noted = {
            "learned": learned,
            "states": list(self.kept.states),
            "rows": {split: list(rows) for split, rows in self.exam.rows.items()},
            "predictions": list(self.exam.predictions),
            "reported": list(self.reported),
            "steps": dict(self.lessons.facts.steps),
            "trained": list(self.lessons.trained),
            "reached": sorted(self.lessons.reached),
            "curves": dict(self.lessons.curves),
            "meters": self.lessons.meters.state_dict(),
            "random": random_state(),
        }

    def beside(self) -> dict[str, Any]:
        """What a checkpoint needs beside the lesson under way: earlier pairs are frozen, and no part of it."""
        frozen = {name: tensor for name, tensor in self._learned() if not tensor.requires_grad}
        return {"sequence": self._noted | {"weights": _on_cpu(frozen)}}

    @contextmanager
    def holding(self, learned: int) -> Iterator[None]:
        """Around an exam: interrupted there, the trial goes on from its beginning."""
        self.note(learned)
        try:
            yield
        except Interrupted:
            weights = _on_cpu(dict(self._learned()) | dict(self.model.named_buffers()))
            state = {"step": self.lessons.facts.steps["made"], "sequence": self._noted | {"weights": weights}}
            self.checkpoints.save(state)
            raise

    def take_up(self, report: Report) -> dict[str, Any]:
        """Put everything back as it was noted; who listens hears of all exams again. Returns the lesson under way."""
        state = self.checkpoints.load()
        if not state:
            return {}
        noted = state.pop("sequence")
        self.learned, self.reported = noted["learned"], noted["reported"]
        for number in range(self.learned):
            self.lessons.prepare(number)
        self._put_back(noted["weights"])
        self.kept.states = [_beside(self.model, kept) for kept in noted["states"]]
        self.exam.rows, self.exam.predictions = noted["rows"], noted["predictions"]
        self.lessons.facts.steps |= noted["steps"] | {"resumed": state["step"]}
        self.lessons.trained, self.lessons.reached = dict.fromkeys(noted["trained"]), set(noted["reached"])
        self.lessons.meters.load_state_dict(noted["meters"])
        self.lessons.show(noted["curves"])
        for made, scores in list(zip(self.reported, self.exam.rows["val"], strict=True))[1:]:
            report(made, scores)
        set_random_state(noted["random"])
        return state if "loops" in state else {}

    def _learned(self) -> Iterator[tuple[str, Tensor]]:
        """What is trained, and the pairs that were."""
        for name, tensor in self.model.named_parameters():
            if tensor.requires_grad or ".lora_" in name:
                yield name, tensor

    @torch.no_grad()
    def _put_back(self, weights: State) -> None:
        own = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        for name, tensor in weights.items():
            own[name].copy_(tensor)


def _on_cpu(state: State) -> State:
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


def _beside(model: Network, state: State) -> State:
    return {name: tensor.to(model.get_parameter(name).device) for name, tensor in state.items()}
