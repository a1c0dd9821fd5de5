"""The configuration of extractive question answering: the answer to a question is a span of its context."""

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, Count, HeldOut, Natural, Text
from harness.config.tasks.base import AnswerSpan, Name
from harness.config.tasks.own import Duplicates, OwnDatasetConfig, OwnTextsConfig, time_mistakes

_WHY = "answers with two of its tokens"


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ExtractiveQaConfig(OwnTextsConfig, OwnDatasetConfig):
    """A user's own questions about contexts: tables, SQuAD's own JSON, or a data set of the datasets library.

    `answers` and `answer_start` null: found by their usual names. `id` is a column of names that are unique; one that
    is called id need not be there. `starts`: an answer that does not stand at its start is taken where it stands
    nearest to it, or its row is left out. `unanswerable`: rows without an answer are those with an empty list, or with
    an empty cell, too. `impossible`: what counts where a column, as is_impossible, and the answers say otherwise; null:
    as before there was the key, the column of SQuAD's own JSON alone.

    With `time`, the latest questions are held out, and `time_format` says how those are written.

    A context that is too long is read in windows of `max_length` tokens with the question, each of which begins
    `stride` tokens before the end of the one before; null: it is cut there. `lost`: rows whose answer is whole in no
    window are not trained on. Answers have `max_answer` tokens at most.
    """

    builder = "harness.task.extractive_qa:read_extractive_qa"
    predictor = "harness.trial.predict_spans:write_spans"
    needs_model = "text"
    path_kind = "file"

    reader: Literal["extractive_qa"]
    name: Name
    question: Text
    context: Text
    answers: Text | None
    answer_start: Text | None
    id: Text | None
    group: Text | None
    starts: Literal["refuse", "nearest", "leave_out"]
    unanswerable: Literal["lists", "empty"]
    split_seed: Natural
    validation_share: HeldOut
    test_share: HeldOut
    max_length: Annotated[int, Strict(), Field(ge=8)]
    stride: Natural | None
    lost: Literal["refuse", "leave_out"]
    max_answer: Count
    duplicates: Duplicates = "refuse"
    impossible: Literal["refuse", "marked", "answers", "leave_out"] | None = None
    time: Text | None = None
    time_format: Text | None = None

    @property
    def objectives(self) -> tuple[str, ...]:
        return ("f1", "exact", "loss")

    @property
    def known_outputs(self) -> AnswerSpan:
        return AnswerSpan()

    @property
    def marks_answers(self) -> bool:
        return True

    def mistakes(self, model: ModelConfig) -> list[str]:
        timed = time_mistakes(self.time, self.time_format, self.group)
        mistakes = [*timed, *self.source_mistakes(), *model.token_mistakes(self.name, _WHY)]
        if self.stride is not None and self.stride >= self.max_length - 4:
            rule = "windows of fewer tokens would not move on; lower it, or raise task.max_length"
            mistakes.append(f"task.stride={self.stride} task.max_length={self.max_length}: {rule}")
        return [*mistakes, *model.length_mistakes(self.max_length)]
