"""The common base of tasks whose answer is a text."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from harness.task.answers import extraction, most_frequent, usual_answer
from harness.task.base import SPLITS, Generation, Task, source_described
from harness.task.intake.findings import DataFindings

if TYPE_CHECKING:
    from harness.task.metrics import Metrics

_SHOWN = 60  # characters of a text


class WrittenSplit(Protocol):
    """A split that has the text that is wanted of each row."""

    @property
    def answers(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class WrittenTexts:
    """The facts about every split of generated texts."""

    answers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.answers)


class WritingTask(Task):
    """Texts are generated for the first `generate_rows` rows of a held-out split; lengths are in tokens."""

    if TYPE_CHECKING:  # fields of the subclasses; a property here would be their default

        @property
        def source(self) -> str: ...

        @property
        def splits(self) -> Mapping[str, WrittenSplit]: ...

        @property
        def longest_answer(self) -> int: ...

        @property
        def generate_rows(self) -> int: ...

        @property
        def answer(self) -> str | None: ...

        @property
        def facts(self) -> DataFindings: ...

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def outputs(self) -> int:
        """No head: what comes out is text."""
        return 0

    def metrics(self) -> "Metrics":
        """The cross-entropy of the tokens that are trained on, and perplexity."""
        from harness.task.metrics import TokenMetrics

        return TokenMetrics()

    @property
    def generation(self) -> Generation | None:
        return self.generation_of("test")

    def generation_of(self, split: str) -> Generation | None:
        references = self.splits[split].answers[: self.generate_rows]
        return Generation(self.longest_answer, references, extraction(self.answer)) if references else None

    def usual_answer(self) -> dict[str, object]:
        """Return, for a record, the most frequent answer in training, and how often it is right for generated texts."""
        if (extract := extraction(self.answer)) is None:
            return {}
        written = {split: self.splits[split].answers[: self.generate_rows] for split in SPLITS[1:]}
        found = usual_answer({"train": self.splits["train"].answers, **written}, extract)
        return {"usual_answer": found} if found else {}

    def copied(self, split: str) -> Sequence[str]:
        """Return the text that copying would give for each row of a split; empty if there is no one text to copy."""
        return ()

    def constant_texts(self, split: str) -> Mapping[str, Sequence[str]]:
        """The source, the text that training has most, where it has one more than once, and a text of the answer that
        it has most.
        """
        train, count = self.splits["train"].answers, len(self.splits[split].answers[: self.generate_rows])
        found = {"copying the source": list(self.copied(split)[:count])}
        ((text, often),) = Counter(train).most_common(1)
        if often > 1:
            found[f"always writing the most frequent target, {first_line(text)!r}"] = [text] * count
        if (extract := extraction(self.answer)) is not None and (usual := most_frequent(train, extract)) is not None:
            held = next(text for text in train if extract(text) == usual)
            found[f"always giving the most frequent answer of training, {first_line(usual)}"] = [held] * count
        return {said: texts for said, texts in found.items() if texts}

    @functools.cached_property
    def baselines(self) -> dict[str, object]:
        """Return, for a record, the chrF of copying, and that of always writing the most frequent text of training if
        it occurs more than once; of generated texts.
        """
        told: dict[str, object] = {}
        held = {split: self.splits[split].answers[: self.generate_rows] for split in SPLITS[1:]}
        if not all(held.values()):
            return told
        copies = {split: self.copied(split)[: self.generate_rows] for split in held}
        if all(copies.values()):
            told["copy"] = {split: _chrf(copies[split], held[split]) for split in held}
        ((text, count),) = Counter(self.splits["train"].answers).most_common(1)
        if count > 1:
            told["usual_text"] = {"text": text} | {
                split: _chrf([text] * len(held[split]), held[split]) for split in held
            }
        return told

    def describe(self) -> dict[str, object]:
        """With the characters of the answers, and what is scored by writing the same for all."""
        return (
            source_described(self.name, self.source, self.sha256, self.splits)
            | {
                "characters": {name: sum(map(len, split.answers)) for name, split in self.splits.items()},
            }
            | (self.usual_answer() | self.baselines | self.facts.described())
        )

    def findings(self) -> DataFindings:
        return self.facts

    @property
    def unit(self) -> str:
        return "tokens"


def first_line(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _chrf(written: Sequence[str], references: Sequence[str]) -> float:
    import sacrebleu  # imported where it is needed: it is slow

    return float(sacrebleu.corpus_chrf(list(written), [list(references)]).score)
