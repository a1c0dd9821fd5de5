"""Extractive question answering in fixed splits: an answer is a span of the context, or there is none."""

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from harness.config import AnswerSpan, ConfigError, ExtractiveQaConfig, ModelConfig, Tokens
from harness.task.base import SPLITS, Task, source_described
from harness.task.intake.cuts import refuse_empty
from harness.task.intake.findings import DataFindings
from harness.task.own_qa import read_own_qa
from harness.task.qa_inputs import QaInputs, Question, encode_questions
from harness.task.squad import scores_of

if TYPE_CHECKING:
    from harness.task.metrics import Metrics
    from harness.task.qa_metrics import QaMetrics


@dataclasses.dataclass(frozen=True)
class ExtractiveQaTask(Task):
    """Three splits of questions; what a model reads of them is as in ExtractiveQaConfig."""

    name: str
    source: str
    splits: Mapping[str, tuple[Question, ...]]
    sha256: str
    max_length: int
    stride: int | None
    lost: str
    max_answer: int
    facts: DataFindings

    @property
    def classes(self) -> tuple[str, ...]:
        """None: each context has answers of its own."""
        return ()

    @property
    def outputs(self) -> AnswerSpan:
        return AnswerSpan()

    @property
    def may_be_none(self) -> bool:
        """True if training has questions without an answer, so that no answer may be given."""
        return any(not question.answers for question in self.splits["train"])

    def inputs(self, split: str, tokens: Tokens | None) -> QaInputs:
        assert tokens is not None
        return encode_questions(
            self.splits[split],
            tokens,
            max_length=self.max_length,
            stride=self.stride,
            lost=self.lost,
            where=f"task={self.name}: {split}",
            longest=self.max_answer,
            split=SPLITS.index(split),
        )

    def metrics(self) -> "QaMetrics":
        """F1, exact match and the cross-entropy of a window."""
        from harness.task.qa_metrics import QaMetrics

        splits = [self.splits[split] for split in SPLITS]
        return QaMetrics(splits, self.max_answer, may_be_none=self.may_be_none)

    def constant_scores(self, split: str, metrics: "Callable[[], Metrics]") -> dict[str, dict[str, float]]:
        """The scores of the most frequent training answer, which need not stand in a context."""
        usual, asked = self._most_frequent, self.splits[split]
        scores = [scores_of(usual, each.wanted) for each in asked]
        exact, f1 = (math.fsum(side) / len(asked) for side in zip(*scores, strict=True))
        said = f"the most frequent answer of training, {usual}" if usual else "no answer"
        return {f"always giving {said}": {"f1": f1, "exact": exact}}

    def asked(self, split: str) -> tuple[Question, ...]:
        return self.splits[split]

    def mistakes(self, model: ModelConfig) -> list[str]:
        return model.length_mistakes(self.max_length)

    def texts(self, split: str) -> Iterable[str]:
        for question in self.splits[split]:
            yield question.text
            yield question.context

    def findings(self) -> DataFindings:
        return self.facts

    @property
    def unit(self) -> str:
        return "tokens of all windows"

    def lengths(self, split: str) -> dict[str, list[float]]:
        found = self.splits[split]
        return {
            "words of answers": [len(text.split()) for question in found for text in question.wanted[:1]] or [0],
            "words of questions": [len(question.text.split()) for question in found],
            "words of contexts": [len(question.context.split()) for question in found],
        }

    def describe(self) -> dict[str, object]:
        """With the contexts and the questions without an answer of each split, and what always giving the answer that
        is most frequent in training would score.
        """
        contexts = {name: len({question.context for question in found}) for name, found in self.splits.items()}
        without = {name: sum(not each.answers for each in found) for name, found in self.splits.items()}
        return (
            source_described(self.name, self.source, self.sha256, self.splits)
            | {"contexts": contexts, "unanswerable": without, "usual_span": self._usual()}
            | self.facts.described()
        )

    @property
    def _most_frequent(self) -> str:
        """The most frequent answer of training, no answer among them."""
        first = (question.wanted[0] if question.answers else "" for question in self.splits["train"])
        return Counter(first).most_common(1)[0][0]

    def _usual(self) -> dict[str, object]:
        """The most frequent answer of training and its F1 on the other splits."""
        usual = self._most_frequent
        scores = {
            split: sum(scores_of(usual, question.wanted)[1] for question in found) / len(found)
            for split, found in self.splits.items()
            if split != "train"
        }
        return {"answer": usual, **scores}


def read_extractive_qa(config: ExtractiveQaConfig) -> ExtractiveQaTask:
    """Read and split a user's questions. Raises ConfigError for data that cannot be learned from."""
    source, splits, facts = read_own_qa(config)
    where = f"task={config.name}"
    refuse_empty(where, splits)
    if not any(question.answers for question in splits["train"]):
        raise ConfigError(f"{where}: no question of the training split has an answer; there is nothing to learn")
    digest = hashlib.sha256(
        repr([(name, [_content(each) for each in found]) for name, found in splits.items()]).encode()
    )
    return ExtractiveQaTask(
        name=config.name,
        source=source,
        splits=splits,
        sha256=digest.hexdigest(),
        max_length=config.max_length,
        stride=config.stride,
        lost=config.lost,
        max_answer=config.max_answer,
        facts=facts,
    )


def _content(question: Question) -> tuple[object, ...]:
    return question.text, question.context, question.answers
