"""The architectures that model=hf supports, found by building a small network of each without memory.

python -m harness.model.table
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModel, AutoModelForAudioClassification, AutoModelForImageClassification

from harness.model.architectures import (
    AUDIO,
    BARE_DECODERS,
    BARE_IMAGES,
    DECODERS,
    ENCODERS,
    IMAGES,
    SEQ2SEQ,
    TEXT,
    small_config,
)
from harness.model.hf_heads import inner_name
from harness.model.roles import ALL_LINEAR, targets_of

_OWN = "classes and numbers by a head of our own, `head.safetensors`"
_GROUPS = {
    "encoders of text": (ENCODERS, "classes and numbers"),
    "causal language models": (DECODERS, "classes and numbers by the last token; texts"),
    "causal language models, no classifier of transformers'": (BARE_DECODERS, f"texts; {_OWN}"),
    "encoders with decoders": (SEQ2SEQ, "texts; classes and numbers"),
    "images": (IMAGES, "classes"),
    "images, no classifier of transformers'": (BARE_IMAGES, _OWN),
    "recordings": (AUDIO, "classes"),
}
# Of every network, and seldom adapted: the table is of what can be named beside them.
_UNTOLD = ("embedding", "position_embedding", "type_embedding", "relative_bias", ALL_LINEAR)


_CLASSIFIERS: dict[str, Any] = {
    **dict.fromkeys(AUDIO, AutoModelForAudioClassification),
    **dict.fromkeys(IMAGES, AutoModelForImageClassification),
}


def table() -> str:
    """Markdown: each architecture that is tried, what it answers with, and the roles of its layers."""
    rows = ["| `model_type` | kind | answers | names for lora.targets |", "|---|---|---|---|"]
    return "\n".join([*rows, *_rows()])


def _rows() -> Iterator[str]:
    for kind, (architectures, answers) in _GROUPS.items():
        for model_type in architectures:
            said = answers if kind != "encoders with decoders" or model_type in TEXT else f"texts; {_OWN}"
            names = ", ".join(name for name in _roles(model_type) if name not in _UNTOLD)
            yield f"| {model_type} | {kind} | {said} | {names} |"


def _roles(model_type: str) -> dict[str, str]:
    with torch.device("meta"):
        if (kind := _CLASSIFIERS.get(model_type)) is not None:
            made = small_config(model_type)
            made.architectures = []  # DeiT has two classes
            whole = kind.from_config(made)
            return targets_of(whole.get_submodule(inner_name(whole)))
        return targets_of(AutoModel.from_config(small_config(model_type)))


if __name__ == "__main__":
    print(table())
