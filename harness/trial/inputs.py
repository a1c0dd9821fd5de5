"""Task and model brought together: splits as the configured model reads them, and what all of it is made of."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from harness.config import Config, Tokens
from harness.model import base_file, model_tokens
from harness.system import assets
from harness.system.hub_models import digest_of_model, pinned_address
from harness.task import Inputs, Task, build_task, pieces_of, tokenizer_files, train_tokenizer
from harness.task.packed_sequences import PackedSequences
from harness.task.reading import Reading, read_by_tokenizer
from harness.task.wrapped_inputs import PaddedInputs
from harness.training import in_parts, in_parts_of
from harness.trial.guests import guest_digests

_EVALUATION_ROWS = 64


def read_inputs(config: Config, task: Task, split: str) -> Inputs:
    """A split as the model of the configuration reads it; what is costly to make comes from the cache.

    Raises ConfigError for texts that are unknown to its tokenizer for the most part.
    """
    tokens = tokens_for(config, task)
    inputs = task.inputs(split, tokens)
    read_by_tokenizer(task, {split: inputs}, tokens, allow=config.task.takes_unknown)
    return inputs


def readings(config: Config, task: Task, splits: Mapping[str, Any]) -> dict[str, Reading]:
    """Read the texts of all splits with the tokenizer, by the names of the tasks if there are several."""
    tokens = tokens_for(config, task)
    if not config.task.parts:
        return {"": read_by_tokenizer(task, splits, tokens, allow=config.task.takes_unknown)}
    found = {}
    for number, (name, part) in enumerate(task.parts.items()):
        by_split = {
            split: inputs[name] if config.task.in_turn else inputs.by_part()[number] for split, inputs in splits.items()
        }
        found[name] = read_by_tokenizer(part, by_split, tokens, allow=config.task.parts[name].takes_unknown)
    return found


def training_rows(config: Config, task: Task) -> Inputs:
    """The training split; of tasks that are learned one after another that of the first."""
    if config.task.in_turn:
        return next(iter(task.inputs_by_task("train", tokens_for(config, task)).values()))
    return arranged(config, read_inputs(config, task, "train"))


def arranged(config: Config, train: Inputs) -> Inputs:
    """The training split with its batches packed or padded further, as the trainer is to have them."""
    if config.trainer.pack_sequences:
        train = PackedSequences(train)
    if config.trainer.pad_to_multiple_of is not None:
        train = PaddedInputs(train, config.trainer.pad_to_multiple_of)
    return train


def tokens_for(config: Config, task: Task) -> Tokens | None:
    """Return the model's text format; a model without a tokenizer learns one from the training split."""
    tokens = model_tokens(config.model, task.outputs)
    if tokens is None or tokens.tokenizer is not None or tokens.sample_rate is not None:
        return tokens
    learned = train_tokenizer(task.texts("train"), tokens.vocabulary, tokens.first, tokens.last)
    return dataclasses.replace(tokens, tokenizer=learned)


def loader(
    inputs: Inputs,
    size: int,
    seed: int,
    *,
    training: bool,
    process_index: int = 0,
    world: int = 1,
    rows: int | None = None,
    accumulate: int = 1,
    tokens: int | None = None,
    pin: bool = False,
) -> DataLoader[int]:
    """Batches of `size` rows of like length and one task: shuffled by `seed` in training, each row once otherwise.

    With `rows`, of so many first ones of a task of its own. With `accumulate` a batch has so many times `size` rows,
    in parts; with `tokens` in as many parts as keep each at so many, in evaluation in as many batches. With `pin` in
    memory that a GPU copies from while this process goes on.
    """
    whole = size * accumulate
    batches: Any = inputs.batches(whole, seed, shuffle=training, process_index=process_index, world=world, rows=rows)
    if tokens is not None and not training:
        batches = [piece for batch in batches for piece in pieces_of(inputs.lengths, tokens, batch)]
    collate: Any = training_collate(inputs, accumulate=accumulate, tokens=tokens) if training else inputs.batch
    return DataLoader(inputs, batch_sampler=batches, collate_fn=collate, pin_memory=pin)


def training_collate(
    inputs: Inputs, *, accumulate: int, tokens: int | None
) -> Callable[[Sequence[int]], dict[str, Any]]:
    """Return the collate function of a step: in `accumulate` parts, or in as many as keep each at `tokens`."""
    if tokens is not None:
        return functools.partial(in_parts_of, inputs, tokens)
    return functools.partial(in_parts, inputs, accumulate) if accumulate > 1 else inputs.training_batch


def evaluation_size(config: Config, task: Task) -> int:
    """The rows of a batch of evaluation: more than in training, but where logits are as large as a vocabulary."""
    rows, large = config.trainer.batch_size, config.model.vocabulary_logits or task.outputs == 0
    return rows if large else max(_EVALUATION_ROWS, rows)


def input_digests(config: Config) -> dict[str, str]:
    """The digests of data, pretrained weights, what turns the one into the other's input, and guests' code."""
    task = build_task(config.task)
    digests = {"data": task.sha256, "base": base_identity(config)["sha256"]}
    tokens = tokens_for(config, task)
    if tokens is not None and tokens.tokenizer is not None:
        digests["tokenizer"] = " ".join(map(assets.sha256_of, tokenizer_files(tokens.tokenizer)))
        digests |= task.input_digests(tokens)
    return digests | guest_digests(config)


def base_identity(config: Config) -> dict[str, Any]:
    """Name, address and the digest of the weights file; both say `fresh` where the weights are drawn by the seed. And
    how its linear layers are held.
    """
    weights, source = base_file(config.model), config.model.weights
    address = digest = "fresh"
    if weights is not None and source is not None:
        address, digest = pinned_address(source.address), _digest(weights, _changed(weights))
    held = {"quantization": config.model.quantized, "quantization_skip": config.model.unquantized}
    return {"name": config.model.name, "address": address, "sha256": digest, **held}


def _changed(path: Path) -> int:
    """Return the last change of a file, or of the latest one in a folder, in nanoseconds."""
    return max(file.stat().st_mtime_ns for file in (path.iterdir() if path.is_dir() else [path]))


@functools.lru_cache
def _digest(path: Path, _: int) -> str:
    return digest_of_model(path) if path.is_dir() else assets.sha256_of(path)
