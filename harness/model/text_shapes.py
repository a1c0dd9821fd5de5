"""The layers of a text encoder as shapes alone, without the seconds that transformers takes to be imported.

The counts are those of harness.model.text: the tests compare both, layer by layer. Nothing is computed.
"""

import torch
from torch import Tensor, nn

from harness.config import AnswerSpan, Outputs, TextModelConfig, TokenClasses
from harness.model.base import Network
from harness.model.text_parts import PAD_IDS, TARGETS, text_head


def shapes(config: TextModelConfig, outputs: Outputs) -> Network:
    """The classifier on the current device, which is the meta device; what asks each token is of transformers."""
    if isinstance(outputs, TokenClasses | AnswerSpan):
        from harness.model.text import build  # the head is in a class of transformers

        return build(config, outputs, weights=False)
    return _Shapes(_encoder(config), text_head(config, outputs), TARGETS[config.family])


class _Shapes(Network):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        raise NotImplementedError("shapes alone compute nothing")


def _encoder(config: TextModelConfig) -> nn.Module:
    """BERT's layers (Devlin et al., 2019), which RoBERTa has too; only what pads differs."""
    shape = config.shape
    layers = nn.ModuleList(_layer(shape.hidden, shape.ffn) for _ in range(shape.layers))
    base = _of({"embeddings": _embeddings(config), "encoder": _of({"layer": layers})})
    if config.pooling == "pooler":
        base.add_module("pooler", _of({"dense": nn.Linear(shape.hidden, shape.hidden)}))
    return base


def _embeddings(config: TextModelConfig) -> nn.Module:
    shape, pad = config.shape, PAD_IDS[config.family]
    made = _of(
        {
            "word_embeddings": _embedding(shape.vocabulary, shape.hidden, pad),
            "position_embeddings": _embedding(
                shape.positions, shape.hidden, pad if config.family == "roberta" else None
            ),
            "token_type_embeddings": _embedding(shape.types, shape.hidden, None),
            "LayerNorm": nn.LayerNorm(shape.hidden),
        }
    )
    for name in ("position_ids", "token_type_ids"):
        made.register_buffer(name, torch.zeros(1, shape.positions, dtype=torch.long), persistent=False)
    return made


def _embedding(rows: int, hidden: int, pad: int | None) -> nn.Embedding:
    """Nothing is drawn for it: on the meta device torch would do so by its compiler, which takes a second to import."""
    made: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, hidden), freeze=False, padding_idx=pad)
    return made


def _layer(hidden: int, ffn: int) -> nn.Module:
    attention: dict[str, nn.Module] = {name: nn.Linear(hidden, hidden) for name in ("query", "key", "value")}
    return _of(
        {
            "attention": _of({"self": _of(attention), "output": _projection(hidden, hidden)}),
            "intermediate": _of({"dense": nn.Linear(hidden, ffn)}),
            "output": _projection(ffn, hidden),
        }
    )


def _projection(inputs: int, hidden: int) -> nn.Module:
    return _of({"dense": nn.Linear(inputs, hidden), "LayerNorm": nn.LayerNorm(hidden)})


def _of(parts: dict[str, nn.Module]) -> nn.Module:
    """A module with these parts, by name."""
    made = nn.Module()
    for name, part in parts.items():
        made.add_module(name, part)
    return made
