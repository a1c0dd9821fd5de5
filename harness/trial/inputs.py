"""Task and model brought together: splits as the configured model reads them, and what all of it is made of."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Sampler

from harness.config import (
    Config,
    ConfigError,
    GeneratorModelConfig,
    MixtureTaskConfig,
    Seq2seqTaskConfig,
    TextModelConfig,
    TextTaskConfig,
)
from harness.model import PAD_IDS, base_file, generator_folder, special_tokens_of, tokenizer_file
from harness.system import assets
from harness.task import (
    Inputs,
    LengthBatches,
    MixtureBatches,
    MixtureInputs,
    MixtureTask,
    Seq2seqTask,
    SpecialTokens,
    SpeechTask,
    Task,
    TextTask,
    VisionTask,
    build_task,
    encode,
    encode_seq2seq,
    image_inputs,
    read_frames,
    tokenizer_files,
    train_tokenizer,
)


def read_inputs(config: Config, task: Task, split: str) -> Inputs:
    """A split as the model of the configuration reads it; what is costly to make comes from the cache."""
    if isinstance(task, MixtureTask):
        assert isinstance(config.task, MixtureTaskConfig)
        parts = config.task.chosen
        alone = {name: dataclasses.replace(config, task=part) for name, part in parts.items()}
        return MixtureInputs([read_inputs(alone[name], part, split) for name, part in task.parts.items()])
    if isinstance(config.model, GeneratorModelConfig):
        return _read_pairs(config, config.model, task, split)
    if isinstance(task, VisionTask):
        return image_inputs(task.splits[split], task.image_size)
    if isinstance(task, SpeechTask):
        return read_frames(task.splits[split])
    assert isinstance(task, TextTask)
    assert isinstance(config.task, TextTaskConfig)
    assert isinstance(config.model, TextModelConfig)
    tokenizer = tokenizer_file(config.model)
    return encode(task.splits[split], tokenizer, config.task.max_length, PAD_IDS[config.model.family], task.spread)


def _read_pairs(config: Config, model: GeneratorModelConfig, task: Task, split: str) -> Inputs:
    assert isinstance(task, Seq2seqTask)
    assert isinstance(config.task, Seq2seqTaskConfig)
    folder = tokenizer_folder(model, task)
    longest = config.task.max_source, config.task.max_target
    return encode_seq2seq(
        task.splits[split], folder, SpecialTokens(*special_tokens_of(model)), model.separator, *longest
    )


def tokenizer_folder(model: GeneratorModelConfig, task: Task) -> Path:
    """The folder of the tokenizer: as configured, or beside the weights, or learned from the training split."""
    if model.tokenizer is not None:
        return assets.fetch(model.tokenizer.address, model.tokenizer.sha256)
    if (folder := generator_folder(model)) is not None:
        return folder
    assert isinstance(task, Seq2seqTask)
    train = task.splits["train"]
    first, last = (("<pad>", "</s>"), ()) if model.family == "t5" else ((), ("<|endoftext|>",))
    if model.family == "marian":
        raise ConfigError("model.tokenizer: missing; fresh weights of the family marian need one")
    return train_tokenizer([*train.sources, *train.targets], model.shape.vocabulary, first, last)


def loader(
    config: Config, inputs: Inputs, training: bool, rank: int = 0, world: int = 1, rows: int | None = None
) -> DataLoader[int]:
    """Batches of like length and one task: shuffled by the seed in training, each example once otherwise.

    With `rows`, of so many first ones of a task of its own.
    """
    size = config.trainer.batch_size
    if not training and config.model.kind != "generator":  # whose logits are as large as its vocabulary
        size = max(64, size)
    batches: Sampler[list[int]]
    if isinstance(inputs, MixtureInputs):
        assert isinstance(config.task, MixtureTaskConfig)
        lengths = [part.lengths for part in inputs.parts]
        batches = MixtureBatches(lengths, size, config.seed, training, config.task.sampling, rank, world)
    else:
        batches = LengthBatches(inputs.lengths[:rows], size, config.seed, training, rank, world)
    return DataLoader(inputs, batch_sampler=batches, collate_fn=inputs.batch)


def input_digests(config: Config) -> dict[str, str]:
    """The digests of data, pretrained weights, and what turns the one into the other's input."""
    digests = {"data": build_task(config.task).sha256, "base": base_identity(config)["sha256"]}
    if isinstance(config.model, TextModelConfig):
        digests["tokenizer"] = assets.sha256_of(tokenizer_file(config.model))
    if isinstance(config.model, GeneratorModelConfig):
        files = tokenizer_files(tokenizer_folder(config.model, build_task(config.task)))
        digests["tokenizer"] = " ".join(map(assets.sha256_of, files))
    return digests


def base_identity(config: Config) -> dict[str, Any]:
    """Name, address and the digest of the weights file; both say `fresh` where the weights are drawn by the seed."""
    weights = base_file(config.model)
    if weights is None or config.model.weights is None:
        return {"name": config.model.name, "address": "fresh", "sha256": "fresh"}
    return {
        "name": config.model.name,
        "address": config.model.weights.address,
        "sha256": _digest(weights, weights.stat().st_mtime_ns),
    }


@functools.lru_cache
def _digest(path: Path, _: int) -> str:
    return assets.sha256_of(path)
