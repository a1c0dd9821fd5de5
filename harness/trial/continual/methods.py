"""Methods of continual learning: what they add to the network, which rows they train on, and their loss terms."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from harness.config import ConfigError
from harness.lora import (
    InputMoments,
    SpecError,
    add_updates,
    check_plain,
    design_a,
    named_updates,
    overlap,
    updates_of,
    with_inputs,
)
from harness.task import Inputs, check_replay, with_replay
from harness.training import autocast
from harness.trial.inputs import loader
from harness.trial.passes import on_device
from harness.trial.running import RunningTrial


class ContinualMethod:
    """One adapter that is trained further, or one for each task. Others keep the answers that are given here."""

    def __init__(self, trial: RunningTrial, learn: str) -> None:
        self.trial, self.learn, self.names = trial, learn, list(trial.task.parts)

    def prepare(self, number: int) -> None:
        """Give the network what task `number`, counted from 0, trains; also before a checkpoint is taken up."""
        return

    def initialise(self, number: int) -> None:
        """Initialise what the task trains from its rows: the same wherever its training is resumed."""
        return

    def rows(self, number: int) -> Inputs:
        """The rows that the task is trained on."""
        rows: Inputs = self.trial.splits["train"][self.names[number]]
        return rows

    def penalty(self) -> Callable[[], Tensor] | None:
        """Return the term that is added to the loss of every step, or None."""
        return None

    def end(self, number: int) -> None:
        """Keep what later tasks need to know of one that was learned."""
        return

    def state_dict(self) -> dict[str, Tensor]:
        """Return what has been kept so far."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what was kept."""
        return


class AddedUpdates(ContinualMethod):
    """Each task has an update of its own beside the frozen ones of earlier tasks; orthogonal to them by a penalty."""

    def prepare(self, number: int) -> None:
        network = self.trial.model.base
        try:
            check_plain(network)
            if number:
                add_updates(network, number)
        except SpecError as error:
            raise ConfigError(f"task.learn={self.learn}: {error}") from None
        if number:
            self._note_updates()

    def penalty(self) -> Callable[[], Tensor] | None:
        weight = self.trial.config.task.overlap_penalty
        return None if weight is None else partial(_overlap, self.trial, weight)

    def _note_updates(self) -> None:
        draft, updates = self.trial.draft, dict(named_updates(self.trial.model.base))
        ranks = {name: update.rank for name, update in updates.items()}
        scales = {name: update.scale for name, update in updates.items()}
        draft.record = replace(draft.record, adapter=replace(draft.record.adapter, ranks=ranks, scales=scales))


class InfLora(AddedUpdates):
    """InfLoRA: A is computed from the task's inputs, without the directions kept from earlier tasks."""

    def __init__(self, trial: RunningTrial, learn: str) -> None:
        super().__init__(trial, learn)
        settings = trial.config.task.input_memory
        assert settings is not None
        self.share, self.looked_at = settings
        self.memory: dict[str, Tensor] = {}

    def prepare(self, number: int) -> None:
        super().prepare(number)
        for update in updates_of(self.trial.model.base):
            update.lora_A.requires_grad_(False)

    def initialise(self, number: int) -> None:
        design_a(self.trial.model.base, self._inputs(number), self.memory)

    def end(self, number: int) -> None:
        if number + 1 < len(self.names):
            share = self.share + (1 - self.share) * number / len(self.names)
            self.memory = with_inputs(self.memory, self._inputs(number), share)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: directions.cpu() for name, directions in self.memory.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.memory = on_device(state, self.trial.device)

    @torch.no_grad()
    def _inputs(self, number: int) -> dict[str, Tensor]:
        """H Hᵀ of every adapted layer on training rows of the task, drawn by the seed, in evaluation mode."""
        trial, model, size = self.trial, self.trial.model, self.trial.config.trainer.batch_size
        batches = loader(super().rows(number), size, trial.config.seed, training=True)  # a file may be sorted
        mode = model.training
        model.eval()
        with InputMoments(model.base) as seen, autocast(trial.precision, trial.device):
            for batch in itertools.islice(batches, -(-self.looked_at // size)):
                placed = on_device(batch, trial.device)
                seen.mask = placed.get("mask")
                model(placed)
        model.train(mode)
        return seen.found


class Replay(ContinualMethod):
    """Experience replay (Chaudhry et al., 2019): to each batch come as many rows kept of earlier tasks."""

    def __init__(self, trial: RunningTrial, learn: str) -> None:
        super().__init__(trial, learn)
        check_replay([super(Replay, self).rows(task) for task in range(len(self.names))])

    def rows(self, number: int) -> Inputs:
        kept = self.trial.config.task.replayed_rows
        assert kept is not None
        earlier = [super(Replay, self).rows(task) for task in range(number)]
        return with_replay(super().rows(number), earlier, kept=kept, seed=self.trial.config.seed)


_METHODS: dict[str, type[ContinualMethod]] = {
    "continued": ContinualMethod,
    "separate": ContinualMethod,
    "orthogonal": AddedUpdates,
    "inflora": InfLora,
    "replay": Replay,
}


def continual_method(trial: RunningTrial, learn: str) -> ContinualMethod:
    """The method that `task.learn` names."""
    return _METHODS[learn](trial, learn)


def _overlap(trial: RunningTrial, weight: float) -> Tensor:
    return weight * overlap(trial.model.base)
