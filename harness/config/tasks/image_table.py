"""The configuration of tables of images, each row with its label or labels, or a number."""

from dataclasses import replace
from typing import Literal, Self

from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, Text
from harness.config.tasks.file_table import FileTableConfig
from harness.config.tasks.vision import OwnImagesConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ImageTableConfig(FileTableConfig, OwnImagesConfig):
    """Files are read as those of folders are."""

    builder = "harness.task.image_table:read_image_table"
    file_key = "image"

    reader: Literal["image_table"]
    image: Text | None

    @property
    def file_column(self) -> str | None:
        return self.image

    def of_column(self, name: str) -> Self:
        return replace(self, image=name)
