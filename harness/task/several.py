"""The common base of tasks made of others, learned at once or one after another."""

import hashlib
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.config import ConfigError, ModelConfig, TaskConfig
from harness.task.base import Task
from harness.task.build import read_task
from harness.task.intake.duplicates import are_too_many


class SeveralTasks(Task):
    """Tasks by name, in the order in which batches number them."""

    if TYPE_CHECKING:  # a field of the subclasses; a property here would be its default

        @property
        def parts(self) -> Mapping[str, Task]: ...

    @property
    def sha256(self) -> str:
        """The digest of the parts' digests, in their order."""
        return hashlib.sha256(repr([(name, part.sha256) for name, part in self.parts.items()]).encode()).hexdigest()

    def head_outputs(self) -> dict[str, int]:
        """The outputs of each task's head."""
        found = {name: part.outputs for name, part in self.parts.items()}
        assert all(isinstance(count, int) for count in found.values()), "a mixture in a mixture"
        return found  # type: ignore[return-value]

    def mistakes(self, model: ModelConfig) -> list[str]:
        return [mistake for part in self.parts.values() for mistake in part.mistakes(model)]

    def describe(self) -> dict[str, object]:
        """The name, the digest, and each part's own description."""
        parts = {name: part.describe() for name, part in self.parts.items()}
        return {"name": self.name, "sha256": self.sha256, "tasks": parts}


def read_parts(tasks: Mapping[str, TaskConfig]) -> dict[str, Task]:
    """Read every task. Raises ConfigError where texts that one is scored on are in the training split of another."""
    parts = {name: read_task(task) for name, task in tasks.items()}
    for first, second in itertools.permutations(parts, 2):
        known = set(parts[first].texts("train"))
        for split in ("validation", "test"):
            held = tuple(parts[second].texts(split))
            shared = sum(text in known for text in held)
            if are_too_many(shared, len(held)):
                raise ConfigError(
                    f"task.tasks: {shared} of {len(held)} {split} sentences of {second} stand in the training "
                    f"split of {first}; give both the same split_seed, shares and cut, drawn"
                )
    return parts
