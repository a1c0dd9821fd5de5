"""What the configurations of tasks have in common whose rows carry a label."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, AssetConfig, Natural, Text
from harness.config.tasks.base import Name, TaskConfig


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
class PublishedTaskConfig(LabelledTaskConfig):
    """A published data set; `stand_in` is the task that is trained on where it cannot be reached."""

    asset: AssetConfig
    stand_in: Text | None

    @property
    def fallback(self) -> str | None:
        return self.stand_in if self.data is None else None
