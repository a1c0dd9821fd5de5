"""The common settings of tasks whose rows carry a label."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, AssetConfig, ClassName, Column, Natural, Text
from harness.config.tasks.base import NUMBER_MEASURES, Name, TaskConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class LabelledTaskConfig(TaskConfig):
    """`classes` null: as many as the data have."""

    part_of_several = True

    name: Name
    data: Text | None
    classes: Annotated[int, Strict(), Field(ge=2)] | None
    split_seed: Natural

    @property
    def known_outputs(self) -> int | None:
        return self.classes

    @property
    def paths(self) -> Mapping[str, str | None]:
        return {"data": self.data}


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class AnsweredTaskConfig(LabelledTaskConfig):
    """The settings of labels that may be a class, several of them, or a number.

    `positive` names the one of two classes that `f1` and `average_precision` are of; null: the later in the alphabet.
    """

    answer: Literal["class", "number", "labels"]
    positive: ClassName | None = None

    @property
    def several_labels(self) -> bool:
        return self.answer == "labels"

    @property
    def objectives(self) -> tuple[str, ...]:
        if self.several_labels:
            return ("f1_micro", "f1_macro", "exact", "loss")
        return ("loss", "rmse", "r2", *NUMBER_MEASURES) if self.answer == "number" else super().objectives

    @property
    def known_outputs(self) -> int | None:
        return 1 if self.answer == "number" else self.classes

    def answer_mistakes(self) -> list[str]:
        """Return the errors for answers that are numbers, or several labels."""
        mistakes = []
        if self.answer == "number" and self.classes is not None:
            mistakes.append(f"task.classes={self.classes}: task={self.name} answers with a number; task.classes=null")
        if self.answer != "class" and self.positive is not None:
            rule = f"one of two classes, and task.answer={self.answer}; task.positive=null"
            mistakes.append(f"task.positive={self.positive}: {rule}")
        return mistakes


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class LabelColumnsConfig(AnsweredTaskConfig):
    """The settings of labels in tables: several columns of `label` have a 0 or a 1 for a label each."""

    label: Column | Annotated[list[Column], Field(min_length=1)]

    @property
    def label_columns(self) -> list[str]:
        """The column of labels, or those of a 0 or a 1 for a label each."""
        return [self.label] if isinstance(self.label, str) else self.label

    @property
    def label_name(self) -> str:
        """The name of the label column in messages."""
        return ", ".join(self.label_columns)

    @property
    def label_keys(self) -> dict[str, str]:
        """The columns of labels by the key that names them."""
        if isinstance(self.label, str):
            return {"label": self.label}
        return {f"label[{place}]": name for place, name in enumerate(self.label)}

    def label_mistakes(self) -> list[str]:
        """Return why several columns of labels cannot be read."""
        if isinstance(self.label, list) and len(self.label) == 1:
            rule = f"one column of labels is task.label={self.label[0]}; in brackets are several of a 0 or a 1 for each"
            return [f"task.label=[{self.label[0]}]: {rule}"]
        if isinstance(self.label, str) or self.answer == "labels":
            return []
        rule = "several columns have a 0 or a 1 for a label each; task.answer=labels reads them"
        return [f"task.label=[{','.join(self.label)}] task.answer={self.answer}: {rule}"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class PublishedTaskConfig(LabelledTaskConfig):
    """A published data set; `stand_in` is the task that is trained on where it cannot be reached."""

    asset: AssetConfig
    stand_in: Text | None

    @property
    def fallback(self) -> str | None:
        return self.stand_in if self.data is None else None
