"""The configuration of tasks over sentences: the answer is a class, or a number."""

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, AssetConfig, Column, Count, HeldOut, Listed, Text
from harness.config.tasks.base import GROUP_MEASURE
from harness.config.tasks.labelled import AnsweredTaskConfig, LabelColumnsConfig, PublishedTaskConfig
from harness.config.tasks.own import (
    OwnLabelledConfig,
    OwnTableConfig,
    OwnTextsConfig,
    is_folder,
    one_each,
    shown_answers,
    source_mistakes,
    template_mistakes,
    time_mistakes,
)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TextTaskConfig(AnsweredTaskConfig):
    """The common settings of text tasks. `train_rows` keeps this many of the training rows."""

    builder = "harness.task.text:read_text"
    needs_model = "text"

    train_rows: Count | None
    max_length: Annotated[int, Strict(), Field(ge=2)]

    @property
    def may_share(self) -> bool:
        """True if more than a few rows of a held-out split may be in training."""
        return False

    def mistakes(self, model: ModelConfig) -> list[str]:
        mistakes = self.answer_mistakes()
        if self.answer == "labels" and self.reader not in ("table", "hf"):
            mistakes.append(f"task.answer=labels: task={self.name} has one label a row; task=text_csv reads several")
        return mistakes + model.length_mistakes(self.max_length)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class GlueTaskConfig(PublishedTaskConfig, TextTaskConfig):
    """A GLUE-like single-sentence task: a folder of TSV files, or the hub's Parquet files."""

    reader: Literal["glue"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class RatedTaskConfig(TextTaskConfig):
    """Sentences with mean human ratings in −4…4, positive above 0 (Hutto and Gilbert, 2014)."""

    path_kind = "file"

    reader: Literal["rated"]
    asset: AssetConfig
    file: Text
    validation_share: HeldOut
    test_share: HeldOut


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class CodeTextTaskConfig(TextTaskConfig):
    """The documented functions of Python packages, or of the folder `data`; nothing of them is run.

    code_docs: whether a docstring is the function's own or another's, two texts a row. code_facts: which
    of several things a function does, from its signature and its docstring. A module is in one split; functions of more
    than `max_tokens` tokens of Python are left out. `objective` is what trainer.objective is unless it is given.
    """

    reader: Literal["code_docs", "code_facts"]
    packages: Annotated[list[AssetConfig], Field(min_length=1)]
    max_tokens: Count
    rows: Count | None
    validation_share: HeldOut
    test_share: HeldOut
    objective: Text | None = None

    @property
    def reads_pairs(self) -> bool:
        return self.reader == "code_docs"

    def mistakes(self, model: ModelConfig) -> list[str]:
        wanted = "class" if self.reads_pairs else "labels"
        mistake = f"task.answer={self.answer}: task={self.name} answers with {wanted}"
        return ([mistake] if self.answer != wanted else []) + model.length_mistakes(self.max_length)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnTextTaskConfig(OwnTextsConfig, OwnLabelledConfig, LabelColumnsConfig, TextTaskConfig):
    """A user's own tables with named columns.

    With `text_pair`, a row is two sentences. Rows with the same `group` stay in one split; with `time`, the latest rows
    are held out, and `time_format` says how those are written. Rows with the same `score_group` stay in one split, too,
    and are right only together in `group_exact`.
    """

    text: Column
    validation_share: HeldOut
    test_share: HeldOut
    leaks: Literal["refuse", "allow"] = "refuse"
    split: Text | None = "none"
    text_pair: Column | None = None
    group: Column | None = None
    time: Column | None = None
    time_format: Text | None = "plain"
    score_group: Column | None = None

    @property
    def objectives(self) -> tuple[str, ...]:
        return (*super().objectives, *((GROUP_MEASURE,) if self.score_group is not None else ()))

    @property
    def scored_together(self) -> str | None:
        return self.score_group

    @property
    def reads_pairs(self) -> bool:
        return self.text_pair is not None

    @property
    def columns_read(self) -> dict[str, str]:
        """The columns of what is read, by their part of it."""
        return {"text": self.text} | ({} if self.text_pair is None else {"pair": self.text_pair})

    @property
    def may_share(self) -> bool:
        return self.leaks == "allow"

    def mistakes(self, model: ModelConfig) -> list[str]:
        named = {"text": self.text, "text_pair": self.text_pair, **self.label_keys}
        groups = {"group": self.group, "time": self.time, "score_group": self.score_group}
        broken = template_mistakes({**named, **groups})
        shown = [
            mistake
            for name in self.label_columns
            for mistake in shown_answers(name, {"text": self.text, "text_pair": self.text_pair})
        ]
        return [
            *time_mistakes(self.time, self.time_format, self.group),
            *self._group_mistakes(),
            *self.label_mistakes(),
            *self.cell_mistakes(self.label),
            *broken,
            *one_each(named),
            *shown,
            *super().mistakes(model),
        ]

    def _group_mistakes(self) -> list[str]:
        """Return why groups of rows cannot be scored."""
        if self.score_group is None or self.answer == "class":
            return []
        return [f"task.score_group={self.score_group}: of rows with a class each, and task.answer={self.answer}; null"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TableTaskConfig(OwnTableConfig, OwnTextTaskConfig):
    """A CSV, TSV, JSON, Parquet or Arrow file, and files of its held-out splits where there are any."""

    path_kind = "file"

    reader: Literal["table"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class HubTaskConfig(OwnTextTaskConfig):
    """A data set of the datasets library: a folder that it saved, or owner/name@revision on the hub.

    `train`, `validation` and `test` are the names of its splits; null: found by their usual names. `split` is a column
    of its training split, as of other tables. `objective` and `measures` are what a data set is officially scored by:
    what trainer.objective and trainer.measures are unless they are given.
    """

    reader: Literal["hf"]
    dataset: Text | None
    subset: Text | None
    train: Text | None = None
    validation: Text | None = None
    test: Text | None = None
    objective: Text | None = None
    measures: Listed | None = None

    @property
    def split_names(self) -> dict[str, str | None]:
        """The splits of the data set that are named."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def read_early(self) -> bool:
        return self.dataset is not None and is_folder(self.dataset)

    def mistakes(self, model: ModelConfig) -> list[str]:
        own = source_mistakes(self.dataset, self.data, self.train)
        if self.data is not None and self.dataset is None:
            own = [f"task.data={self.data}: task={self.name} reads task.dataset; task=text_csv reads files"]
        return [*own, *super().mistakes(model)]
