"""Any method of PEFT as a peer of ours: put into the same base, counted, trained and recorded alike."""

import dataclasses
import difflib
import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from harness.lora.errors import SpecError
from harness.lora.inject import expanded
from harness.lora.peft_format import peft_targets

# Prompts change the input, not the layers; the others need more than a training loop gives them and would be less than
# they are: AdaLoRA its allocation after every step (lora=adalora has it), Poly task ids, XLoRA other adapters.
_UNFIT = {
    "PROMPT_TUNING",
    "MULTITASK_PROMPT_TUNING",
    "P_TUNING",
    "PREFIX_TUNING",
    "CPT",
    "ADAPTION_PROMPT",
    "CARTRIDGE",
    "ADALORA",
    "POLY",
    "XLORA",
    "TRAINABLE_TOKENS",
}


def adapt_peft(
    base: nn.Module, method: str, arguments: Mapping[str, Any], targets: Sequence[str], names: Mapping[str, str]
) -> nn.Module:
    """The base with a PEFT method in it, wrapped by PEFT; frozen but for what the method trains.

    `names` maps target names to patterns of module names, as for our own adapters; a part of a fused projection
    stands for the whole, since PEFT adapts whole modules. Raises SpecError for an unknown method or argument.
    """
    peft = importlib.import_module("peft")  # seconds to import: only where it is used
    kind = _kind(peft, method)
    known = {field.name for field in dataclasses.fields(kind)}
    for key in arguments:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise SpecError(
                f"arguments.{key}: {method} has no such argument{f'; did you mean {near[0]}?' if near else ''}"
            )
    modules = _modules(base, targets, names)
    try:
        config = kind(**arguments, target_modules=peft_targets(base, modules))
        adapted: nn.Module = peft.get_peft_model(base, config)
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        raise SpecError(f"PEFT's {method}: {str(error).splitlines()[0]}") from None
    return adapted


def wrapped_by_peft(base: nn.Module) -> bool:
    """Return whether PEFT, and not this project's layers, has adapted a base."""
    return hasattr(base, "peft_config")


def peft_parameters(base: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters that PEFT added to a base, trained or not: all that belong to a tuner, not to the base."""
    if not wrapped_by_peft(base):
        return
    prefix = getattr(base.base_model, "prefix", "")
    yield from (tensor for name, tensor in base.named_parameters() if prefix and prefix in name)


def save_peft(base: Any, folder: Path) -> None:
    """The adapter in PEFT's own format, as tensors only."""
    base.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # a model card without a word about this trial


def load_peft(base: nn.Module, folder: Path) -> nn.Module:
    """The base with the adapter of a folder in it, wrapped by PEFT. Raises SpecError where PEFT cannot read it."""
    peft = importlib.import_module("peft")
    try:
        adapted: nn.Module = peft.PeftModel.from_pretrained(base, str(folder))
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise SpecError(f"{folder}: {str(error).splitlines()[0]}") from None
    return adapted


def _kind(peft: Any, method: str) -> Any:
    kinds = {str(name).rpartition(".")[2]: kind for name, kind in peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    usable = sorted(set(kinds) - _UNFIT)
    if method.upper() not in usable:
        near = difflib.get_close_matches(method.upper(), usable, n=1)
        raise SpecError(
            f"method {method}: no such method{f'; did you mean {near[0]}?' if near else ''}; valid: {', '.join(usable)}"
        )
    return kinds[method.upper()]


def _modules(base: nn.Module, targets: Sequence[str], names: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for target in expanded(base, targets, names):
        pattern = re.sub(r"\[\d+/\d+\]$", "", names.get(target, target))
        matched = [name for name, _ in base.named_modules() if re.fullmatch(pattern, name)]
        if not matched:
            raise SpecError(f"target {target}: matches no module")
        found += matched
    return list(dict.fromkeys(found))
