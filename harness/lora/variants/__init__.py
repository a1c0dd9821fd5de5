"""The published variants of LoRA, one file each: its row, its start, its form, its checks."""

import difflib
import importlib
from typing import Any

from harness.lora.errors import SpecError
from harness.lora.variants import (
    adalora,
    dora,
    dylora,
    eva,
    loftq,
    lora,
    lora_fa,
    lora_ga,
    lora_plus,
    olora,
    pissa,
    rslora,
)
from harness.lora.variants.base import Feed, PlannedUpdate, RankSchedule, Setting, Settings, Variant, join

__all__ = [
    "VARIANTS",
    "Feed",
    "PlannedUpdate",
    "RankSchedule",
    "Setting",
    "Settings",
    "Variant",
    "read_settings",
    "variant",
]

VARIANTS: dict[str, Variant] = {
    module.__name__.rpartition(".")[2]: module.VARIANT
    for module in (lora, rslora, lora_plus, lora_fa, dora, pissa, olora, eva, lora_ga, loftq, dylora, adalora)
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


def read_settings(name: str, given: Settings, rank: int) -> dict[str, Any]:
    """Every setting of a variant, as given or by default.

    Raises SpecError for one that the variant does not have, and for a value that breaks its rule at that rank.
    """
    known = variant(name).takes
    for key, value in given.items():
        if key not in known:
            raise SpecError(_unknown(name, key, value))
    return {
        key: setting.read(key, given[key], rank) if key in given else setting.default for key, setting in known.items()
    }


def _unknown(name: str, key: str, value: object) -> str:
    others = {other: each.takes[key] for other, each in VARIANTS.items() if key in each.takes}
    if others:
        return f"{key} {value}: {next(iter(others.values())).rule}, and only with variant {', '.join(others)}"
    known = list(variant(name).takes)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; valid: {', '.join(known)}" if known else ""
    return f"settings.{key}: variant {name} has no such setting{hint}"
