"""The schema of a configuration: every key, its type and its rule."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

_CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)
# Strict scalars: "8", 8.0 and true are not the rank 8.
Count = Annotated[int, Strict(), Field(ge=1)]
Natural = Annotated[int, Strict(), Field(ge=0)]
Flag = Annotated[bool, Strict()]
Number = Annotated[float, Strict()]
Positive = Annotated[float, Strict(), Field(gt=0)]
NotNegative = Annotated[float, Strict(), Field(ge=0)]
Share = Annotated[float, Strict(), Field(ge=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]
HeldOut = Annotated[float, Strict(), Field(gt=0, le=0.4)]


DEFAULT_SCALE = 2.0


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class AssetConfig:
    """Where a file or folder comes from, and the SHA-256 that proves it.

    `sha256` is the digest of the whole (a package archive, a file), or one digest for each file of a hub repository;
    null for a hub file means: the digest that the hub declares for the pinned revision.
    """

    address: Text
    sha256: Text | dict[str, Text | None] | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class TextTaskConfig:
    """What every text classification task has."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    data: Text | None
    classes: Annotated[int, Strict(), Field(ge=2)] | None
    split_seed: Natural
    max_length: Annotated[int, Strict(), Field(ge=2)]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class GlueTaskConfig(TextTaskConfig):
    """A GLUE-like single-sentence task: a folder of TSV files, or the hub's Parquet files."""

    reader: Literal["glue"]
    asset: AssetConfig
    stand_in: Text | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class RatedTaskConfig(TextTaskConfig):
    """Sentences with mean human ratings in −4…4; positive where the rating is above 0 (Hutto and Gilbert, 2014)."""

    reader: Literal["rated"]
    asset: AssetConfig
    file: Text
    validation_share: HeldOut
    test_share: HeldOut


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class TableTaskConfig(TextTaskConfig):
    """A user's own CSV, TSV, JSONL or Parquet file with named columns."""

    reader: Literal["table"]
    text: Text
    label: Text
    validation: Text | None
    test: Text | None
    validation_share: HeldOut
    test_share: HeldOut


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
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


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class PublishedImagesConfig(ImageTaskConfig):
    """A published data set with a test split of its own: a folder of its files, or the hub's Parquet files."""

    reader: Literal["fashion_mnist", "cifar10"]
    asset: AssetConfig
    stand_in: Text | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class DigitsTaskConfig(ImageTaskConfig):
    """The handwritten digits that scikit-learn ships."""

    reader: Literal["digits"]
    test_share: HeldOut


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class FolderTaskConfig(ImageTaskConfig):
    """A user's own folder of class-named folders of images, or of train, validation and test, each such a folder."""

    reader: Literal["image_folder"]
    test_share: HeldOut


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
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


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class SequenceTaskConfig:
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


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class PairsTaskConfig(SequenceTaskConfig):
    """Files with columns: source, target and group name one, or are templates with {column} in them."""

    reader: Literal["pairs"]
    asset: AssetConfig | None
    data: Text | None
    validation: Text | None
    test: Text | None
    source: Text
    target: Text
    group: Text | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class CatalogueTaskConfig(SequenceTaskConfig):
    """English messages and their translations out of packages' message catalogues; `prompt` holds {source}."""

    reader: Literal["catalogue"]
    catalogues: Annotated[list[AssetConfig], Field(min_length=1)]
    languages: Annotated[list[Text], Field(min_length=1)]
    prompt: Annotated[str, Field(pattern=r"\{source\}")]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class ShapeConfig:
    """The dimensions of a transformer encoder, enough to build it without its weights."""

    hidden: Count
    layers: Count
    heads: Count
    ffn: Count
    vocabulary: Count
    positions: Count
    types: Count


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class TextModelConfig:
    """A pretrained encoder, how its tokens become one vector, and the head on top."""

    kind: Literal["text"]
    name: Text
    family: Literal["bert", "roberta"]
    shape: ShapeConfig
    weights: AssetConfig
    pooling: Literal["mean", "first", "pooler"]
    head: Literal["linear", "dense"]
    dropout: Share


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class VisionModelConfig:
    """A pretrained image network.

    With `classifier` its ImageNet classifier stays in the base and the head reads the 1,000 logits; without, the head
    reads the features. `image_size` matters to a network with a table of positions; null: any size.
    """

    kind: Literal["vision"]
    name: Text
    architecture: Literal["efficientnet_lite0", "resnet18", "vit_b_16"]
    weights: AssetConfig
    classifier: Flag
    image_size: Count | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class SpeechModelConfig:
    """A pretrained LSTM over mel frames, and how what it says at each frame becomes one vector."""

    kind: Literal["speech"]
    name: Text
    hidden: Count
    layers: Count
    weights: AssetConfig
    pooling: Literal["mean", "last", "embedding"]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class GeneratorShapeConfig:
    """The dimensions of a transformer that writes text; a decoder alone has as many decoder layers as layers.

    `positions` is the longest sequence, null where they are relative; `head_size` is hidden / heads but for T5.
    """

    hidden: Count
    layers: Count
    decoder_layers: Count
    heads: Count
    head_size: Count
    ffn: Count
    vocabulary: Annotated[int, Strict(), Field(ge=300)]
    positions: Count | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class GeneratorModelConfig:
    """A language model: a decoder (gpt2), or an encoder and a decoder (t5, marian).

    `weights` null: fresh weights, drawn by the seed. `tokenizer` null: the one beside the weights, or, where those are
    fresh, one learned from the training split. `made_by` is the command that makes the weights if they are not there.
    """

    kind: Literal["generator"]
    name: Text
    family: Literal["gpt2", "t5", "marian"]
    shape: GeneratorShapeConfig
    weights: AssetConfig | None
    tokenizer: AssetConfig | None
    made_by: Text | None
    separator: str
    beams: Count
    dropout: Share


PairTaskConfig = PairsTaskConfig | CatalogueTaskConfig
TaskConfig = (
    GlueTaskConfig
    | RatedTaskConfig
    | TableTaskConfig
    | PublishedImagesConfig
    | DigitsTaskConfig
    | FolderTaskConfig
    | SpokenTaskConfig
    | PairsTaskConfig
    | CatalogueTaskConfig
)
ModelConfig = TextModelConfig | VisionModelConfig | SpeechModelConfig | GeneratorModelConfig

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
"""For each reader of tasks, the kind of model that takes what it reads."""


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adaptation: y = Wx + b + s·BA·drop(x), s given as `scale`, or as `alpha` with s = alpha/rank.

    `ranks`, `scales` and `alphas` are ordered [pattern, value] pairs over layer names; the first match decides.
    """

    name: Literal["lora"]
    variant: Text
    rank: Count
    scale: Positive | None
    alpha: Positive | None
    targets: Annotated[list[Text], Field(min_length=1)]
    dropout: Share
    ranks: list[tuple[Text, Natural]] | None
    scales: list[tuple[Text, Positive]] | None
    alphas: list[tuple[Text, Positive]] | None
    conv_form: Literal["branch", "delta"]
    each_gate: Flag
    lr_ratio: Positive | None
    redistribute: Annotated[float, Strict(), Field(ge=1)]
    initial_rank: Count | None
    calibration: Count

    @property
    def update_scale(self) -> float | None:
        """The scale s where it is given or the default of 2; None where alpha decides."""
        return self.scale or (None if self.alpha else DEFAULT_SCALE)


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class PeftConfig:
    """Any method of PEFT by its type (VERA, LOHA, IA3, …) with that method's own arguments."""

    name: Literal["peft"]
    method: Text
    arguments: dict[str, Any] | None
    targets: Annotated[list[Text], Field(min_length=1)]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class PartConfig:
    """A part of the base is trained as it is: all of it, its biases (BitFit), its norms, or nothing but the head."""

    name: Literal["full", "bitfit", "norms", "head"]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with warm-up and linear decay; `head_lr` null: the head learns at `lr`."""

    lr: Positive
    head_lr: Positive | None
    weight_decay: NotNegative
    warmup: Share
    clip: Positive | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class TrainerConfig:
    """How long, in what batches, and on what a trial runs."""

    epochs: Positive
    max_steps: Count | None
    batch_size: Count
    evaluations: Count
    objective: Literal["accuracy", "loss"]
    patience: Count | None
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    threads: Count | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class TrackingConfig:
    """The W&B mirror; auto: online where a key is found, else offline."""

    mode: Literal["auto", "online", "offline", "off"]
    project: Text
    entity: Text | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class Range:
    """A nuisance dimension: an interval, uniform or log-uniform."""

    low: Number
    high: Number
    log: Flag = False


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class BaselineConfig:
    """A further arm of the study: what it sets, and what is tuned for it."""

    set: dict[str, Any]
    nuisance: dict[str, Range]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class SweepConfig:
    """What is searched: scientific values are compared, nuisance values are tuned for each of them alike."""

    scientific: dict[str, Annotated[list[Any], Field(min_length=1)]]
    nuisance: dict[str, Range]
    baselines: dict[str, BaselineConfig]
    trials: Count
    startup: Count
    prune_after: Count | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class Config:
    """One trial, or one study of trials, wholly resolved."""

    run: Literal["trial", "study", "report", "count"]
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    results: Text
    seed: Natural
    task: Annotated[TaskConfig, Field(discriminator="reader")]
    model: Annotated[ModelConfig, Field(discriminator="kind")]
    lora: Annotated[LoraConfig | PeftConfig | PartConfig, Field(discriminator="name")]
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    tracking: TrackingConfig
    sweep: SweepConfig | None
