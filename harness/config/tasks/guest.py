"""The configuration of a task of the user's own."""

from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.config.guests import DottedPath
from harness.config.scalars import CLOSED, Natural
from harness.config.tasks.base import Name, TaskConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class GuestTaskConfig(TaskConfig):
    """A subclass of harness.task.GuestTask by its dotted path, and the arguments of its constructor."""

    builder: ClassVar[str] = "harness.task.guest:read_guest"
    needs_model: ClassVar[str | None] = None
    part_of_several: ClassVar[bool] = True

    reader: DottedPath
    name: Name
    split_seed: Natural = 0
    arguments: dict[str, Any] = Field(default_factory=dict)

    @property
    def guests(self) -> tuple[str, ...]:
        return (self.reader,)

    @property
    def objectives(self) -> tuple[str, ...]:
        return ()

    @property
    def read_early(self) -> bool:
        return True
