"""The configuration of tables of images, each row with its label or labels, or a number."""

from typing import Literal

from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, Text
from harness.config.tasks.labelled import AnsweredTaskConfig
from harness.config.tasks.own import OwnDatasetConfig, OwnLabelledConfig, one_each
from harness.config.tasks.vision import SplitImagesConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ImageTableConfig(OwnDatasetConfig, OwnLabelledConfig, AnsweredTaskConfig, SplitImagesConfig):
    """A user's own table of image files, named relative to it, or of images that it holds; or a data set of the
    datasets library. `image` null: found by its usual names.

    Rows with the same `group` stay in one split; with `time`, the latest rows are held out. Transparent parts of images
    are laid over the `background`.
    """

    builder = "harness.task.image_table:read_image_table"
    path_kind = "file"
    part_of_several = False

    reader: Literal["image_table"]
    image: Text | None
    label: Text
    group: Text | None
    time: Text | None
    background: Literal["white", "black"] = "white"

    @property
    def columns_read(self) -> dict[str, str]:
        """The column of what is read; the pixels' digests stand there once the images are looked at."""
        return {"text": self.image or "image"}

    def mistakes(self, model: ModelConfig) -> list[str]:
        both = self.group is not None and self.time is not None
        mistake = f"task.group={self.group} task.time={self.time}: splits are cut by one of them; the other is null"
        twice = one_each({"image": self.image, "label": self.label})
        own = [*([mistake] if both else []), *twice, *self.source_mistakes(), *self.answer_mistakes()]
        return [*own, *super().mistakes(model)]
