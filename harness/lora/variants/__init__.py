"""The published variants of LoRA, one file each: its row, its start, its form, its checks."""

import difflib

from harness.lora.errors import SpecError
from harness.lora.variants import adalora, dora, dylora, eva, lora, lora_fa, lora_ga, lora_plus, olora, pissa, rslora
from harness.lora.variants.variant import Feed, Place, Variant, join

__all__ = ["VARIANTS", "Feed", "Place", "Variant", "variant"]

VARIANTS: dict[str, Variant] = {
    module.__name__.rpartition(".")[2]: module.VARIANT
    for module in (lora, rslora, lora_plus, lora_fa, dora, pissa, olora, eva, lora_ga, dylora, adalora)
}
"""Every variant by name. Those that change different things go together: dora+rslora."""


def variant(name: str) -> Variant:
    """The variant, or several joined by +. Raises SpecError for an unknown name, or two that change the same thing."""
    parts = name.split("+")
    for part in parts:
        if part not in VARIANTS:
            near = difflib.get_close_matches(part, VARIANTS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; valid: {', '.join(VARIANTS)}, joined by +"
            raise SpecError(f"variant {name}: no variant {part}{hint}")
    return join(name, [VARIANTS[part] for part in parts])
