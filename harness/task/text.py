"""Text classification tasks: reading real files, and fixed splits that share no sentence."""

import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from harness.config import (
    CodeTextTaskConfig,
    ConfigError,
    GlueTaskConfig,
    ModelConfig,
    OwnTextTaskConfig,
    RatedTaskConfig,
    Tokens,
)
from harness.task.base import Inputs
from harness.task.batches import Split, encode
from harness.task.code_texts import read_code_docs, read_code_facts
from harness.task.constants import Batches
from harness.task.intake.cuts import refuse_empty
from harness.task.intake.duplicates import are_too_many, near_counts, normalised_row
from harness.task.intake.findings import NO_FINDINGS, DataFindings
from harness.task.intake.labels import suspicious
from harness.task.labelled import LabelledTask, names_told, numbered_labels
from harness.task.own_text import Frames, read_hub, read_own_table
from harness.task.published import read_glue, read_rated

if TYPE_CHECKING:
    from harness.task.metrics import Metrics

TextConfig = GlueTaskConfig | RatedTaskConfig | CodeTextTaskConfig | OwnTextTaskConfig


@dataclasses.dataclass(frozen=True)
class TextTask(LabelledTask):
    """Three splits. `source` says where they came from, `shared` counts the sentences that stand in two splits as
    published. A row is cut at `max_length` tokens. `groups` numbers of each split's rows what is scored as a whole.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    sha256: str
    shared: dict[str, int]
    max_length: int
    facts: DataFindings = NO_FINDINGS
    several: bool = False
    groups: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def labels(self, split: str) -> tuple[Any, ...]:
        return self.splits[split].labels

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        assert tokens is not None
        assert tokens.tokenizer is not None
        answers = self.answers(split)
        encoded = encode(self.splits[split], tokens.tokenizer, self.max_length, tokens.pad, answers)
        if not self.groups:
            return encoded
        return dataclasses.replace(encoded, groups=np.array(self.groups[split], dtype=np.int64))

    def metrics(self) -> "Metrics":
        """With groups of rows, how many of them are right as a whole, too."""
        if not self.groups:
            return super().metrics()
        from harness.task.metrics import GroupMetrics

        return GroupMetrics(super().metrics(), 1 + max(max(numbers) for numbers in self.groups.values()))

    def constants(self, split: str) -> Mapping[str, Batches]:
        found = super().constants(split)
        if not self.groups:
            return found
        groups = {"groups": torch.tensor(self.groups[split])}
        return {said: [(outputs, {**batch, **groups}) for outputs, batch in each] for said, each in found.items()}

    def mistakes(self, model: ModelConfig) -> list[str]:
        return model.length_mistakes(self.max_length)

    def texts(self, split: str) -> tuple[str, ...]:
        return (*self.splits[split].texts, *self.splits[split].pairs)

    def names(self, split: str) -> tuple[str, ...]:
        return tuple(content.replace("\0", " | ") for content in self.splits[split].contents)

    def findings(self) -> DataFindings:
        return self.facts

    @property
    def unit(self) -> str:
        return "tokens"

    def lengths(self, split: str) -> dict[str, Sequence[float]]:
        texts = self.splits[split].texts
        told: dict[str, Sequence[float]] = {
            "characters": [len(text) for text in texts],
            "words": [len(text.split()) for text in texts],
        }
        if pairs := self.splits[split].pairs:
            told |= {"words of the second": [len(text.split()) for text in pairs]}
        return told

    def describe(self) -> dict[str, object]:
        told = {"shared": self.shared} | self.facts.described()
        return told | self.described_labels() if self.several else self.described_labels() | told


def read_text(config: TextConfig) -> TextTask:
    """Read a task's sentences and split them. Raises ConfigError for data that cannot be learned from."""
    source, frames, facts = _READERS[config.reader](config)
    frames["train"] = _first_rows(config, frames["train"])
    where = f"task.data={config.data}" if config.data else f"task={config.name}"
    if config.train_rows is not None:  # which may leave rows of a class, or of one number, alone
        where += f" task.train_rows={config.train_rows}"
    number = config.answer == "number"
    if facts.kept:
        kept = {split: [str(row) for row in frame.index] for split, frame in frames.items()}
        facts = dataclasses.replace(facts, kept=kept)
    return text_task(
        config.name,
        source,
        where,
        frames,
        number=number,
        wanted=config.classes,
        positive=config.positive,
        max_length=config.max_length,
        may_share=config.may_share,
        facts=facts,
        several=config.answer == "labels",
    )


def text_task(
    name: str,
    source: str,
    where: str,
    frames: Frames,
    *,
    number: bool,
    wanted: int | None,
    max_length: int,
    may_share: bool = False,
    facts: DataFindings = NO_FINDINGS,
    several: bool = False,
    positive: str | None = None,
) -> TextTask:
    """A task of columns text and label: labels become numbers, and what would make a score meaningless is refused.

    `where` opens an error's line; `wanted` is the number of classes that is expected, None for any; the `positive` one
    of two is the second. Splits share a few rows only, unless they `may_share` more.
    """
    refuse_empty(where, frames)
    answer = "number" if number else "labels" if several else "class"
    known = {name: list(frame["label"]) for name, frame in frames.items()}
    classes, labels = numbered_labels(where, known, answer=answer, wanted=wanted, positive=positive)
    splits = {name: Split(tuple(frame["text"]), labels[name], _pairs(frame)) for name, frame in frames.items()}
    shared = _shared_sentences(where, splits, may_share)
    digest = hashlib.sha256()
    for key, split in splits.items():
        second = (split.pairs,) if split.pairs else ()
        digest.update(repr((key, split.texts, split.labels, *second)).encode())
    names = names_told(known, answer)
    told, groups = _with_near(facts, _near(frames, splits), names), _group_numbers(frames)
    return TextTask(name, source, classes, splits, digest.hexdigest(), shared, max_length, told, several, groups)


def _group_numbers(frames: Frames) -> dict[str, tuple[int, ...]]:
    """The number of each row's group, in all splits together; a row without a group is one of its own."""
    if not all("scored" in frame for frame in frames.values()):
        return {}
    number: dict[Hashable, int] = {}
    return {
        split: tuple(
            number.setdefault((split, place) if cell is None else (split, None, cell), len(number))
            for place, cell in enumerate(frame["scored"])
        )
        for split, frame in frames.items()
    }


def _near(frames: Frames, splits: Mapping[str, Split]) -> dict[str, list[str]]:
    """Return each row's key that near-identical texts share; a reader that has made it leaves it in a column."""
    return {
        name: list(frame["near"]) if "near" in frame else list(map(normalised_row, splits[name].contents))
        for name, frame in frames.items()
    }


def _with_near(facts: DataFindings, keys: Mapping[str, list[str]], labels: list[str]) -> DataFindings:
    """The facts with counts of near-identical rows, within and between splits, and with suspicious labels."""
    return dataclasses.replace(facts, near=near_counts(keys), suspicious=[*facts.suspicious, *suspicious(labels)])


def _first_rows(config: TextConfig, train: pd.DataFrame) -> pd.DataFrame:
    """The first training rows, as many as asked for: a smaller set is part of a larger one."""
    if config.train_rows is None:
        return train
    if config.train_rows > len(train):
        raise ConfigError(f"task.train_rows={config.train_rows}: the training split has {len(train)} rows")
    order = np.random.default_rng(config.split_seed).permutation(len(train))
    return train.iloc[sorted(order[: config.train_rows])]


def _pairs(frame: pd.DataFrame) -> tuple[str, ...]:
    return tuple(frame["pair"]) if "pair" in frame else ()


def _shared_sentences(where: str, splits: dict[str, Split], may_share: bool) -> dict[str, int]:
    """Count the sentences that two splits share, if they share any; more than a few are refused."""
    found: dict[str, int] = {}
    names = list(splits)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            known = set(splits[first].contents)
            shared = sum(content in known for content in splits[second].contents)
            if not may_share and are_too_many(shared, len(splits[second])):
                raise ConfigError(f"{where}: {shared} of {len(splits[second])} {second} sentences stand in {first} too")
            if shared:
                found[f"{first} and {second}"] = shared
    return found


_READERS: dict[str, Callable[[Any], tuple[str, Frames, DataFindings]]] = {
    "glue": read_glue,
    "rated": read_rated,
    "code_docs": read_code_docs,
    "code_facts": read_code_facts,
    "table": read_own_table,
    "hf": read_hub,
}
