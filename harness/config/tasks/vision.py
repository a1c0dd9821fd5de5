"""The configuration of image classification tasks."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, Count, HeldOut, Number
from harness.config.tasks.labelled import LabelledTaskConfig, PublishedTaskConfig
from harness.config.tasks.own import OwnLabelledConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ImageTaskConfig(LabelledTaskConfig):
    """The common settings of image classification tasks.

    As many rows of a split as are asked for are drawn evenly from the classes; null: all there are.
    """

    builder = "harness.task.vision:read_vision"
    predictor = "harness.trial.predict_files:write_of_images"
    answers_files = True
    needs_model = "vision"
    extra = "vision"

    image_size: Annotated[int, Strict(), Field(ge=8)]
    train_rows: Count | None
    validation_rows: Count | None
    test_rows: Count | None
    validation_share: HeldOut

    @property
    def shares(self) -> Mapping[str, float]:
        """The share of images in each split that is not given; a published data set has a test split."""
        return {"validation": self.validation_share}

    @property
    def evenly_cut(self) -> bool:
        """True if splits that are not given are drawn from each class by its size."""
        return False

    @property
    def may_share(self) -> bool:
        """True if an image may be in two splits that are given."""
        return False

    def mistakes(self, model: ModelConfig) -> list[str]:
        return model.image_mistakes(self.name, self.image_size)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class PublishedImagesConfig(PublishedTaskConfig, ImageTaskConfig):
    """A published data set with a test split of its own: a folder of its files, or the hub's Parquet files."""

    reader: Literal["fashion_mnist", "cifar10"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SplitImagesConfig(ImageTaskConfig):
    """Images without a test split of their own."""

    test_share: HeldOut

    @property
    def shares(self) -> Mapping[str, float]:
        return {"validation": self.validation_share, "test": self.test_share}


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class DigitsTaskConfig(SplitImagesConfig):
    """The handwritten digits that scikit-learn ships."""

    reader: Literal["digits"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnImagesConfig(SplitImagesConfig):
    """A user's own image files: transparent parts are laid over the `background`, and the two values of `range` are
    black and white in grey of more than 8 bits; null: 0 and 65535 where there are 16, and others are an error.
    """

    background: Literal["white", "black"] = "white"
    range: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None

    def mistakes(self, model: ModelConfig) -> list[str]:
        own = []
        if self.range is not None and self.range[0] >= self.range[1]:
            said = ",".join(f"{value:g}" for value in self.range)
            own = [f"task.range=[{said}]: the value that is black, then a higher one that is white"]
        return [*own, *super().mistakes(model)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class FolderTaskConfig(OwnLabelledConfig, OwnImagesConfig):
    """A user's own folder of class-named folders of images, or of train, validation and test, each such a folder.

    `leaks`: pictures that stand in two of the splits that are given; leave_out: the later of train, validation and test
    has them alone.
    """

    reader: Literal["image_folder"]
    leaks: Literal["refuse", "leave_out", "allow"] = "leave_out"

    @property
    def may_share(self) -> bool:
        return self.leaks == "allow"

    @property
    def evenly_cut(self) -> bool:
        return self.cut == "stratified"

    @property
    def read_early(self) -> bool:
        return True
