"""Folders of small random models, saved by transformers itself, with a tokenizer beside them."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedModel

from harness.model.architectures import small_config

WORDS = ("<pad>", "<unk>", "<s>", "</s>", *(f"w{number}" for number in range(96)))
IDS = torch.tensor([[2, 10, 11, 12, 40, 3], [2, 12, 45, 3, 0, 0], [2, 50, 51, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]])


def write_tokenizer(folder: Path, **marks: str) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 2), ("</s>", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said | marks))


def random_network(kind: type, model_type: str, seed: int = 1, **keys: object) -> PreTrainedModel:
    """A small network of an auto class, random but for the seed."""
    torch.manual_seed(seed)
    made = small_config(model_type)
    made.architectures = []
    for key, value in keys.items():
        setattr(made, key, value)
    network = kind.from_config(made).eval()
    with torch.no_grad():
        for tensor in network.parameters():  # no norm at 1 and no bias at 0, and all of it large enough to matter
            tensor.add_(0.2 * torch.randn(tensor.shape))
    return network


def save_small(kind: type, model_type: str, folder: Path, **keys: object) -> PreTrainedModel:
    """Such a network in a folder."""
    network = random_network(kind, model_type, **keys)
    network.save_pretrained(folder)
    write_tokenizer(folder)
    return network


def three_steps(
    network: torch.nn.Module, run: Callable[[], torch.Tensor], labels: torch.Tensor
) -> tuple[int, torch.Tensor]:
    """Train what a network trains for three steps of AdamW; how many numbers that is, and the logits afterwards."""
    trained = [tensor for tensor in network.parameters() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(run(), labels).backward()
        optimizer.step()
    return sum(tensor.numel() for tensor in trained), run().detach()
