"""The configuration of tables that name a file in each row, or hold it, with a label, several of them or a number."""

from abc import abstractmethod
from typing import ClassVar, Self

from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, HeldOut, Text
from harness.config.tasks.labelled import LabelColumnsConfig
from harness.config.tasks.own import (
    GapWords,
    OwnDatasetConfig,
    OwnLabelledConfig,
    one_each,
    template_mistakes,
    time_mistakes,
)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class FileTableConfig(OwnDatasetConfig, OwnLabelledConfig, LabelColumnsConfig):
    """A user's own table of files, named relative to it, or of what is in them; or a data set of the datasets library.

    Rows with the same `group` stay in one split; with `time`, the latest rows are held out, and `time_format` says how
    those are written. `file_key` is the key of the column of files, or of a template that names them, as in
    'files/{id}.jpg'; where that is null, the column is found by its usual names.
    """

    path_kind = "file"
    part_of_several = False
    file_key: ClassVar[str]
    gap_words: ClassVar[GapWords] = "keep"
    """No texts are read of which a word could be one for a gap."""

    group: Text | None
    time: Text | None
    validation_share: HeldOut
    test_share: HeldOut
    time_format: Text | None = "plain"

    @property
    @abstractmethod
    def file_column(self) -> str | None:
        """The column of files, where it is named."""

    @abstractmethod
    def of_column(self, name: str) -> Self:
        """This configuration with the column of files named."""

    @property
    def columns_read(self) -> dict[str, str]:
        """The column of what is read; the digests of contents stand there once the files are read."""
        return {"text": self.file_column or self.file_key}

    def mistakes(self, model: ModelConfig) -> list[str]:
        twice = one_each({self.file_key: self.file_column, **self.label_keys})
        own = [
            *time_mistakes(self.time, self.time_format, self.group),
            *twice,
            *self.label_mistakes(),
            *self.cell_mistakes(self.label),
            *template_mistakes({self.file_key: self.file_column}),
            *self.source_mistakes(),
            *self.answer_mistakes(),
        ]
        return [*own, *super().mistakes(model)]
