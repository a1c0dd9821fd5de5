"""Several tasks as one: their parts, their rows in one numbering, and batches that are each of one task."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from harness.config import MixtureTaskConfig, Tokens
from harness.task.base import Inputs, Losses, Task
from harness.task.constants import Batches
from harness.task.mixed_batches import MixedBatches, joined, losses_by_task
from harness.task.sampling import LengthBatches
from harness.task.several import SeveralTasks, read_parts

if TYPE_CHECKING:
    from harness.task.metrics import Metrics

Sampling = Literal["round_robin", "root_size", "by_size"]


@dataclasses.dataclass(frozen=True)
class MixtureTask(SeveralTasks):
    """Tasks that are learned at once."""

    name: str
    parts: dict[str, Task]
    sampling: Sampling
    temperature: float | None = None
    mixed: bool = False
    alone: Mapping[str, float] | None = None

    @property
    def losses(self) -> Losses | None:
        return partial(losses_by_task, list(self.outputs.values())) if self.mixed else None

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def outputs(self) -> dict[str, int]:
        """The outputs of each task's head."""
        return self.head_outputs()

    def inputs(self, split: str, tokens: Tokens | None) -> "MixtureInputs":
        parts = [part.inputs(split, tokens) for part in self.parts.values()]
        return MixtureInputs(parts, self.sampling, self.temperature, self.mixed)

    def metrics(self) -> "Metrics":
        from harness.task.alone_metrics import MetricsAgainstAlone
        from harness.task.metrics import MixtureMetrics, share_name

        parts = {name: part.metrics() for name, part in self.parts.items()}
        together = MixtureMetrics(parts)
        if self.alone is None:
            return together
        shares = {f"{name}/{share_name(name, part)}": (self.alone[name], False) for name, part in parts.items()}
        return MetricsAgainstAlone(together, shares)

    def constants(self, split: str) -> Mapping[str, Batches]:
        """Return the constant answers of each task."""
        found = [next(iter(part.constants(split).values()), None) for part in self.parts.values()]
        if None in found:
            return {}
        return {
            "always answering the same to a task": [
                (outputs, {**batch, "tasks": torch.full((len(outputs),), number)})
                for number, batches in enumerate(found)
                for outputs, batch in batches or ()
            ]
        }


def read_mixture(config: MixtureTaskConfig) -> MixtureTask:
    """Read every chosen task. Raises ConfigError where one is trained on what another is scored on."""
    parts = read_parts(config.chosen)
    mixed = config.batches == "mixed"
    return MixtureTask(config.name, parts, config.sampling, config.temperature, mixed, config.alone)


def task_weights(sizes: Sequence[int], temperature: float | None) -> np.ndarray:
    """Return each task's frequency, by the root of its size or its 1/`temperature`-th power; they add up to 1."""
    weights = np.sqrt(sizes) if temperature is None else np.array(sizes) ** (1 / temperature)
    return np.asarray(weights / weights.sum())


class MixtureInputs(Inputs):
    """One split of several tasks, end to end: row numbers go on from one task to the next."""

    def __init__(
        self, parts: Sequence[Inputs], sampling: Sampling, temperature: float | None = None, mixed: bool = False
    ) -> None:
        self.parts, self.sampling, self.temperature, self.mixed = tuple(parts), sampling, temperature, mixed
        self.starts = np.cumsum([0, *map(len, self.parts)])

    @property
    def lengths(self) -> np.ndarray:
        return np.concatenate([part.lengths for part in self.parts])

    @property
    def training_lengths(self) -> np.ndarray:
        return np.concatenate([part.training_lengths for part in self.parts])

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The batches of the parts that the rows are of, joined, with `tasks` (B), the number of each row's part.

        Rows of one part stand together.
        """
        return self._joined(rows, lambda part, mine: part.batch(mine))

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self._joined(rows, lambda part, mine: part.training_batch(mine))

    def _joined(
        self, rows: Sequence[int], batch_of: Callable[[Inputs, list[int]], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        owners = np.searchsorted(self.starts, list(rows), side="right") - 1
        found = []
        for task, mine in itertools.groupby(zip(owners.tolist(), rows, strict=True), key=lambda pair: pair[0]):
            found.append(batch_of(self.parts[task], [row - int(self.starts[task]) for _, row in mine]))
        batch = found[0] if len(found) == 1 else joined(found, self.parts[0].padding)
        return batch | {"rows": torch.tensor(list(rows)), "tasks": torch.from_numpy(owners)}

    def batches(
        self, size: int, seed: int, *, shuffle: bool, process_index: int, world: int, rows: int | None
    ) -> Sampler[list[int]]:
        """All rows, whatever `rows` says: which of them are first is a question to each part."""
        if self.mixed and shuffle:
            sizes = list(map(len, self.parts))
            weights = None if self.sampling == "round_robin" else task_weights(sizes, self.temperature)
            return MixedBatches(sizes, size, seed, weights, process_index=process_index, world=world)
        lengths = [part.lengths for part in self.parts]
        return MixtureBatches(
            lengths,
            size,
            seed,
            sampling=self.sampling,
            temperature=self.temperature,
            shuffle=shuffle,
            process_index=process_index,
            world=world,
        )

    def sample(self, count: int) -> range:
        """The first rows of the first part."""
        return self.parts[0].sample(count)

    def by_part(self) -> Sequence[Inputs]:
        return self.parts

    def of_every_task(self, count: int) -> list[range]:
        """The first rows of each part."""
        found = (part.sample(count) for part in self.parts)
        return [range(start + rows.start, start + rows.stop) for start, rows in zip(self.starts, found, strict=False)]


class MixtureBatches(Sampler[list[int]]):
    """Batches of one task each; in training the tasks come in turn, or as often as the root of their size says, or its
    1/`temperature`-th power.

    An epoch has as many batches as the parts have together. Where a task's rows are used up before, they come again in
    another order. The order is a function of (seed, epoch) alone; the epoch counts iterations. With several devices
    (`world`), each process takes every world-th batch. In evaluation every row comes once.
    """

    def __init__(
        self,
        lengths: Sequence[np.ndarray],
        batch_size: int,
        seed: int,
        *,
        shuffle: bool,
        sampling: Sampling,
        temperature: float | None = None,
        process_index: int = 0,
        world: int = 1,
    ) -> None:
        self.lengths, self.batch_size, self.seed, self.shuffle = lengths, batch_size, seed, shuffle
        self.sampling, self.temperature = sampling, temperature
        self.process_index, self.world, self.epoch = process_index, world, 0
        self.skip = 0
        self.starts = np.cumsum([0, *map(len, lengths)])
        self.total = sum(-(-len(part) // batch_size) for part in lengths)

    def resume_at(self, batches: int) -> None:
        """Begin as if so many batches had been drawn."""
        self.epoch, self.skip = divmod(batches, len(self))

    def __len__(self) -> int:
        return self.total // self.world if self.shuffle else len(list(self._once()))

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self.epoch
        self.epoch += 1
        if not self.shuffle:
            yield from self._once()
            return
        skip, self.skip = self.skip, 0
        streams = [self._stream(task, epoch) for task in range(len(self.lengths))]
        order = list(self._order(epoch))[: len(self) * self.world]
        for place, task in enumerate(order):
            rows = next(streams[task])
            if place % self.world == self.process_index and place // self.world >= skip:
                yield rows

    def _once(self) -> Iterator[list[int]]:
        for task, lengths in enumerate(self.lengths):
            for rows in LengthBatches(
                lengths,
                self.batch_size,
                self.seed,
                shuffle=False,
                process_index=self.process_index,
                world=self.world,
            ):
                yield self._whole(task, rows)

    def _stream(self, task: int, epoch: int) -> Iterator[list[int]]:
        """A task's batches without end; its passes within an epoch have numbers of their own."""
        passes = LengthBatches(self.lengths[task], self.batch_size, self.seed, shuffle=True)
        passes.epoch = epoch * (self.total + 1)
        return (self._whole(task, rows) for rows in itertools.chain.from_iterable(itertools.repeat(passes)))

    def _order(self, epoch: int) -> Iterator[int]:
        tasks = len(self.lengths)
        if self.sampling == "round_robin":
            return (place % tasks for place in range(self.total))
        weights = task_weights([len(part) for part in self.lengths], self.temperature)
        draw = np.random.default_rng([self.seed, epoch, tasks])
        return iter(draw.choice(tasks, self.total, p=weights).tolist())

    def _whole(self, task: int, rows: Sequence[int]) -> list[int]:
        return [int(self.starts[task]) + row for row in rows]
