"""The configuration of a trial or a study: schema, plain trees, checks."""

from harness.config.check import check
from harness.config.fingerprint import fingerprint
from harness.config.launch import HereConfig, LaunchConfig, LocalConfig, SlurmConfig
from harness.config.lora import DEFAULT_SCALE, BaselineConfig, LoraConfig, PeftConfig
from harness.config.models import MODELS, ModelConfig, Tokens
from harness.config.models.dense import DenseModelConfig
from harness.config.models.generator import GeneratorModelConfig
from harness.config.models.guest import GuestModelConfig
from harness.config.models.hf import HfModelConfig
from harness.config.models.speech import MEL_BANDS, SpeechModelConfig
from harness.config.models.text import TextModelConfig
from harness.config.models.timm import TimmModelConfig
from harness.config.models.vision import VisionModelConfig
from harness.config.multitask import MtlLoraConfig, MtloraConfig, TaskAdapterConfig, TaskForkConfig
from harness.config.probe import MaskedProbeConfig, PerplexityProbeConfig, ProbeConfig
from harness.config.scalars import AssetConfig
from harness.config.schema import (
    Config,
    ConfirmConfig,
    ExtraArmConfig,
    SweepConfig,
    TrackingConfig,
    TrainerConfig,
)
from harness.config.schema_errors import schema_keys
from harness.config.space import Choice, Range, Space
from harness.config.stored import read_stored, stored_sweep
from harness.config.tasks import AnswerSpan, LabelSets, Outputs, TaskConfig, TokenClasses, Transcribed
from harness.config.tasks.audio_table import AudioTableConfig
from harness.config.tasks.chat import ChatTaskConfig
from harness.config.tasks.choice import ChoiceTaskConfig
from harness.config.tasks.dense import DenseFolderConfig, ShapesDenseConfig
from harness.config.tasks.extractive_qa import ExtractiveQaConfig
from harness.config.tasks.file_table import FileTableConfig
from harness.config.tasks.guest import GuestTaskConfig
from harness.config.tasks.image_table import ImageTableConfig
from harness.config.tasks.own import fields_in, names_in, with_breaks
from harness.config.tasks.recordings import AudioFolderConfig
from harness.config.tasks.seq2seq import CatalogueTaskConfig, FileSeq2seqTaskConfig
from harness.config.tasks.several import ContinualTaskConfig, MixtureTaskConfig
from harness.config.tasks.speech import SpokenTaskConfig
from harness.config.tasks.text import (
    CodeTextTaskConfig,
    GlueTaskConfig,
    HubTaskConfig,
    OwnTextTaskConfig,
    RatedTaskConfig,
    TableTaskConfig,
)
from harness.config.tasks.tokens import CodeNamesTaskConfig, TokenLabelsTaskConfig, TokenTaskConfig
from harness.config.tasks.transcripts import TranscriptsConfig
from harness.config.tasks.vision import DigitsTaskConfig, FolderTaskConfig, PublishedImagesConfig
from harness.config.tree import ConfigError, apply_overrides, dotted_keys, nearest, to_dict, to_yaml

__all__ = [
    "DEFAULT_SCALE",
    "MEL_BANDS",
    "MODELS",
    "AnswerSpan",
    "AssetConfig",
    "AudioFolderConfig",
    "AudioTableConfig",
    "BaselineConfig",
    "CatalogueTaskConfig",
    "ChatTaskConfig",
    "Choice",
    "ChoiceTaskConfig",
    "CodeNamesTaskConfig",
    "CodeTextTaskConfig",
    "Config",
    "ConfigError",
    "ConfirmConfig",
    "ContinualTaskConfig",
    "DenseFolderConfig",
    "DenseModelConfig",
    "DigitsTaskConfig",
    "ExtraArmConfig",
    "ExtractiveQaConfig",
    "FileSeq2seqTaskConfig",
    "FileTableConfig",
    "FolderTaskConfig",
    "GeneratorModelConfig",
    "GlueTaskConfig",
    "GuestModelConfig",
    "GuestTaskConfig",
    "HereConfig",
    "HfModelConfig",
    "HubTaskConfig",
    "ImageTableConfig",
    "LabelSets",
    "LaunchConfig",
    "LocalConfig",
    "LoraConfig",
    "MaskedProbeConfig",
    "MixtureTaskConfig",
    "ModelConfig",
    "MtlLoraConfig",
    "MtloraConfig",
    "Outputs",
    "OwnTextTaskConfig",
    "PeftConfig",
    "PerplexityProbeConfig",
    "ProbeConfig",
    "PublishedImagesConfig",
    "Range",
    "RatedTaskConfig",
    "ShapesDenseConfig",
    "SlurmConfig",
    "Space",
    "SpeechModelConfig",
    "SpokenTaskConfig",
    "SweepConfig",
    "TableTaskConfig",
    "TaskAdapterConfig",
    "TaskConfig",
    "TaskForkConfig",
    "TextModelConfig",
    "TimmModelConfig",
    "TokenClasses",
    "TokenLabelsTaskConfig",
    "TokenTaskConfig",
    "Tokens",
    "TrackingConfig",
    "TrainerConfig",
    "Transcribed",
    "TranscriptsConfig",
    "VisionModelConfig",
    "apply_overrides",
    "check",
    "dotted_keys",
    "fields_in",
    "fingerprint",
    "names_in",
    "nearest",
    "read_stored",
    "schema_keys",
    "stored_sweep",
    "to_dict",
    "to_yaml",
    "with_breaks",
]
