"""Batches whose rows are of several tasks: how they are drawn, joined, and what each task's loss in them is.

Shapes: B rows, L the longest of them, W labels of the row that has most, C outputs of the largest head, T tasks.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Sampler

from harness.config import ConfigError, LabelSets, TokenClasses
from harness.task.ignored import IGNORED
from harness.task.sampling import LengthBatches


class MixedBatches(Sampler[list[int]]):
    """Batches of `batch_size` rows, shared out over the tasks anew in each; row numbers go on from task to task.

    With `weights` each row's task is drawn by them; without, every task has as many rows, those that are left over
    going round. Within a task every row comes before one comes again. The order is a function of (seed, epoch) alone.
    With several devices (`world`), each process takes every world-th batch.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_size: int,
        seed: int,
        weights: np.ndarray | None,
        *,
        process_index: int = 0,
        world: int = 1,
    ) -> None:
        self.sizes, self.batch_size, self.seed, self.weights = tuple(sizes), batch_size, seed, weights
        self.process_index, self.world = process_index, world
        self.starts = np.cumsum([0, *sizes])
        self.epoch = self.skip = 0

    def resume_at(self, batches: int) -> None:
        """Begin as if so many batches had been drawn."""
        self.epoch, self.skip = divmod(batches, len(self))

    def __len__(self) -> int:
        return -(-sum(self.sizes) // self.batch_size) // self.world

    def __iter__(self) -> Iterator[list[int]]:
        epoch, skip = self.epoch, self.skip
        self.epoch, self.skip = epoch + 1, 0
        rows = [self._rows(task, epoch) for task in range(len(self.sizes))]
        draw = np.random.default_rng([self.seed, epoch, len(self.sizes), self.batch_size])
        for place in range(len(self) * self.world):
            counts = self._counts(place, draw)
            batch = [
                int(self.starts[task]) + next(rows[task]) for task, count in enumerate(counts) for _ in range(count)
            ]
            if place % self.world == self.process_index and place // self.world >= skip:
                yield batch

    def _counts(self, place: int, draw: np.random.Generator) -> list[int]:
        tasks = len(self.sizes)
        if self.weights is not None:
            return [int(count) for count in draw.multinomial(self.batch_size, self.weights)]
        least, over = divmod(self.batch_size, tasks)
        first = place * over % tasks
        return [least + ((task - first) % tasks < over) for task in range(tasks)]

    def _rows(self, task: int, epoch: int) -> Iterator[int]:
        """A task's rows without end."""
        passes = LengthBatches(np.ones(self.sizes[task], dtype=np.int64), 1, self.seed, shuffle=True)
        passes.epoch = epoch * (sum(self.sizes) + 1)
        return (row for (row,) in itertools.chain.from_iterable(itertools.repeat(passes)))


_OF_SCORES = ("groups", "tags", "places")  # what only scores are of, each task's by itself


def joined(
    batches: Sequence[Mapping[str, Tensor]],
    padding: Mapping[str, int],
    asked: str = "task.batches=mixed",
    instead: str = "task.batches=one_task",
) -> dict[str, Tensor]:
    """Batches of several tasks as one: what is shorter is padded at its end, labels of classes become numbers too.

    Where some rows have several labels, or one for each token, all have as many (B, W), IGNORED behind their own.
    Beside rows of two texts those of one are of a first text; images of one channel become three alike.

    Raises ConfigError where the tasks' rows have not the same inputs: with the setting that `asked` for it, and the one
    that can be had `instead`.
    """
    batches = _alike([{key: each for key, each in batch.items() if key not in _OF_SCORES} for batch in batches])
    if any(set(batch) != set(batches[0]) for batch in batches):
        raise ConfigError(f"{asked}: for tasks of like inputs; {instead}")
    pads = {**padding, "labels": IGNORED}
    return {name: _joined([batch[name] for batch in batches], pads.get(name, 0)) for name in batches[0]}


def _alike(batches: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """With as many dimensions of labels, as many channels of images, and types of tokens where some have them."""
    found = [dict(batch) for batch in batches]
    if any("types" in batch for batch in found):
        found = [{"types": torch.zeros_like(batch["ids"])} | batch if "ids" in batch else batch for batch in found]
    if any(batch["labels"].ndim > 1 for batch in found):
        found = [batch | {"labels": batch["labels"].view(len(batch["labels"]), -1)} for batch in found]
    if len({batch["images"].shape[1] for batch in found if "images" in batch}) > 1:
        found = [batch | {"images": batch["images"].expand(-1, 3, -1, -1)} for batch in found]
    return found


def _joined(tensors: Sequence[Tensor], pad: int) -> Tensor:
    if tensors[0].ndim > 1:
        longest = max(tensor.shape[1] for tensor in tensors)
        end = [0, 0] * (tensors[0].ndim - 2)
        tensors = [F.pad(tensor, (*end, 0, longest - tensor.shape[1]), value=pad) for tensor in tensors]
    if len({tensor.dtype for tensor in tensors}) > 1:
        tensors = [tensor.double() for tensor in tensors]  # exact for numbers of classes
    return torch.cat(list(tensors))


def losses_by_task(heads: Sequence[int], outputs: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The mean loss of each task that rows of outputs (B, C), or (B, L, C), are of, and the numbers of these tasks.

    `heads` are the outputs of each task's head; 1: numbers, by the squared error. What stands behind a row's own
    outputs and labels is of other tasks.
    """
    numbers, found = batch["tasks"].unique(), []
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    for task in numbers.tolist():
        mine = batch["tasks"] == task
        found.append(_mean_loss(heads[task], outputs[mine][..., : heads[task]], batch["labels"][mine]))
    return torch.stack(found), numbers


def _mean_loss(head: int, outputs: Tensor, labels: Tensor) -> Tensor:
    if isinstance(head, TokenClasses):
        length = min(outputs.shape[1], labels.shape[1])  # behind it there are no labels of its tokens
        return F.cross_entropy(outputs[:, :length].flatten(0, 1), labels[:, :length].flatten().long())
    answers = outputs if outputs.ndim == 2 else outputs[:, 0]
    if isinstance(head, LabelSets):
        return F.binary_cross_entropy_with_logits(answers, labels[:, :head].to(answers.dtype))
    label = labels if labels.ndim == 1 else labels[:, 0]
    if head == 1:
        return F.mse_loss(answers.squeeze(-1), label.to(answers.dtype))
    return F.cross_entropy(answers, label.long())
