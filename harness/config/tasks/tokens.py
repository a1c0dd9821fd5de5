"""The configuration of tasks whose answer is a tag for each token: names in a text, parts of speech, roles in code."""

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, AssetConfig, Column, Count, Flag, HeldOut, Natural, Text
from harness.config.tasks.base import Name, Outputs, TaskConfig, TokenClasses
from harness.config.tasks.own import Duplicates, OwnDatasetConfig, OwnTextsConfig, time_mistakes


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TokenTaskConfig(TaskConfig):
    """The common settings of tasks with tagged tokens. A row is cut at `max_length` of the model's own tokens.

    `scheme` bio: tags are O, B-TYPE and I-TYPE, and spans are scored (Ramshaw and Marcus, 1995; IOB2); bioes and bilou:
    a span's last token and its only one have marks of their own (E and S, L and U); plain: each tag is a class of its
    own.
    """

    builder = "harness.task.token_labels:read_token_labels"
    predictor = "harness.trial.predict_tags:write_tags"
    needs_model = "text"
    part_of_several = True

    name: Name
    split_seed: Natural
    validation_share: HeldOut
    test_share: HeldOut
    max_length: Annotated[int, Strict(), Field(ge=2)]
    scheme: Literal["bio", "bioes", "bilou", "plain"] = "bio"

    @property
    def tags_tokens(self) -> bool:
        return True

    @property
    def objectives(self) -> tuple[str, ...]:
        return ("f1", "precision", "recall", "accuracy", "loss") if self.scheme != "plain" else ("accuracy", "loss")

    def head_outputs(self, classes: int) -> Outputs:
        return TokenClasses(classes)

    def mistakes(self, model: ModelConfig) -> list[str]:
        return [*model.token_mistakes(self.name, "tags every token"), *model.length_mistakes(self.max_length)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TagsConfig:
    """`normalise` of tags that differ in blanks, case or number format only, as task.labels of other tasks."""

    normalise: Flag | None = None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TokenLabelsTaskConfig(OwnTextsConfig, OwnDatasetConfig, TokenTaskConfig):
    """A user's own tables with a list of tokens and a list of tags in each row, files of a token a line, or a data set
    of the datasets library.

    `tokens` and `tags` are names of columns, or their numbers in files of a token a line. Tables of a token a row have
    a column `sentence`. With `time`, the latest rows are held out, and `time_format` says how those are written.
    `tag_names` are the names of tags that are numbers. `broken`: a span that begins with I- begins it all the same, or
    its row is left out; `unknown`: rows of held-out splits with tags that training has not are left out. `duplicates`:
    of rows with the same tokens and other tags.
    """

    path_kind = "file"

    reader: Literal["token_labels"]
    tokens: Column = "tokens"
    tags: Column = "tags"
    sentence: Text | None = None
    group: Text | None = None
    time: Text | None = None
    time_format: Text | None = None
    tag_names: Annotated[list[Text], Field(min_length=2)] | None = None
    labels: TagsConfig = TagsConfig()
    broken: Literal["refuse", "begin", "leave_out"] = "refuse"
    unknown: Literal["refuse", "leave_out"] = "refuse"
    duplicates: Duplicates = "refuse"

    def mistakes(self, model: ModelConfig) -> list[str]:
        timed = time_mistakes(self.time, self.time_format, self.group)
        return [*timed, *self.source_mistakes(), *super().mistakes(model)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class CodeNamesTaskConfig(TokenTaskConfig):
    """The functions of Python packages, their tokens tagged by what they name; nothing of the packages is run.

    A module is in one split. Functions of more than `max_tokens` tokens of Python are left out.
    """

    reader: Literal["code_names"]
    packages: Annotated[list[AssetConfig], Field(min_length=1)]
    max_tokens: Count
    rows: Count | None
