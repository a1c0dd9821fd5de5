"""The masked-LM head: read from a base's own weights file, or fresh, to be fitted to the frozen base.

Shapes: M hidden tokens, H hidden size, V vocabulary.
"""

from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from harness.config import TextModelConfig
from harness.model.text import base_file

SPECIALS = {"bert": ("[CLS]", "[SEP]", "[MASK]"), "roberta": ("<s>", "</s>", "<mask>")}
"""The tokens at both ends of a text, and the one that hides a token, by family."""

# Names in published files: BERT's first ones still carry TensorFlow's names of a norm's parameters.
_STORED = {
    "dense.weight": ("cls.predictions.transform.dense.weight", "lm_head.dense.weight"),
    "dense.bias": ("cls.predictions.transform.dense.bias", "lm_head.dense.bias"),
    "norm.weight": (
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.LayerNorm.gamma",
        "lm_head.layer_norm.weight",
    ),
    "norm.bias": (
        "cls.predictions.transform.LayerNorm.bias",
        "cls.predictions.transform.LayerNorm.beta",
        "lm_head.layer_norm.bias",
    ),
    "bias": ("cls.predictions.bias", "lm_head.bias"),
}


class MaskedHead(nn.Module):
    """Dense, GELU, norm, then the base's word embeddings as they were, and a bias (Devlin et al., 2019).

    The embeddings are a copy: whatever is trained in the base, the head stays what it is.
    """

    def __init__(self, embeddings_VH: Tensor, eps: float) -> None:
        super().__init__()
        vocabulary, hidden = embeddings_VH.shape
        self.dense, self.norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden, eps=eps)
        self.bias = nn.Parameter(embeddings_VH.new_zeros(vocabulary))
        self.embeddings: Tensor
        self.register_buffer("embeddings", embeddings_VH.detach().clone(), persistent=False)

    def forward(self, x_MH: Tensor) -> Tensor:
        """Logits (M, V)."""
        return F.linear(self.norm(F.gelu(self.dense(x_MH))), self.embeddings, self.bias)


def masked_head(config: TextModelConfig) -> tuple[MaskedHead, bool]:
    """The head over the pretrained embeddings, and whether the weights file has it; else it is fresh."""
    path = base_file(config)
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        (embeddings,) = (name for name in names if name.endswith("embeddings.word_embeddings.weight"))
        head = MaskedHead(file.get_tensor(embeddings).float(), config.layer_norm_eps)
        found = {key: next((name for name in stored if name in names), None) for key, stored in _STORED.items()}
        if None in found.values():
            return head, False
        head.load_state_dict({key: file.get_tensor(name).float() for key, name in found.items() if name})
    return head, True


def mask_id(config: TextModelConfig, tokenizer: Path) -> int | None:
    """The id of the token that hides others, if the tokenizer has one."""
    from tokenizers import Tokenizer

    found: int | None = Tokenizer.from_file(str(tokenizer)).token_to_id(SPECIALS[config.family][2])
    return found
