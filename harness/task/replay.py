"""Rows kept of earlier tasks, which come to each batch of a new one (experience replay; Chaudhry et al., 2019)."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor
from torch.utils.data import Sampler

from harness.config.tasks.several import WITHOUT_REPLAY
from harness.task.base import Inputs, Losses
from harness.task.mixed_batches import joined, losses_by_task
from harness.task.sampling import LengthBatches
from harness.task.wrapped_inputs import WrappedInputs


class ReplayInputs(WrappedInputs):
    """The rows of a task; to a training batch come as many that are drawn of `kept`: pairs of a part and its row.

    The draw is a function of (seed, the batch's rows, the epoch) alone, so that a trial resumed anywhere sees the same.
    """

    def __init__(self, own: Inputs, earlier: Sequence[Inputs], kept: Sequence[tuple[int, int]], seed: int) -> None:
        super().__init__(own)
        self.earlier, self.kept, self.seed = earlier, kept, seed

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The batch of 2·B rows, those of one task together; `rows` are the numbers in their own splits.

        Behind them may stand the number of the epoch, as −1 − epoch.
        """
        draw = np.random.default_rng([self.seed, *(row if row >= 0 else -row for row in rows)])
        rows = [row for row in rows if row >= 0]
        places = draw.choice(len(self.kept), len(rows), replace=len(rows) > len(self.kept))
        batches = [self.own.training_batch(rows)]
        chosen = sorted(self.kept[place] for place in places.tolist())
        for part, mine in itertools.groupby(chosen, key=lambda pair: pair[0]):
            batches.append(self.earlier[part].training_batch([row for _, row in mine]))
        return _joined(batches, self.padding)

    def batches(
        self, size: int, seed: int, *, shuffle: bool, process_index: int, world: int, rows: int | None
    ) -> Sampler[list[int]]:
        """In training with the number of the epoch in each batch, from the second on."""
        kind = _OfEpochs if shuffle else LengthBatches
        return kind(self.lengths[:rows], size, seed, shuffle=shuffle, process_index=process_index, world=world)


class _OfEpochs(LengthBatches):
    """Batches that end in −1 − epoch but in the first epoch: rows that come together again are told apart by it."""

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self.epoch
        for rows in super().__iter__():
            yield [*rows, -1 - epoch] if epoch else rows


def check_replay(parts: Sequence[Inputs]) -> None:
    """Raises ConfigError where rows of the tasks do not go into one batch."""
    _joined([part.training_batch([0]) for part in parts], parts[0].padding)


def _joined(batches: Sequence[Mapping[str, Tensor]], padding: Mapping[str, int]) -> dict[str, Tensor]:
    return joined(batches, padding, asked="task.learn=replay", instead=WITHOUT_REPLAY)


def with_replay(own: Inputs, earlier: Sequence[Inputs], *, kept: int, seed: int) -> Inputs:
    """The rows of a task with `kept` rows of each earlier one, drawn by the seed; the first task's rows as they are."""
    if not earlier:
        return own
    rows = [
        (part, int(row))
        for part, inputs in enumerate(earlier)
        for row in np.random.default_rng([seed, part]).permutation(len(inputs))[:kept]
    ]
    return ReplayInputs(own, earlier, rows, seed)


def losses_of_rows(outputs: Sequence[int]) -> Losses:
    """The mean loss over all rows of a batch, whatever tasks they are of; `outputs` are those of each task's head."""
    return partial(_mean_of_rows, outputs)


def _mean_of_rows(heads: Sequence[int], outputs: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    losses_T, numbers_T = losses_by_task(heads, outputs, batch)
    shares_T = (batch["tasks"] == numbers_T[:, None]).float().mean(1)
    return (losses_T * shares_T).sum()[None], numbers_T[:1]
