"""What a user settles about data of her own, where reading them one way or another changes what is learned."""

from collections.abc import Mapping
from typing import Literal

from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, Flag, Text
from harness.config.tasks.base import TaskConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class LabelsConfig:
    """`normalise` of labels that differ in blanks, case or number format only: one class, or several; null: an error
    where there are any. `separator` parts several labels in a cell of text.
    """

    normalise: Flag | None = None
    separator: Text = ","


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnDataConfig(TaskConfig):
    """The keys of everything that reads a user's own files; their defaults refuse what is ambiguous.

    `gaps`: rows without text or label, and files that cannot be read, are left out.
    """

    gaps: Literal["refuse", "leave_out"] = "refuse"


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnLabelledConfig(OwnDataConfig):
    """The same of rows with a label. `duplicates`: of rows that contradict each other the first is kept, or none.
    `cut`: how the splits that are not given are drawn.
    """

    duplicates: Literal["refuse", "first", "leave_out"] = "refuse"
    labels: LabelsConfig = LabelsConfig()
    cut: Literal["drawn", "stratified"] = "drawn"


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnTableConfig(OwnDataConfig):
    """The same of tables: their encoding and separator are found where they are not given.

    `leaks`: a held-out split may share more than a few rows with an earlier one.
    """

    data: Text | None
    validation: Text | None
    test: Text | None
    leaks: Literal["refuse", "allow"] = "refuse"
    encoding: Text | None = None
    separator: Text | None = None

    def source_mistakes(self, dataset: str | None) -> list[str]:
        """Why files and a data set of the datasets library are both named."""
        given = {"data": self.data, "validation": self.validation, "test": self.test}
        files = [f"task.{key}={path}" for key, path in given.items() if path is not None]
        if not files or dataset is None:
            return []
        return [f"{' '.join(files)} task.dataset={dataset}: files, or a data set with its own splits"]

    @property
    def paths(self) -> Mapping[str, str | None]:
        return {"data": self.data, "validation": self.validation, "test": self.test}

    @property
    def read_early(self) -> bool:
        return True
