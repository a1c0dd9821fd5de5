"""The configuration of every kind of task."""

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, AssetConfig, Count, HeldOut, Natural, NotNegative, Text

# Part of the names of scores and files, and a module's name in the network.
TaskKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TextTaskConfig:
    """What every text task has: the answer is a class, or a number. `train_rows` keeps so many of the training rows."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    data: Text | None
    answer: Literal["class", "number"]
    classes: Annotated[int, Strict(), Field(ge=2)] | None
    train_rows: Count | None
    split_seed: Natural
    max_length: Annotated[int, Strict(), Field(ge=2)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class GlueTaskConfig(TextTaskConfig):
    """A GLUE-like single-sentence task: a folder of TSV files, or the hub's Parquet files."""

    reader: Literal["glue"]
    asset: AssetConfig
    stand_in: Text | None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class RatedTaskConfig(TextTaskConfig):
    """Sentences with mean human ratings in −4…4, positive above 0 (Hutto and Gilbert, 2014)."""

    reader: Literal["rated"]
    asset: AssetConfig
    file: Text
    validation_share: HeldOut
    test_share: HeldOut


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TableTaskConfig(TextTaskConfig):
    """A user's own CSV, TSV, JSONL or Parquet file with named columns."""

    reader: Literal["table"]
    text: Text
    label: Text
    validation: Text | None
    test: Text | None
    validation_share: HeldOut
    test_share: HeldOut


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ImageTaskConfig:
    """What every image classification task has.

    As many rows of a split as are asked for are drawn evenly from the classes; null: all there are.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    data: Text | None
    classes: Annotated[int, Strict(), Field(ge=2)] | None
    split_seed: Natural
    image_size: Annotated[int, Strict(), Field(ge=8)]
    train_rows: Count | None
    validation_rows: Count | None
    test_rows: Count | None
    validation_share: HeldOut


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class PublishedImagesConfig(ImageTaskConfig):
    """A published data set with a test split of its own: a folder of its files, or the hub's Parquet files."""

    reader: Literal["fashion_mnist", "cifar10"]
    asset: AssetConfig
    stand_in: Text | None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class DigitsTaskConfig(ImageTaskConfig):
    """The handwritten digits that scikit-learn ships."""

    reader: Literal["digits"]
    test_share: HeldOut


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class FolderTaskConfig(ImageTaskConfig):
    """A user's own folder of class-named folders of images, or of train, validation and test, each such a folder."""

    reader: Literal["image_folder"]
    test_share: HeldOut


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SpokenTaskConfig:
    """A folder of recorded words, LABEL_SPEAKER_INDEX.wav, split by speaker.

    `validation_speakers` and `test_speakers` are names, or how many speakers to draw by `split_seed`.
    """

    reader: Literal["spoken"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    data: Text | None
    asset: AssetConfig | None
    sample_rate: Count
    classes: Annotated[int, Strict(), Field(ge=2)] | None
    validation_speakers: Count | Annotated[list[Text], Field(min_length=1)]
    test_speakers: Count | Annotated[list[Text], Field(min_length=1)]
    split_seed: Natural


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class BaseSeq2seqTaskConfig:
    """What every task of source and target texts has. Lengths are in tokens; of the first `generate_rows` test rows
    the texts are written, and compared with what they should be.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    split_seed: Natural
    validation_share: HeldOut
    test_share: HeldOut
    max_source: Count
    max_target: Annotated[int, Strict(), Field(ge=2)]
    generate_rows: Natural


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class FileSeq2seqTaskConfig(BaseSeq2seqTaskConfig):
    """Files with columns: source, target and group name one, or are templates with {column} in them."""

    reader: Literal["pairs"]
    asset: AssetConfig | None
    data: Text | None
    validation: Text | None
    test: Text | None
    source: Text
    target: Text
    group: Text | None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class CatalogueTaskConfig(BaseSeq2seqTaskConfig):
    """English messages and their translations out of packages' message catalogues; `prompt` holds {source}."""

    reader: Literal["catalogue"]
    catalogues: Annotated[list[AssetConfig], Field(min_length=1)]
    languages: Annotated[list[Text], Field(min_length=1)]
    prompt: Annotated[str, Field(pattern=r"\{source\}")]


Seq2seqTaskConfig = FileSeq2seqTaskConfig | CatalogueTaskConfig
PartTaskConfig = (
    GlueTaskConfig
    | RatedTaskConfig
    | TableTaskConfig
    | PublishedImagesConfig
    | DigitsTaskConfig
    | FolderTaskConfig
    | SpokenTaskConfig
)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class MixtureTaskConfig:
    """Several tasks on one base, a head for each, in batches of one task.

    `only` names those that are trained and scored; null: all. Tasks come in turn, or as often as the root of their
    size says. Their losses count alike, or by learned uncertainty (Kendall et al., 2018).
    """

    reader: Literal["mixture"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    tasks: Annotated[dict[TaskKey, Annotated[PartTaskConfig, Field(discriminator="reader")]], Field(min_length=1)]
    only: Annotated[list[Text], Field(min_length=1)] | None
    sampling: Literal["round_robin", "root_size"]
    weighting: Literal["equal", "uncertainty"]
    split_seed: Natural

    @property
    def chosen(self) -> dict[str, PartTaskConfig]:
        """The tasks that are trained, in their order."""
        return {name: task for name, task in self.tasks.items() if self.only is None or name in self.only}


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ContinualTaskConfig:
    """Text tasks learned one after another, in the order of `order`, or as they stand.

    `learn`: one adapter continued, or one for each task, kept with its head, or pairs orthogonal to the earlier ones
    (O-LoRA), `penalty` times their overlap being added to the loss. `heads` shared: one for all tasks, which then have
    the same classes.
    """

    reader: Literal["sequence"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    tasks: Annotated[dict[TaskKey, Annotated[PartTaskConfig, Field(discriminator="reader")]], Field(min_length=2)]
    order: Annotated[list[Text], Field(min_length=2)] | None
    learn: Literal["continued", "separate", "orthogonal"]
    heads: Literal["shared", "separate"]
    penalty: NotNegative
    split_seed: Natural

    @property
    def chosen(self) -> dict[str, PartTaskConfig]:
        """The tasks in the order they are learned."""
        return {name: self.tasks[name] for name in self.order or self.tasks}


SeveralTaskConfig = MixtureTaskConfig | ContinualTaskConfig
TaskConfig = PartTaskConfig | FileSeq2seqTaskConfig | CatalogueTaskConfig | SeveralTaskConfig

READS: dict[str, str] = {
    "glue": "text",
    "rated": "text",
    "table": "text",
    "fashion_mnist": "vision",
    "cifar10": "vision",
    "digits": "vision",
    "image_folder": "vision",
    "spoken": "speech",
    "pairs": "generator",
    "catalogue": "generator",
}
"""For each reader of tasks, the kind of model that takes what it reads; several tasks ask their first one."""


def kind_of(task: TaskConfig) -> str:
    """The kind of model that takes what a task reads."""
    return READS[next(iter(task.tasks.values())).reader if isinstance(task, SeveralTaskConfig) else task.reader]
