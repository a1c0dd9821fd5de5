"""The configuration of dense tasks: several answers for each pixel of an image, all in one pass."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.adaptation import Adaptation
from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, Count, Flag, HeldOut, Natural, Number, Text
from harness.config.tasks.alone import alone_mistakes, objectives_beside
from harness.config.tasks.base import Name, TaskConfig

DenseTaskName = Literal["segmentation", "parts", "saliency", "depth", "normals", "edges"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class DenseTaskConfig(TaskConfig):
    """Several tasks on the same images; `answers` names them. `only` names those that are trained; null: all.

    Their losses count alike, by learned uncertainty (Kendall et al., 2018), or by GradNorm (Chen et al., 2018).
    `gradients`: the record tells at each evaluation how the tasks' gradients lie to one another. `alone` are the
    validation scores of the tasks by themselves, and scores have `delta_m`.
    """

    builder = "harness.task.dense:read_dense"
    predictor = None
    needs_model = "dense"
    extra = "vision"

    name: Name
    answers: Annotated[list[DenseTaskName], Field(min_length=1)]
    only: Annotated[list[DenseTaskName], Field(min_length=1)] | None
    image_size: Annotated[int, Strict(), Field(ge=16, multiple_of=8)]
    weighting: Literal["equal", "uncertainty", "gradnorm"]
    gradients: Flag
    split_seed: Natural
    alone: dict[Text, Number] | None = None

    @property
    def all_outputs(self) -> Mapping[str, int]:
        """The channels of every answer that the data have: classes, or numbers."""
        return SHAPES_OUTPUTS

    @property
    def known_outputs(self) -> dict[str, int]:
        return {name: self.all_outputs.get(name, 1) for name in self.chosen}

    @property
    def chosen(self) -> tuple[str, ...]:
        """The tasks that are trained and scored, in their order."""
        return tuple(name for name in self.answers if self.only is None or name in self.only)

    @property
    def objectives(self) -> tuple[str, ...]:
        return objectives_beside(self.alone)

    @property
    def head_names(self) -> tuple[str, ...]:
        return self.chosen

    @property
    def mixed(self) -> tuple[str, ...]:
        return self.chosen

    @property
    def rows_of_all_tasks(self) -> bool:
        return True

    @property
    def weighted_by(self) -> str:
        return self.weighting

    @property
    def watches_gradients(self) -> bool:
        return self.gradients

    def mistakes(self, model: ModelConfig) -> list[str]:
        twice = sorted({name for name in self.answers if self.answers.count(name) > 1})
        unknown = [name for name in self.only or () if name not in self.answers]
        absent = [name for name in self.answers if name not in self.all_outputs]
        return [
            *(
                f"task.answers: {name} is not in task={self.name}; valid: {', '.join(self.all_outputs)}"
                for name in absent
            ),
            *(f"task.answers: {name} is named twice" for name in twice),
            *(f"task.only: no task {name}; valid: {', '.join(self.answers)}" for name in unknown),
            *alone_mistakes(self.alone, self.answers, self.chosen),
            *model.image_mistakes(self.name, self.image_size),
        ]

    def adapter_mistakes(self, lora: Adaptation) -> list[str]:
        if lora.takes_rows_of_all_tasks:
            return []
        return [f"{lora.chosen_by}: a row is of one task there, and of all in task={self.name}; mtlora takes such rows"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ShapesDenseConfig(DenseTaskConfig):
    """Rendered shapes with exact answers: no files are needed, `split_seed` decides all."""

    reader: Literal["shapes_dense"]
    train_rows: Count
    validation_rows: Count
    test_rows: Count


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class DenseFolderConfig(DenseTaskConfig):
    """NYUD-v2 or PASCAL-Context in the folders that multi-task work shares them in (Vandenhende et al., 2021).

    The published validation split is the test split; `validation_share` of the training images are held out. As many
    of the first rows of a split as are asked for; null: all there are.
    """

    builder = "harness.task.dense_folder:read_dense_folder"

    reader: Literal["nyud", "pascal_context"]
    data: Text | None
    validation_share: HeldOut
    train_rows: Count | None
    test_rows: Count | None

    @property
    def all_outputs(self) -> Mapping[str, int]:
        return FOLDER_OUTPUTS[self.reader]

    @property
    def paths(self) -> Mapping[str, str | None]:
        return {"data": self.data}

    @property
    def read_early(self) -> bool:
        return True


SHAPES_OUTPUTS = {"segmentation": 6, "parts": 3, "saliency": 1, "depth": 1, "normals": 3, "edges": 1}
FOLDER_OUTPUTS = {
    "nyud": {"segmentation": 40, "depth": 1, "normals": 3, "edges": 1},
    "pascal_context": {"segmentation": 21, "parts": 7, "saliency": 1, "normals": 3, "edges": 1},
}
