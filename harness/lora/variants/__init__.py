"""The published variants of LoRA, one file each: its row, its start, its form, its checks."""

import difflib
import importlib

from harness.lora.errors import SpecError
from harness.lora.variants import adalora, dora, dylora, eva, lora, lora_fa, lora_ga, lora_plus, olora, pissa, rslora
from harness.lora.variants.base import Feed, Place, Variant, join

__all__ = ["VARIANTS", "Feed", "Place", "Variant", "variant"]

VARIANTS: dict[str, Variant] = {
    module.__name__.rpartition(".")[2]: module.VARIANT
    for module in (lora, rslora, lora_plus, lora_fa, dora, pissa, olora, eva, lora_ga, dylora, adalora)
}
"""Every variant by name. Those that change different things go together: dora+rslora."""


def variant(name: str) -> Variant:
    """The variant, or several joined by +; `package.module:NAME` is a Variant of one's own.

    Raises SpecError for an unknown name, or two that change the same thing.
    """
    return join(name, [_guest(name, part) if ":" in part else _known(name, part) for part in name.split("+")])


def _known(name: str, part: str) -> Variant:
    if part not in VARIANTS:
        near = difflib.get_close_matches(part, VARIANTS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; valid: {', '.join(VARIANTS)}, joined by +"
        raise SpecError(f"variant {name}: no variant {part}{hint}")
    return VARIANTS[part]


def _guest(name: str, path: str) -> Variant:
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the user's module may fail in any way
        raise SpecError(f"variant {name}: {path} cannot be imported, {type(error).__name__}: {error}") from error
    if not isinstance(found, Variant):
        raise SpecError(f"variant {name}: {path} is no harness.lora.variants.Variant")
    return found
