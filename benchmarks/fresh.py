"""A base of a known shape with weights drawn at random, and sentences that it can learn: nothing is downloaded."""

import csv
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

SHAPES = {
    "minilm": {"hidden": 384, "layers": 6, "heads": 12, "ffn": 1536},
    "bert_base": {"hidden": 768, "layers": 12, "heads": 12, "ffn": 3072},
    "bert_large": {"hidden": 1024, "layers": 24, "heads": 16, "ffn": 4096},
}
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
VOCABULARY, POSITIONS, CLASS_WORDS = 30522, 512, 6


def bert(shape: str, dropout: float = 0.1) -> BertModel:
    """A base of a shape, the same weights at each call."""
    size = SHAPES[shape]
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=size["hidden"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        intermediate_size=size["ffn"],
        vocab_size=VOCABULARY,
        max_position_embeddings=POSITIONS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertModel(config, add_pooling_layer=False)


def write_base(folder: Path, shape: str) -> Path:
    """A folder that transformers loads: config.json, model.safetensors, tokenizer.json of made-up words."""
    bert(shape).save_pretrained(folder)
    words = [*SPECIALS, *(f"w{index}" for index in range(VOCABULARY - len(SPECIALS)))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=SPECIALS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_sentences(path: Path, rows: int = 6000) -> Path:
    """A CSV of sentences of 8 to 40 words; one word of each tells its class."""
    draw = random.Random(0)
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for index in range(rows):
            telling = f"w{2 * draw.randrange(CLASS_WORDS) + index % 2}"
            words = [f"w{draw.randrange(20, 2000)}" for _ in range(draw.randint(7, 39))]
            words.insert(draw.randrange(len(words)), telling)
            table.writerow([" ".join(words), index % 2])
    return path


def words_of(base: Path, data: Path, shape: str) -> list[str]:
    """Return the words of a harness command line that select them."""
    size = SHAPES[shape]
    sizes = ", ".join(f"{name}: {size[name]}" for name in ("hidden", "layers", "heads", "ffn"))
    return [
        "task=text_csv",
        f"task.data={data}",
        f"model.shape={{{sizes}, vocabulary: {VOCABULARY}, positions: {POSITIONS}, types: 2}}",
        f"model.weights.address=path:{base}",
        "model.weights.sha256=null",
    ]
