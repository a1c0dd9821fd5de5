"""LoRA-FA: A stays as it began (Zhang et al., 2023)."""

from torch import nn

from harness.lora.errors import SpecError
from harness.lora.variants.base import PlannedUpdate, Variant


def check(planned: PlannedUpdate) -> None:
    """Refuse an embedding, whose A starts at zero and would stay there."""
    if isinstance(planned.layer, nn.Embedding):
        raise SpecError(f"{planned.name}: an embedding's A starts at zero; LoRA-FA would keep it there")


VARIANT = Variant("LoRA-FA", "Zhang et al., 2023", train_a=False, checks=(check,))
