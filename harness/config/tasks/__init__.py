"""The configuration of every kind of task: what it answers without torch and without data."""

import sys
from typing import TYPE_CHECKING

from harness.config.registry import classes_in, union_of
from harness.config.tasks.base import (
    FORMER_READERS,
    AnswerSpan,
    LabelSets,
    Outputs,
    TaskConfig,
    TokenClasses,
    Transcribed,
)

TASKS: dict[str, type[TaskConfig]] = classes_in(sys.modules[__name__], TaskConfig, "reader")
"""The configuration class of each reader."""

if TYPE_CHECKING:
    AnyTask = TaskConfig
else:
    AnyTask = union_of(TASKS, "reader")


def readers_for(kind: str) -> list[str]:
    """The readers of the tasks that a kind of model takes."""
    return [reader for reader, task in TASKS.items() if task.needs_model == kind]


__all__ = [
    "FORMER_READERS",
    "TASKS",
    "AnswerSpan",
    "AnyTask",
    "LabelSets",
    "Outputs",
    "TaskConfig",
    "TokenClasses",
    "Transcribed",
    "readers_for",
]
