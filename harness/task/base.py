"""The interface of all tasks, and of a split as a model reads it."""

import dataclasses
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from harness.config import ModelConfig, Outputs, Tokens
from harness.task.answers import Extract
from harness.task.intake.findings import NO_FINDINGS, DataFindings
from harness.task.sampling import LengthBatches, pieces_of

if TYPE_CHECKING:
    from harness.task.constants import Batches
    from harness.task.continual import ContinualTask
    from harness.task.metrics import Metrics
    from harness.task.qa_inputs import Question

Losses = Callable[[Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor]]
"""From outputs and their batch: the mean loss of each task that rows have answers of, and these tasks' numbers."""

UNSPELLED = ("punctuation left out", "unknown characters")
"""How texts differ from what a vocabulary of characters can say, among what is cut."""

LOST = "answers that no window holds"
UNANSWERABLE = "answers longer than task.max_answer"
CUT_APART = (LOST, UNANSWERABLE, *UNSPELLED)
"""What is cut and is said by itself: the rest is texts that lose their ends."""

SPLITS = ("train", "validation", "test")

Piece = tuple[str, bool]
"""The text of some tokens, and whether they are learned."""


class Inputs(Dataset[int]):
    """A split as a model reads it. Its items are row numbers: rows become tensors a batch at a time."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """The cost of each row in tokens or frames; ones if all rows cost the same."""

    @property
    def training_lengths(self) -> np.ndarray:
        """The cost of each row in training: as `lengths`, unless an evaluation reads more."""
        return self.lengths

    @property
    def padding(self) -> Mapping[str, int]:
        """The padding value by input name; 0 for inputs that are missing here."""
        return {}

    @abstractmethod
    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The inputs of a batch under the names its model knows, `labels` (B, …), and `rows` (B), their numbers."""

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The batch of these rows for training: the same as for evaluation, except where an evaluation reads more."""
        return self.batch(rows)

    def batches(
        self, size: int, seed: int, *, shuffle: bool, process_index: int, world: int, rows: int | None
    ) -> Sampler[list[int]]:
        """Row numbers of each batch of the first `rows` rows; the process is one of `world` that share them out."""
        return LengthBatches(self.lengths[:rows], size, seed, shuffle=shuffle, process_index=process_index, world=world)

    def pieces(self, tokens: int, rows: Sequence[int]) -> list[list[int]]:
        """The rows of a step of training in pieces of at most so many tokens."""
        return pieces_of(self.training_lengths, tokens, rows)

    def sample(self, count: int) -> range:
        """Some rows that go into one batch, at most `count`."""
        return range(min(count, len(self)))

    def of_every_task(self, count: int) -> list[range]:
        """Some rows of every task, at most `count` of each; rows that go into one batch stand together."""
        return [self.sample(count)]

    def truncated(self) -> dict[str, int]:
        """Count the rows that were cut at their maximum, by what was cut; empty if none can be."""
        return {}

    def token_rows(self) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        """Ids end to end and where each row starts, of all that is read and of all that is written; else none."""
        return ()

    def by_part(self) -> "Sequence[Inputs]":
        """The inputs of each task that it is of."""
        return (self,)

    def row_labels(self) -> Sequence[Hashable]:
        """The class of each row, or its classes, to find rows that are read alike and differ; else none."""
        return ()

    def wanted_texts(self, answers: Sequence[str]) -> Sequence[str]:
        """The texts that generated ones are compared with: the task's own `answers` of the first rows."""
        return answers

    def example(self, row: int) -> list[Piece]:
        """Return the pieces of a training row that a model reads, in order, if some are learned; otherwise empty."""
        return []

    def shown(self) -> list[str]:
        """Lines on what is trained on, with the first row as a model reads it; empty where there is nothing to show."""
        return []

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> int:
        return index


@dataclasses.dataclass(frozen=True)
class ScoredTexts:
    """Scores of texts by name, and a row of numbers for each text under the names in `columns`.

    `sums` names the columns whose sums a score is the ratio of, where it is one.
    """

    scores: dict[str, float]
    columns: tuple[str, ...]
    items: list[list[float]]
    sums: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, tuple[list[float], list[float]]]:
        """Each text's part of numerator and denominator, for each score that is a ratio of sums over texts."""
        by_column = dict(zip(self.columns, map(list, zip(*self.items, strict=True)), strict=True))
        return {name: (by_column[above], by_column[below]) for name, (above, below) in self.sums.items()}


@dataclasses.dataclass(frozen=True)
class Generation:
    """Texts to be generated for the first rows of a split, of at most `longest` tokens each, and their targets.

    `extract` takes out of both the answer that is compared, too; None: there is none. `score` compares the texts; None:
    as translations, by BLEU and chrF. With `of_base` the base as it was is scored, too.
    """

    longest: int
    references: tuple[str, ...]
    extract: Extract | None = None
    score: Callable[[Sequence[str], Sequence[str]], ScoredTexts] | None = None
    of_base: bool = False


class Task(ABC):
    """Real data in three fixed splits, train, validation and test, that share no item.

    `sha256` is the digest of all it holds, labels and splits included; `classes` is empty where the answer is a number
    or a text.
    """

    if TYPE_CHECKING:  # fields of the subclasses; a property here would be their default

        @property
        def name(self) -> str: ...

        @property
        def sha256(self) -> str: ...

        @property
        def classes(self) -> tuple[str, ...]: ...

        @property
        def parts(self) -> Mapping[str, "Task"]: ...  # of several tasks only

    @property
    def continual(self) -> "ContinualTask | None":
        """Itself, if it is of tasks that are learned one after another."""
        return None

    @property
    @abstractmethod
    def outputs(self) -> Outputs:
        """The number of classes: 1 for a number, 0 for text; by task if there are several."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Name, source, digest, rows by split, labels by class: what a record keeps of the data."""

    @abstractmethod
    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        """A split as a model reads it, from the cache where it is costly to make; `tokens` is how it wants texts."""

    def mistakes(self, model: ModelConfig) -> list[str]:
        """Return errors in combining it with a model; for our own tasks the configuration reports them."""
        return []

    def input_digests(self, tokens: Tokens) -> dict[str, str]:
        """Return the digests of everything but the tokenizer that turns its data into inputs, by name."""
        return {}

    def inputs_by_task(self, split: str, tokens: Tokens | None) -> dict[str, Inputs]:
        """A split of every task, where they are learned one after another."""
        return {}

    def metrics(self) -> "Metrics":
        """Empty metrics; for a task of classes, accuracy and cross-entropy."""
        from harness.task.metrics import ClassMetrics  # torchmetrics is slow to import, and counting needs none

        return ClassMetrics(len(self.classes))

    def constants(self, split: str) -> "Mapping[str, Batches]":
        """Return constant answers to a held-out split's rows, by description; empty if there can be none."""
        return {}

    def constant_scores(self, split: str, metrics: "Callable[[], Metrics]") -> dict[str, dict[str, float]]:
        """Score the constant answers by these metrics."""
        from harness.task.constants import scored

        return {said: scored(metrics(), batches) for said, batches in self.constants(split).items()}

    def constant_texts(self, split: str) -> Mapping[str, Sequence[str]]:
        """Return constant texts for a held-out split's rows, by description."""
        return {}

    @property
    def losses(self) -> Losses | None:
        """The losses of a batch by task, where its rows have answers of several; None where they are of one."""
        return None

    @property
    def generation(self) -> Generation | None:
        """The texts to be generated for the test split, where the answer is text."""
        return None

    def generation_of(self, split: str) -> Generation | None:
        """The `generation` of a held-out split."""
        return self.generation if split == "test" else None

    def names(self, split: str) -> Sequence[str]:
        """Return the name of each row of a split in tables: its text or its file; empty if rows have no names."""
        return self.findings().kept.get(split, ())

    def values(self, split: str) -> Sequence[float]:
        """The number of each row of a split, where the answer is one; else none."""
        return ()

    def label_sets(self, split: str) -> Sequence[Sequence[str]]:
        """The classes of each row of a split, by name, where it may have several or none; else no rows."""
        return ()

    def tagged(self, split: str) -> Sequence[tuple[Sequence[str], Sequence[str]]]:
        """The tokens of each row of a split and their tags; empty where tokens have none."""
        return ()

    def asked(self, split: str) -> "Sequence[Question]":
        """The questions of a split, where an answer is a span of a text; else none."""
        return ()

    def offered(self, split: str) -> Sequence[tuple[str, Sequence[str]]]:
        """The questions of a split and the options of each, where rows have options of their own; else none."""
        return ()

    def findings(self) -> DataFindings:
        """Return the facts found while reading the data; empty if they are not a user's own."""
        return NO_FINDINGS

    def lengths(self, split: str) -> Mapping[str, Sequence[float]]:
        """Return the lengths of a split's rows, by unit; empty if there are none to report."""
        return {}

    @property
    def unit(self) -> str:
        """The unit of row length for a model; empty if all rows cost the same."""
        return ""

    def texts(self, split: str) -> Iterable[str]:
        """The texts of a split, for a tokenizer to learn from and to find texts that two tasks share."""
        return ()


def majority(labels: Mapping[str, Sequence[int] | np.ndarray], classes: Sequence[str]) -> dict[str, object]:
    """The most frequent class of training, and which share of each held-out split it is right for."""
    ((most, _),) = Counter(np.asarray(labels["train"]).tolist()).most_common(1)
    shares = {split: float(np.mean(np.asarray(labels[split]) == most)) for split in labels if split != "train"}
    return {"class": classes[most], **shares}


def source_described(name: str, source: str, sha256: str, splits: Mapping[str, Sized]) -> dict[str, object]:
    """Return the record's entry for any data: origin, digest, and the rows of each split."""
    rows = {split: len(found) for split, found in splits.items()}
    return {"name": name, "source": source, "sha256": sha256, "rows": rows}


def described(
    name: str, source: str, sha256: str, classes: Sequence[str], labels: Mapping[str, Sequence[int] | np.ndarray]
) -> dict[str, object]:
    """Return the record's entry for labelled data; `labels` are those of each split."""
    counts = {split: np.bincount(numbers, minlength=len(classes)) for split, numbers in labels.items()}
    return source_described(name, source, sha256, labels) | {
        "labels": {split: count.tolist() for split, count in counts.items()},
        "classes": list(classes),
        "majority": majority(labels, classes),
    }
