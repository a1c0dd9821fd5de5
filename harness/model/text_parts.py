"""Facts about text encoders, without importing transformers: names of layers, padding, heads.

Shapes: B examples, H hidden size, C classes.
"""

import torch
from torch import Tensor, nn

from harness.config import Outputs, TextModelConfig, TokenClasses
from harness.model.base import linear, make_head

_BERT = {
    "query": r"encoder\.layer\.\d+\.attention\.self\.query",
    "key": r"encoder\.layer\.\d+\.attention\.self\.key",
    "value": r"encoder\.layer\.\d+\.attention\.self\.value",
    "output": r"encoder\.layer\.\d+\.attention\.output\.dense",
    "ffn_up": r"encoder\.layer\.\d+\.intermediate\.dense",
    "ffn_down": r"encoder\.layer\.\d+\.output\.dense",
}
_LLAMA = {
    "query": r"layers\.\d+\.self_attn\.q_proj",
    "key": r"layers\.\d+\.self_attn\.k_proj",
    "value": r"layers\.\d+\.self_attn\.v_proj",
    "output": r"layers\.\d+\.self_attn\.o_proj",
    "ffn_gate": r"layers\.\d+\.mlp\.gate_proj",
    "ffn_up": r"layers\.\d+\.mlp\.up_proj",
    "ffn_down": r"layers\.\d+\.mlp\.down_proj",
}
_DEBERTA = _BERT | {name: rf"encoder\.layer\.\d+\.attention\.self\.{name}_proj" for name in ("query", "key", "value")}
_GPT2 = {  # one fused matrix holds query, key and value: [i/3] is its i-th third
    "query": r"h\.\d+\.attn\.c_attn[0/3]",
    "key": r"h\.\d+\.attn\.c_attn[1/3]",
    "value": r"h\.\d+\.attn\.c_attn[2/3]",
    "output": r"h\.\d+\.attn\.c_proj",
    "ffn_up": r"h\.\d+\.mlp\.c_fc",
    "ffn_down": r"h\.\d+\.mlp\.c_proj",
}

TARGETS: dict[str, dict[str, str]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "deberta": _DEBERTA,
    "llama": _LLAMA,
    "gpt2": _GPT2,
}
"""For each family, the pattern of module names behind the names that all transformers share."""


PAD_IDS = {"bert": 0, "roberta": 1}
"""The token that fills up a batch, by family."""


class DenseHead(nn.Module):
    """RoBERTa's classification head: dropout, dense, tanh, dropout, output (Liu et al., 2019)."""

    def __init__(self, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = linear(hidden, hidden)
        self.out = linear(hidden, outputs)

    def forward(self, x_BH: Tensor) -> Tensor:
        """Logits (B, C)."""
        hidden = torch.tanh(self.dense(self.dropout(x_BH)))
        logits: Tensor = self.out(self.dropout(hidden))
        return logits


def text_head(config: TextModelConfig, outputs: Outputs) -> nn.Module:
    """A fresh head over one vector of a text, or one for each task, of which some may be over all its tokens."""
    hidden = config.shape.hidden

    def make(count: int) -> nn.Module:
        if isinstance(count, TokenClasses):
            return nn.Sequential(nn.Dropout(config.dropout), linear(hidden, count))  # as transformers tags tokens
        return DenseHead(hidden, count, config.dropout) if config.head == "dense" else linear(hidden, count)

    return make_head(outputs, make)
