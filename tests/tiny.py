"""A tiny encoder with weights and tokenizer, tiny data, and configurations of them composed from the real files."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import commands

ON_GPU = os.environ.get("HARNESS_TEST_ACCELERATOR") == "gpu"
"""Whether the trials of tests train on a GPU: what holds on a CPU has to hold there."""

DEVICE = ("trainer.accelerator=gpu", "trainer.precision=32-true") if ON_GPU else ("trainer=cpu",)

GOOD = ("bright", "warm", "lovely", "clever", "tender", "funny")
BAD = ("dull", "cold", "ugly", "stupid", "harsh", "boring")
FILLER = ("the", "film", "is", "a", "story", "of", "people", "and", "music", "in", "town")


def stop_at(stop: int) -> Callable[[int, dict[str, float]], bool]:
    """The report of a trial that is asked to stop, as by a cluster, once it reports that step."""

    def report(step: int, scores: dict[str, float]) -> bool:
        if step == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    return report


def write_base(folder: Path) -> Path:
    """The weights and the tokenizer of a 2-layer, 16-wide BERT."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *FILLER, "[MASK]"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=40,
        max_position_embeddings=40,
    )
    base = BertModel(config)
    base.embeddings.position_embeddings.weight.data.zero_()  # words alone then tell the classes apart
    base.save_pretrained(folder)
    return folder


def write_data(folder: Path) -> Path:
    """A CSV of 240 distinct sentences, positive where they hold a good word."""
    draw = random.Random(0)
    rows: dict[str, int] = {}
    while len(rows) < 240:
        label = len(rows) % 2
        words = draw.sample(FILLER, draw.randint(1, 3)) + [draw.choice(GOOD if label else BAD)]
        draw.shuffle(words)
        rows.setdefault(" ".join(words), label)
    path = folder / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows.items()))
    return path


def words_of(base: Path, data: Path) -> list[str]:
    """What a command line says to have the base and the data in place."""
    return [
        "task=text_csv",
        f"task.data={data}",
        "model.shape={hidden: 16, layers: 2, heads: 2, ffn: 32, vocabulary: 40, positions: 40, types: 2}",
        f"model.weights.address=path:{base}",
        "model.weights.sha256=null",
        "task.max_length=40",
    ]


SEARCH_ALONE = ("sweep.test=true", "sweep.confirm=null")
"""A study whose trials are all of the search, each scored on test."""


def compose_tree(base: Path, data: Path, *overrides: str) -> dict[str, Any]:
    """A resolved tree from conf/, the base and the data in place, and overrides on top.

    Studies search alone, unless the overrides say otherwise.
    """
    return commands.compose_tree(
        [
            *words_of(base, data),
            "tracking=off",
            *DEVICE,
            "trainer.batch_size=8",
            "trainer.max_steps=8",
            "trainer.evaluations=2",
            # Scores that tests know were measured with it; tasks of a mixture must be cut alike.
            *([] if any(word.startswith("task=") for word in overrides) else ["task.cut=drawn"]),
            *([] if any(word.startswith("lora=") for word in overrides) else ["lora.rank=2"]),
            *(SEARCH_ALONE if any(word.startswith("sweep=") for word in overrides) else []),
            *overrides,
        ]
    )
