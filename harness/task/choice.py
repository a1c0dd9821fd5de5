"""Multiple choice by likelihood, in fixed splits: of the options of a question the likeliest is the answer."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.config import ChoiceTaskConfig, Tokens, with_breaks
from harness.task.base import SPLITS, Task, source_described
from harness.task.choice_inputs import ChoiceInputs, ChoiceSplit, encode_choices
from harness.task.constants import Batches, of_options
from harness.task.intake.cuts import refuse_empty
from harness.task.intake.findings import DataFindings
from harness.task.own_choices import always_placed, read_own_choices

if TYPE_CHECKING:
    from harness.task.choice_metrics import ChoiceMetrics
    from harness.task.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class ChoiceTask(Task):
    """Three splits of questions; what a model reads of them is as in ChoiceTaskConfig."""

    name: str
    source: str
    splits: dict[str, ChoiceSplit]
    sha256: str
    delimiter: str
    normalise_by: str
    max_length: int
    facts: DataFindings

    @property
    def classes(self) -> tuple[str, ...]:
        """None: each question has options of its own."""
        return ()

    @property
    def outputs(self) -> int:
        """No head: an answer is the likelihood of a text."""
        return 0

    def inputs(self, split: str, tokens: Tokens | None) -> ChoiceInputs:
        assert tokens is not None
        return encode_choices(
            self.splits[split],
            tokens,
            delimiter=self.delimiter,
            normalise_by=self.normalise_by,
            max_length=self.max_length,
        )

    def metrics(self) -> "ChoiceMetrics":
        """The accuracy by log-probability, as it is and normalised, and the cross-entropy of the right option."""
        from harness.task.choice_metrics import ChoiceMetrics

        return ChoiceMetrics(max(len(options) for split in self.splits.values() for options in split.options))

    def constants(self, split: str) -> Mapping[str, Batches]:
        held = self.splits[split]
        if self._placed:
            return {}
        return of_options(self.splits["train"].answers, held.answers, list(map(len, held.options)))

    def constant_scores(self, split: str, metrics: "Callable[[], Metrics]") -> dict[str, dict[str, float]]:
        """No loss: it would be that of made-up texts."""
        found = super().constant_scores(split, metrics)
        return {said: {name: scores[name] for name in scores if name != "loss"} for said, scores in found.items()}

    def offered(self, split: str) -> Sequence[tuple[str, Sequence[str]]]:
        found = self.splits[split]
        return list(zip(found.questions, found.options, strict=True))

    def texts(self, split: str) -> Iterable[str]:
        yield from self.splits[split].questions
        for options in self.splits[split].options:
            yield from options

    def lengths(self, split: str) -> dict[str, list[float]]:
        found = self.splits[split]
        return {
            "options": [len(options) for options in found.options],
            "words of options": [len(option.split()) for options in found.options for option in options],
            "words of questions": [len(question.split()) for question in found.questions],
        }

    def findings(self) -> DataFindings:
        return self.facts

    @property
    def unit(self) -> str:
        return "tokens of all options"

    def describe(self) -> dict[str, object]:
        """Adds the scores of guessing and of the place that is most often right in training, unless one place always
        is.
        """
        return (
            source_described(self.name, self.source, self.sha256, self.splits)
            | {"chance": {name: _chance(split) for name, split in self.splits.items() if name != "train"}}
            | ({} if self._placed else {"majority": self._majority()})
            | self.facts.described()
        )

    @property
    def _placed(self) -> bool:
        return always_placed([answer for split in self.splits.values() for answer in split.answers])

    def _majority(self) -> dict[str, object]:
        ((most, _),) = Counter(self.splits["train"].answers).most_common(1)
        shares = {
            name: split.answers.count(most) / len(split) for name, split in self.splits.items() if name != "train"
        }
        return {"class": f"option {most + 1}", **shares}


def _chance(split: ChoiceSplit) -> float:
    return sum(1 / len(options) for options in split.options) / len(split)


def read_choice(config: ChoiceTaskConfig) -> ChoiceTask:
    """Read and split a user's questions. Raises ConfigError for data that cannot be learned from."""
    source, frames, facts = read_own_choices(config)
    refuse_empty(f"task={config.name}", {name: frames[name] for name in SPLITS})
    splits = {}
    for name in SPLITS:
        rows = frames[name]
        columns = tuple(rows["opening"]), tuple(rows["options"]), tuple(map(int, rows["answer"]))
        splits[name] = ChoiceSplit(*columns, tuple(f"{name} {row}" for row in rows.index))
    digest = hashlib.sha256(
        repr([(name, split.questions, split.options, split.answers) for name, split in splits.items()]).encode()
    )
    return ChoiceTask(
        name=config.name,
        source=source,
        splits=splits,
        sha256=digest.hexdigest(),
        delimiter=with_breaks(config.delimiter),
        normalise_by=config.normalise_by,
        max_length=config.max_length,
        facts=facts,
    )
