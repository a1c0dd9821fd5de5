"""Tasks whose answer is a tag for each token, in fixed splits."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import CodeNamesTaskConfig, ConfigError, ModelConfig, TokenClasses, TokenLabelsTaskConfig, Tokens
from harness.task.base import SPLITS, Inputs, Task, described
from harness.task.code_names import read_code_names
from harness.task.constants import Batches, of_tags
from harness.task.intake.cuts import refuse_empty
from harness.task.intake.duplicates import normalised, shared_keys
from harness.task.intake.findings import NO_FINDINGS, DataFindings
from harness.task.intake.labels import suspicious
from harness.task.intake.missing import missing_classes
from harness.task.intake.scored import with_head
from harness.task.intake.unlabelled import often_none
from harness.task.own_tokens import Row, Rows, read_own_tokens
from harness.task.tags import SCHEMES, scheme_of, span_classes, spans
from harness.task.token_inputs import encode_tokens

if TYPE_CHECKING:
    from harness.task.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class TokenLabelsTask(Task):
    """Three splits of rows of tagged tokens; `classes` are the tags by number. A row is cut at `max_length` pieces."""

    name: str
    source: str
    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[Row]]
    sha256: str
    max_length: int
    with_spans: bool
    facts: DataFindings = NO_FINDINGS

    @property
    def outputs(self) -> int:
        return TokenClasses(len(self.classes))

    def numbers(self, split: str) -> list[list[int]]:
        """The tags of each row by number."""
        number = {tag: index for index, tag in enumerate(self.classes)}
        return [[number[tag] for tag in row.tags] for row in self.splits[split]]

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        assert tokens is not None
        assert tokens.tokenizer is not None
        rows = [row.tokens for row in self.splits[split]]
        return encode_tokens(rows, self.numbers(split), tokens.tokenizer, self.max_length, tokens.pad)

    @property
    def usual(self) -> int:
        """The number of the most frequent tag of training."""
        counts = Counter(tag for row in self.splits["train"] for tag in row.tags)
        return self.classes.index(counts.most_common(1)[0][0])

    def metrics(self) -> "Metrics":
        from harness.task.tag_metrics import TagMetrics

        return TagMetrics(self.classes, self.usual, with_spans=self.with_spans)

    def constants(self, split: str) -> Mapping[str, Batches]:
        return of_tags(self.numbers("train"), self.numbers(split), self.classes)

    def mistakes(self, model: ModelConfig) -> list[str]:
        return model.length_mistakes(self.max_length)

    def texts(self, split: str) -> tuple[str, ...]:
        return tuple(row.text for row in self.splits[split])

    def names(self, split: str) -> tuple[str, ...]:
        return tuple(row.name for row in self.splits[split])

    def tagged(self, split: str) -> list[tuple[Sequence[str], Sequence[str]]]:
        return [(row.tokens, row.tags) for row in self.splits[split]]

    def findings(self) -> DataFindings:
        return self.facts

    @property
    def unit(self) -> str:
        return "tokens of the model"

    def lengths(self, split: str) -> dict[str, Sequence[float]]:
        return {"tokens of a row": [len(row.tokens) for row in self.splits[split]]}

    def describe(self) -> dict[str, object]:
        """With the tokens of each tag, and of each type how many spans there are."""
        flat = {split: np.array([tag for row in self.numbers(split) for tag in row]) for split in SPLITS}
        told = described(self.name, self.source, self.sha256, self.classes, flat)
        rows = {split: len(found) for split, found in self.splits.items()}
        counts = {"spans": {split: self._spans(split) for split in SPLITS}} if self.with_spans else {}
        return (
            told
            | {"rows": rows, "tokens": {split: len(tags) for split, tags in flat.items()}}
            | counts
            | (self.facts.described())
        )

    def _spans(self, split: str) -> dict[str, int]:
        scheme = scheme_of(self.classes) or "bio"
        return dict(
            sorted(Counter(kind for row in self.splits[split] for kind, _, _ in spans(row.tags, scheme)).items())
        )


def read_token_labels(config: TokenLabelsTaskConfig | CodeNamesTaskConfig) -> TokenLabelsTask:
    """Read and split a task's rows. Raises ConfigError for data that cannot be learned from."""
    source, rows, facts = _READERS[config.reader](config)
    where = f"task={config.name}"
    refuse_empty(where, {split: rows[split] for split in SPLITS})
    tags = [tag for row in rows["train"] for tag in row.tags]
    with_spans, there = config.scheme in SCHEMES, sorted(with_head(tags))
    classes = span_classes(there, config.scheme) if with_spans else tuple(there)
    if len(classes) < 2:
        what = "no spans" if with_spans else "one tag"
        raise ConfigError(f"{where}: the training split has {what}; there is nothing to learn")
    digest = hashlib.sha256(repr(classes).encode())
    for split in SPLITS:
        digest.update(repr((split, [(row.tokens, row.tags) for row in rows[split]])).encode())
    told = _with_findings(where, rows, facts, tags)
    return TokenLabelsTask(config.name, source, classes, rows, digest.hexdigest(), config.max_length, with_spans, told)


def _with_findings(where: str, rows: Rows, facts: DataFindings, tags: Sequence[str]) -> DataFindings:
    """With the rows that are kept, tags that a split has not, and rows that are alike."""
    keys = {split: [normalised(row.text) for row in rows[split]] for split in SPLITS}
    said = {split: [tag for row in rows[split] for tag in row.tags] for split in SPLITS}
    near = {split: len(found) - len(set(found)) for split, found in keys.items()}
    near |= {names: len(places) for names, places in shared_keys(keys).items()}
    return dataclasses.replace(
        facts,
        kept={split: [row.name for row in rows[split]] for split in SPLITS},
        near={name: count for name, count in near.items() if count},
        missing=missing_classes(where, said, "tokens"),
        suspicious=[*facts.suspicious, *often_none(tags), *suspicious(tags)],
    )


_READERS: dict[str, Callable[[Any], tuple[str, Rows, DataFindings]]] = {
    "token_labels": read_own_tokens,
    "code_names": read_code_names,
}
