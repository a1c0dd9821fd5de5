"""The configuration of multiple choice: a question and its options; the answer is the one that a language model finds
likeliest.
"""

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, HeldOut, Listed, Natural, Text
from harness.config.tasks.base import Name
from harness.config.tasks.own import (
    Cut,
    OwnDatasetConfig,
    OwnTextsConfig,
    one_each,
    shown_answers,
    template_mistakes,
    time_mistakes,
)

_DELIMITER = " "  # of conf/task/choice.yaml


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ChoiceTaskConfig(OwnTextsConfig, OwnDatasetConfig):
    """A user's own questions: `question` is a column or a template, `options` a column of lists, or the columns of an
    option each, `label` the column of the right one.

    `label_as` says how it is named there, null: found. `delimiter` stands between a question and an option that are
    read as one text. `normalise_by` is what the log-probability of an option is divided by in accuracy_norm. Where a
    question and its longest option have more than `max_length` tokens, the question loses its first ones.
    """

    builder = "harness.task.choice:read_choice"
    predictor = "harness.trial.predict_choices:write_choices"
    needs_model = "generator"
    path_kind = "file"

    reader: Literal["choice"]
    name: Name
    question: Text
    options: Annotated[Listed, Field(min_length=1)]
    label: Text
    label_as: Literal["index", "position", "letter", "text", "named"] | None
    delimiter: str
    normalise_by: Literal["characters", "tokens"]
    group: Text | None
    split_seed: Natural
    validation_share: HeldOut
    test_share: HeldOut
    max_length: Annotated[int, Strict(), Field(ge=4)]
    cut: Cut = "hashed"
    time: Text | None = None
    time_format: Text | None = None

    @property
    def objectives(self) -> tuple[str, ...]:
        return ("accuracy", "accuracy_norm", "loss")

    @property
    def known_outputs(self) -> int:
        """No head: an answer is the likelihood of a text."""
        return 0

    @property
    def offers_options(self) -> bool:
        return True

    def mistakes(self, model: ModelConfig) -> list[str]:
        broken = template_mistakes({"question": self.question})
        broken += [line for path in self.options for line in template_mistakes({"options": path})]
        shown = one_each({"question": self.question, "label": self.label})
        shown += shown_answers(self.label, {"question": self.question})
        mistakes = [*self.source_mistakes(), *broken, *shown, *model.length_mistakes(self.max_length)]
        mistakes += time_mistakes(self.time, self.time_format, self.group)
        if self.delimiter != _DELIMITER and not model.one_sequence:
            rule = "has an encoder and a decoder, which read question and option apart; leave it out"
            mistakes.append(f"task.delimiter={self.delimiter!r}: model={model.name} {rule}")
        return mistakes
