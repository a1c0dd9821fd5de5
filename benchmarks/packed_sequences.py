"""Training on texts of unlike length: padded by like length, padded at random, and packed (trainer.pack_sequences).

A small Llama with weights drawn at random and LoRA on all linear layers reads the same examples, whose lengths are
log-normal as those of conversations are. Ways take turns, an epoch each; figures are medians of the turns, in seconds
of the processor, which other programs do not count into.

    python -m benchmarks.packed_sequences [--examples 96] [--batch 8] [--median 120] [--longest 512] [--turns 3]
    python -m benchmarks.packed_sequences --dry          a turn of the smallest, to see that all of it runs
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from harness.lora import LoraSpec, adapt
from harness.model.hf import HfGenerator
from harness.model.roles import targets_of
from harness.task import Inputs
from harness.task.packed_sequences import PackedSequences
from harness.task.sampling import LengthBatches
from harness.task.seq2seq_inputs import padded_right
from harness.training.module import mean_loss

_SPREAD = 0.8  # of the logarithms of lengths
_VOCABULARY = 2000


class _Texts(Inputs):
    """Random tokens, all of which are learned but the first."""

    def __init__(self, count: int, median: int, longest: int) -> None:
        draw = np.random.default_rng(0)
        lengths = np.exp(draw.normal(np.log(median), _SPREAD, count)).clip(8, longest).astype(int)
        self.ids = [draw.integers(1, _VOCABULARY, length) for length in lengths]

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids])

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        ids = [self.ids[row] for row in rows]
        return {
            "ids": padded_right([row[:-1] for row in ids], 0),
            "mask": padded_right([np.ones(len(row) - 1, dtype=np.int64) for row in ids], 0),
            "labels": padded_right([row[1:] for row in ids], -100),
            "places": padded_right([np.arange(len(row) - 1) for row in ids], 0),
            "rows": torch.tensor(list(rows)),
        }


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in {"examples": 96, "batch": 8, "median": 120, "longest": 512, "turns": 3, "hidden": 64}.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    if asked.dry:
        asked.examples, asked.batch, asked.turns, asked.hidden = 16, 8, 1, 32
    texts = _Texts(asked.examples, asked.median, asked.longest)
    real = int(texts.lengths.sum()) - asked.examples
    ways = _batches(texts, asked.batch)
    model = _model(asked.hidden, 2 * asked.longest)
    turns = [{name: _seconds(model, batches) for name, batches in ways.items()} for _ in range(asked.turns)]
    print(f"{asked.examples} examples of {real} tokens, steps of {asked.batch}; {torch.get_num_threads()} threads")
    for name, batches in ways.items():
        sizes = [batch["ids"].numel() for batch in batches]
        speed = statistics.median(real / turn[name] for turn in turns)
        ratio = statistics.median(turn["padded, of like length"] / turn[name] for turn in turns)
        shown = f"{1 - real / sum(sizes):5.1%} padding, at most {max(sizes):5} tokens in a step"
        print(f"{name:22} {shown}, {speed:6.0f} tokens/s, {ratio:.2f} times as fast")


def _batches(texts: _Texts, size: int) -> dict[str, list[dict[str, Tensor]]]:
    """The batches of the same epoch in each way."""
    packed = PackedSequences(texts)
    alike = LengthBatches(texts.lengths, size, 0, shuffle=True)
    at_random = list(packed.batches(size, 0, shuffle=True, process_index=0, world=1, rows=None))
    return {
        "padded, of like length": [texts.training_batch(rows) for rows in alike],
        "padded, at random": [texts.training_batch(rows) for rows in at_random],
        "packed, at random": [packed.training_batch(rows) for rows in at_random],
    }


def _model(hidden: int, positions: int) -> HfGenerator:
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=_VOCABULARY,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        max_position_embeddings=positions,
    )
    base = LlamaForCausalLM(shape).requires_grad_(False)
    targets = targets_of(base)
    adapt(base, LoraSpec(8, 2.0, ("all-linear",)), targets)
    return HfGenerator(base, targets, 1).train()


def _seconds(model: HfGenerator, batches: Sequence[dict[str, Tensor]]) -> float:
    """Return the processor's seconds for the passes and their ways back."""
    started = time.process_time()
    for batch in batches:
        mean_loss(model, batch).backward()
        model.zero_grad()
    return time.process_time() - started


if __name__ == "__main__":
    main()
