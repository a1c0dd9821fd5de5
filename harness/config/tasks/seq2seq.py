"""The configuration of tasks of source texts and the target texts to be written for them."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, AssetConfig, Count, HeldOut, Natural, Text
from harness.config.tasks.base import ANSWER_MEASURES, ERROR_RATES, TEXT_MEASURES, Name, TaskConfig
from harness.config.tasks.own import (
    Cut,
    OwnDatasetConfig,
    OwnTextsConfig,
    shown_targets,
    template_mistakes,
    time_mistakes,
)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class WritingTaskConfig(TaskConfig):
    """The common settings of tasks whose answer is a text. Texts are generated for the first `generate_rows` test rows
    and compared with their targets; of validation, too, if an objective needs texts. With `answer`, the part that it
    extracts from both is compared, too.
    """

    needs_model = "generator"
    extra = "translation"

    name: Name
    split_seed: Natural
    validation_share: HeldOut
    test_share: HeldOut
    generate_rows: Natural
    answer: Annotated[str, Field(pattern=r"^(number|letter|last_line|pattern:.+)$")] | None = None

    @property
    def objectives(self) -> tuple[str, ...]:
        whole = [name for name in TEXT_MEASURES if name not in (*ERROR_RATES, *ANSWER_MEASURES)]
        return ("loss", "perplexity", *whole, *(ANSWER_MEASURES if self.answer is not None else ()))

    @property
    def written_rows(self) -> int:
        return self.generate_rows

    @property
    def known_outputs(self) -> int:
        """No head: what comes out is text."""
        return 0

    @property
    def answer_taken(self) -> str | None:
        return self.answer

    def answer_mistakes(self) -> list[str]:
        """Return why `answer` extracts nothing from any text."""
        if self.answer is None:
            return []
        where, (_, _, pattern) = f"task.answer={self.answer}", self.answer.partition(":")
        if not self.generate_rows:
            return [f"{where}: task.generate_rows=0 has no texts written; give it rows"]
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            return [f"{where}: not a regular expression, {error}"]
        return [f"{where}: {groups} groups, and one at most is the answer; others as (?:…)"] if groups > 1 else []


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class Seq2seqTaskConfig(WritingTaskConfig):
    """The common settings of tasks with source and target texts. Lengths are in tokens."""

    builder = "harness.task.seq2seq:read_seq2seq"

    max_source: Count
    max_target: Annotated[int, Strict(), Field(ge=2)]

    def mistakes(self, model: ModelConfig) -> list[str]:
        return [*self.answer_mistakes(), *model.seq2seq_mistakes(self.max_source, self.max_target)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class FileSeq2seqTaskConfig(OwnTextsConfig, OwnDatasetConfig, Seq2seqTaskConfig):
    """Files with columns: source, target and group name one, or are templates with {column} in them."""

    path_kind = "file"

    reader: Literal["seq2seq"]
    asset: AssetConfig | None
    source: Text
    target: Text
    group: Text | None
    cut: Cut = "hashed"
    time: Text | None = None
    time_format: Text | None = None

    @property
    def paths(self) -> Mapping[str, str | None]:
        """Paths inside an asset are looked for when that is fetched."""
        return {} if self.asset is not None else super().paths

    @property
    def read_early(self) -> bool:
        return self.asset is None and super().read_early

    def mistakes(self, model: ModelConfig) -> list[str]:
        templates = {"source": self.source, "target": self.target, "group": self.group}
        timed = time_mistakes(self.time, self.time_format, self.group)
        shown = shown_targets(self.target, {"source": self.source})
        return [*self.source_mistakes(), *template_mistakes(templates), *shown, *timed, *super().mistakes(model)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class CatalogueTaskConfig(Seq2seqTaskConfig):
    """English messages and their translations out of packages' message catalogues; `prompt` holds {source}."""

    reader: Literal["catalogue"]
    catalogues: Annotated[list[AssetConfig], Field(min_length=1)]
    languages: Annotated[list[Text], Field(min_length=1)]
    prompt: Annotated[str, Field(pattern=r"\{source\}")]
