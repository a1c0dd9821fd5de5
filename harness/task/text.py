"""Text classification tasks: reading real files, and fixed splits that share no sentence."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.config import ConfigError, GlueTaskConfig, ModelConfig, OwnTextTaskConfig, RatedTaskConfig, Tokens
from harness.task.base import Inputs, Task, described, source_described
from harness.task.batches import Split, encode
from harness.task.intake.cuts import refuse_empty
from harness.task.intake.duplicates import normalised_row, shared_keys
from harness.task.intake.facts import NO_FACTS, Facts
from harness.task.intake.labels import suspicious
from harness.task.own_text import Frames, read_hub, read_own_table
from harness.task.published import read_glue, read_rated

if TYPE_CHECKING:
    from harness.task.metrics import Metrics

TextConfig = GlueTaskConfig | RatedTaskConfig | OwnTextTaskConfig

# Up to this share of a held-out split may stand in the training set too: SST-2 as published has 2 of 1,821.
OVERLAP_ALLOWED = 0.01


@dataclasses.dataclass(frozen=True)
class TextTask(Task):
    """Three splits. `source` says where they came from, `shared` counts the sentences that stand in two splits as
    published. A row is cut at `max_length` tokens. Where the answer is a number there are no `classes`; a row may have
    `several` of them, or none.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    sha256: str
    shared: dict[str, int]
    max_length: int
    facts: Facts = NO_FACTS
    several: bool = False

    @property
    def outputs(self) -> int:
        return len(self.classes) or 1

    @property
    def spread(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the training split's numbers, by which they are standardised."""
        if self.classes:
            return None
        numbers = np.array(self.splits["train"].labels)
        return float(numbers.mean()), float(numbers.std())

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        assert tokens is not None
        assert tokens.tokenizer is not None
        encoded = encode(self.splits[split], tokens.tokenizer, self.max_length, tokens.pad, self.spread)
        if not self.several:
            return encoded
        return dataclasses.replace(encoded, labels=sets_of(self.splits[split].labels, len(self.classes)))

    def metrics(self) -> "Metrics":
        """Of numbers, their errors in the labels' own unit."""
        if self.several:
            from harness.task.metrics import LabelSetMetrics

            return LabelSetMetrics(len(self.classes))
        if self.spread is None:
            return super().metrics()
        from harness.task.metrics import RegressionMetrics

        return RegressionMetrics(*self.spread)

    def mistakes(self, model: ModelConfig) -> list[str]:
        return model.length_mistakes(self.max_length)

    def texts(self, split: str) -> tuple[str, ...]:
        return (*self.splits[split].texts, *self.splits[split].pairs)

    def names(self, split: str) -> tuple[str, ...]:
        return tuple(content.replace("\0", " | ") for content in self.splits[split].contents)

    def findings(self) -> Facts:
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
        if self.several:
            return told | self._described_sets()
        if self.spread is None:
            labels = {name: np.array(split.labels, dtype=int) for name, split in self.splits.items()}
            return described(self.name, self.source, self.sha256, self.classes, labels) | told
        held = {name: np.array(split.labels) for name, split in self.splits.items() if name != "train"}
        errors = {name: float(np.sqrt(np.mean((labels - self.spread[0]) ** 2))) for name, labels in held.items()}
        return (
            source_described(self.name, self.source, self.sha256, self.splits)
            | {
                "mean": self.spread[0],
                "sd": self.spread[1],
                "mean_predictor": {"answer": self.spread[0]} | errors,
            }
            | told
        )

    def _described_sets(self) -> dict[str, object]:
        sets = {name: sets_of(split.labels, len(self.classes)) for name, split in self.splits.items()}
        shares = sets["train"].mean(0)
        usual = shares > 0.5 if (shares > 0.5).any() else shares == shares.max()
        return source_described(self.name, self.source, self.sha256, self.splits) | {
            "labels": {name: found.sum(0).astype(int).tolist() for name, found in sets.items()},
            "classes": list(self.classes),
            "usual_labels": {
                "labels": [name for name, often in zip(self.classes, usual, strict=True) if often],
                **{name: f1_micro(found, usual) for name, found in sets.items() if name != "train"},
            },
        }


def sets_of(labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Rows' sets of classes as ones and zeros (N, C)."""
    found = np.zeros((len(labels), classes), dtype=np.float32)
    for row, numbers in enumerate(labels):
        found[row, list(numbers)] = 1
    return found


def f1_micro(sets_NC: np.ndarray, answer_C: np.ndarray) -> float:
    """F1 of all decisions together of one answer for all rows."""
    right = float(sets_NC[:, answer_C].sum())
    return 2 * right / (float(sets_NC.sum()) + len(sets_NC) * int(answer_C.sum()))


def read_text(config: TextConfig) -> TextTask:
    """Read a task's sentences and split them. Raises ConfigError for data that cannot be learned from."""
    source, frames, facts = _READERS[config.reader](config)
    frames["train"] = _first_rows(config, frames["train"])
    where = f"task.data={config.data}" if config.data else f"task={config.name}"
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
    facts: Facts = NO_FACTS,
    several: bool = False,
) -> TextTask:
    """A task of columns text and label: labels become numbers, and what would make a score meaningless is refused.

    `where` opens an error's line; `wanted` is the number of classes that is expected, None for any. Splits share a few
    rows only, unless they `may_share` more.
    """
    refuse_empty(where, frames)
    if number:
        classes, splits = _numbers(where, frames)
    else:
        classes, splits = (_sets if several else _classes)(wanted, where, frames)
    shared = _shared_sentences(where, splits, 1.0 if may_share else OVERLAP_ALLOWED)
    digest = hashlib.sha256()
    for key, split in splits.items():
        second = (split.pairs,) if split.pairs else ()
        digest.update(repr((key, split.texts, split.labels, *second)).encode())
    known = [label for frame in frames.values() for label in frame["label"]] if classes and not several else []
    told = _with_near(facts, splits, known)
    return TextTask(name, source, classes, splits, digest.hexdigest(), shared, max_length, told, several)


def _with_near(facts: Facts, splits: dict[str, Split], labels: list[str]) -> Facts:
    """With what is alike within splits and between them, and labels that may be none."""
    keys = {name: [normalised_row(content) for content in split.contents] for name, split in splits.items()}
    near = {name: len(found) - len(set(found)) for name, found in keys.items()}
    near |= {names: len(places) for names, places in shared_keys(keys).items()}
    near = {name: count for name, count in near.items() if count}
    return dataclasses.replace(facts, near=near, suspicious=[*facts.suspicious, *suspicious(labels)])


def _first_rows(config: TextConfig, train: pd.DataFrame) -> pd.DataFrame:
    """As many training rows as asked for: those of a smaller number are among those of a larger."""
    if config.train_rows is None:
        return train
    if config.train_rows > len(train):
        raise ConfigError(f"task.train_rows={config.train_rows}: the training split has {len(train)} rows")
    order = np.random.default_rng(config.split_seed).permutation(len(train))
    return train.iloc[sorted(order[: config.train_rows])]


def _numbers(where: str, frames: Frames) -> tuple[tuple[str, ...], dict[str, Split]]:
    splits = {}
    for name, frame in frames.items():
        labels = pd.to_numeric(frame["label"], errors="coerce").to_numpy(dtype=float)
        if not (finite := np.isfinite(labels)).all():
            raise ConfigError(f"{where}: label {frame['label'].iloc[int(np.argmin(finite))]!r} is no number")
        splits[name] = Split(tuple(frame["text"]), tuple(labels.tolist()), _pairs(frame))
    if len(set(splits["train"].labels)) < 2:
        raise ConfigError(f"{where}: all numbers of the training split are the same")
    return (), splits


def _pairs(frame: pd.DataFrame) -> tuple[str, ...]:
    return tuple(frame["pair"]) if "pair" in frame else ()


def _classes(wanted: int | None, where: str, frames: Frames) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Labels mapped to 0…n−1 by the training set's classes."""
    classes = tuple(sorted(frames["train"]["label"].unique(), key=_natural))
    if len(classes) < 2:
        raise ConfigError(f"{where}: the training split has {len(classes)} classes; at least 2 are needed")
    if wanted is not None and wanted != len(classes):
        raise ConfigError(f"{where}: {len(classes)} classes in the training split, task.classes={wanted}")
    number = {label: index for index, label in enumerate(classes)}
    splits = {}
    for name, frame in frames.items():
        unknown = sorted(set(frame["label"]) - set(classes))
        if unknown:
            raise ConfigError(f"{where}: label {unknown[0]!r} of the {name} split is absent from training")
        splits[name] = Split(tuple(frame["text"]), tuple(number[label] for label in frame["label"]), _pairs(frame))
    return classes, splits


def _sets(wanted: int | None, where: str, frames: Frames) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Sets of labels mapped to numbers by the training set's classes."""
    names = {split: [label for cell in frame["label"] for label in cell] for split, frame in frames.items()}
    classes = tuple(sorted(set(names["train"]), key=_natural))
    if len(classes) < 2:
        raise ConfigError(f"{where}: the training split has {len(classes)} labels; at least 2 are needed")
    if wanted is not None and wanted != len(classes):
        raise ConfigError(f"{where}: {len(classes)} labels in the training split, task.classes={wanted}")
    for split, found in names.items():
        if unknown := sorted(set(found) - set(classes)):
            raise ConfigError(f"{where}: label {unknown[0]!r} of the {split} split is absent from training")
    number = {label: index for index, label in enumerate(classes)}
    splits = {
        split: Split(
            tuple(frame["text"]),
            tuple(tuple(sorted(number[label] for label in cell)) for cell in frame["label"]),
            _pairs(frame),
        )
        for split, frame in frames.items()
    }
    return classes, splits


def _shared_sentences(where: str, splits: dict[str, Split], allowed: float) -> dict[str, int]:
    """How many sentences two splits share, where they share any; more than a few are refused."""
    found: dict[str, int] = {}
    names = list(splits)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            known = set(splits[first].contents)
            shared = sum(content in known for content in splits[second].contents)
            if shared > allowed * len(splits[second]):
                raise ConfigError(f"{where}: {shared} of {len(splits[second])} {second} sentences stand in {first} too")
            if shared:
                found[f"{first} and {second}"] = shared
    return found


def _natural(label: str) -> tuple[int, float, str]:
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


_READERS: dict[str, Callable[[Any], tuple[str, Frames, Facts]]] = {
    "glue": read_glue,
    "rated": read_rated,
    "table": read_own_table,
    "hf": read_hub,
}
