"""The configuration of several tasks on one base: mixed batch by batch, or learned one after another."""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.adaptation import Adaptation
from harness.config.models.base import ModelConfig
from harness.config.registry import classes_in, union_of
from harness.config.scalars import CLOSED, Count, Flag, Natural, NotNegative, Number, Positive, Text
from harness.config.tasks.alone import alone_mistakes, objectives_beside, unknown_names
from harness.config.tasks.base import Name, TaskConfig
from harness.system.paths import listed

# Part of the names of scores and files, and a module's name in the network.
TaskKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]

WITHOUT_REPLAY = "task.learn=continued, separate, orthogonal or inflora"
"""What rows can be learned in turn by that do not go into one batch."""

if TYPE_CHECKING:
    AnyPart = TaskConfig
else:
    _SINGLE = classes_in(sys.modules[__package__], TaskConfig, "reader", without=["several"])
    AnyPart = union_of({reader: kind for reader, kind in _SINGLE.items() if kind.part_of_several}, "reader")


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SeveralTasksConfig(TaskConfig):
    """The common settings of mixtures and continual tasks."""

    needs_model = None

    name: Name
    split_seed: Natural

    if TYPE_CHECKING:

        @property
        def tasks(self) -> dict[str, TaskConfig]: ...

    @property
    def parts(self) -> Mapping[str, TaskConfig]:
        return self.tasks

    @property
    def chosen(self) -> dict[str, TaskConfig]:
        """The tasks that are trained, in their order."""
        return self.tasks

    @property
    def model_kind(self) -> str | None:
        """The model kind of its first task; all others are checked against the same model."""
        return next(iter(self.tasks.values())).model_kind

    @property
    def objectives(self) -> tuple[str, ...]:
        return ("score", "loss")

    @property
    def known_outputs(self) -> int | dict[str, int] | None:
        known = {name: part.known_outputs for name, part in self.chosen.items()}
        counts = {name: count for name, count in known.items() if isinstance(count, int)}
        return counts if len(counts) == len(known) else None

    def _kinds(self) -> list[str]:
        """The kinds of models that its tasks need; a guest's is known when it is imported."""
        return sorted({part.needs_model for part in self.tasks.values() if part.needs_model is not None})


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class MixtureTaskConfig(SeveralTasksConfig):
    """Several tasks on one base, a head for each, in batches of one task or of all.

    `only` names those that are trained and scored; null: all. Tasks come in turn, or as often as the root of their
    size says, or its 1/`temperature`-th power (1: in proportion; Raffel et al., 2020). `batches` mixed: so are the rows
    of each batch shared out, in place of batches of one task. Losses count alike, or by learned uncertainty (Kendall et
    al., 2018). `gradients`: the record tells at each evaluation how the tasks' gradients lie to one another. `alone`
    are the validation scores of the tasks by themselves, and scores have `delta_m`.
    """

    builder = "harness.task.mixture:read_mixture"

    reader: Literal["mixture"]
    tasks: Annotated[dict[TaskKey, AnyPart], Field(min_length=1)]
    only: Annotated[list[Text], Field(min_length=1)] | None
    sampling: Literal["round_robin", "root_size", "by_size"]
    weighting: Literal["equal", "uncertainty"]
    temperature: Positive | None = None
    batches: Literal["one_task", "mixed"] = "one_task"
    gradients: Flag = False
    alone: dict[TaskKey, Number] | None = None

    @property
    def objectives(self) -> tuple[str, ...]:
        return objectives_beside(self.alone)

    @property
    def chosen(self) -> dict[str, TaskConfig]:
        return {name: task for name, task in self.tasks.items() if self.only is None or name in self.only}

    @property
    def head_names(self) -> tuple[str, ...]:
        return tuple(self.chosen)

    @property
    def mixed(self) -> tuple[str, ...]:
        return tuple(self.chosen)

    @property
    def mixes_rows(self) -> bool:
        return self.batches == "mixed"

    @property
    def weighted_by(self) -> str:
        return self.weighting

    @property
    def watches_gradients(self) -> bool:
        return self.gradients

    def mistakes(self, model: ModelConfig) -> list[str]:
        mistakes = []
        if len(kinds := self._kinds()) > 1:
            mistakes.append(f"task.tasks: one base cannot read {' and '.join(kinds)} tasks")
        if (self.sampling == "by_size") != (self.temperature is not None):
            need = "give task.temperature" if self.temperature is None else "task.temperature is of by_size"
            mistakes.append(f"task.sampling={self.sampling}: {need}")
        mistakes += unknown_names("task.only", self.only, self.tasks)
        sizes = sorted({size for part in self.chosen.values() if (size := vars(part).get("image_size")) is not None})
        if self.batches == "mixed" and len(sizes) > 1:
            rule = "images of one batch have one size; one task.tasks.NAME.image_size for all, or task.batches=one_task"
            mistakes.append(f"task.batches=mixed: task.tasks have images of {listed(sizes)} pixels a side; {rule}")
        return mistakes + alone_mistakes(self.alone, self.tasks, self.chosen)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ContinualTaskConfig(SeveralTasksConfig):
    """Text tasks learned one after another, in the order of `order`, or as they stand.

    `learn`: one adapter continued, or one for each task, kept with its head; or an update added for each: orthogonal to
    the earlier ones (O-LoRA), `penalty` times their overlap being added to the loss, or one that reads what earlier
    inputs left free (InfLoRA), which are looked at on `input_rows` rows, `input_share` of their squares being kept; or
    one adapter continued with a replay of `replay_rows` rows of each earlier task. `heads` shared: one for all tasks,
    which then have the same classes.
    """

    builder = "harness.task.continual:read_continual"
    in_turn = True

    reader: Literal["continual"]
    tasks: Annotated[dict[TaskKey, AnyPart], Field(min_length=2)]
    order: Annotated[list[Text], Field(min_length=2)] | None
    learn: Literal["continued", "separate", "orthogonal", "inflora", "replay"]
    heads: Literal["shared", "separate"]
    penalty: NotNegative
    replay_rows: Count = 64
    input_share: Annotated[float, Strict(), Field(gt=0, le=1)] = 0.95
    input_rows: Count = 256

    @property
    def chosen(self) -> dict[str, TaskConfig]:
        return {name: self.tasks[name] for name in self.order or self.tasks}

    @property
    def known_outputs(self) -> int | dict[str, int] | None:
        known = super().known_outputs
        return next(iter(known.values())) if self.heads == "shared" and isinstance(known, dict) else known

    @property
    def head_names(self) -> tuple[str, ...]:
        return tuple(self.chosen) if self.heads == "separate" else ()

    @property
    def overlap_penalty(self) -> float | None:
        return self.penalty if self.learn == "orthogonal" else None

    @property
    def learned_in_turn(self) -> tuple[str, ...]:
        return tuple(self.chosen)

    @property
    def input_memory(self) -> tuple[float, int] | None:
        return (self.input_share, self.input_rows) if self.learn == "inflora" else None

    @property
    def replayed_rows(self) -> int | None:
        return self.replay_rows if self.learn == "replay" else None

    def mistakes(self, model: ModelConfig) -> list[str]:
        mistakes = unknown_names("task.order", self.order, self.tasks)
        if self.order and len(set(self.order)) < len(self.order):
            mistakes.append(f"task.order={json.dumps(self.order)}: a task is learned once")
        if kinds := [kind for kind in self._kinds() if kind != "text"]:
            mistakes.append(f"task.tasks: text tasks are learned one after another, not {' and '.join(kinds)} tasks")
        if tagging := [name for name, part in self.tasks.items() if part.tags_tokens]:
            rule = "tasks learned one after another have an answer for each row; task=mixture learns them together"
            mistakes.append(f"task.tasks: {', '.join(tagging)} has a tag for each token, and {rule}")
        if mistakes:
            return mistakes
        mistakes += self._replay_mistakes()
        asked = {(part.objectives, part.known_outputs) for part in self.chosen.values() if part.objectives}
        if self.heads == "shared" and (len(asked) > 1 or any("accuracy" not in possible for possible, _ in asked)):
            mistakes.append("task.heads=shared: the tasks have not the same classes; task.heads=separate")
        return mistakes

    def _replay_mistakes(self) -> list[str]:
        """Return errors for rows that cannot be joined into one batch."""
        if self.learn != "replay":
            return []
        mistakes, chosen = [], self.chosen.items()
        if several := [name for name, part in chosen if part.several_labels]:
            mistakes.append(f"rows of {', '.join(several)} have several labels")
        pairs = [name for name, part in chosen if part.reads_pairs]
        if pairs and len(pairs) < len(chosen):
            mistakes.append(f"rows of {', '.join(pairs)} are two texts (text_pair), those of the others one")
        return [f"task.learn=replay: {mistake}; {WITHOUT_REPLAY}" for mistake in mistakes]

    def adapter_mistakes(self, lora: Adaptation) -> list[str]:
        if self.learn in ("continued", "replay") or lora.takes_more_updates:
            return []
        return [f"task.learn={self.learn}: it needs adapters; lora={lora.name} has task.learn=continued"]
