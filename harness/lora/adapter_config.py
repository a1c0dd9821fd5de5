"""The folder of an adapter as it is read: its tensors, and the fields of PEFT's adapter_config.json.

A field that changes what the adapter computes is either read or refused. One that only says how the adapter was made or
where it goes is passed over: the tensors and their names decide that.
"""

import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.lora.errors import SpecError
from harness.system.paths import LFS_POINTER, listed

PREFIX = "base_model.model."
TENSORS = "adapter_model.safetensors"
_OLD_TENSORS = "adapter_model.bin"

_READ = {
    *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "lora_dropout"),
    *("init_lora_weights", "init_r", "modules_to_save", "target_parameters"),
}
_WITHOUT_EFFECT = {
    *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"),
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config"),
    *("megatron_core", "qalora_group_size"),  # they count with megatron_config and use_qalora alone
    *("target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"),
}
_REFUSED = {
    "bias": "trained biases beside LoRA",
    "lora_bias": "trained biases beside LoRA",
    "trainable_token_indices": "token embeddings trained beside LoRA",
    "layer_replication": "layers of the base that are repeated",
    "ensure_weight_tying": "adapters on tied weights",
    "megatron_config": "Megatron's parallel layers",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
    "kasa_config": "KaSA",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QA-LoRA",
    "alora_invocation_tokens": "aLoRA, which acts after these tokens only",
    "arrow_config": "routing between adapters",
}
_NEVER_MERGED = {"alora_invocation_tokens", "arrow_config"}
_NO_BIAS = ("bias", "none")

_KEEPS_BASE = ("true", "false", "none", "gaussian", "eva", "orthogonal", "mica")
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json. Raises SpecError where it is missing or no JSON object."""
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not isinstance(config, dict):
        raise SpecError(f"{path}: expected a JSON object, found {type(config).__name__}")
    for field, (right, expected) in _KINDS.items():
        if (value := config.get(field)) is not None and not right(value):
            raise SpecError(f"{path}: {field}={json.dumps(value)}: expected {expected}")
    return config


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _are_ranks(value: object) -> bool:
    """Numbers; or as AdaLoRA has them, which triplets of each layer are left."""
    return isinstance(value, dict) and all(_is_number(rank) or isinstance(rank, list) for rank in value.values())


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_KINDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "r": (_is_number, "a number"),
    "lora_alpha": (_is_number, "a number"),
    "lora_dropout": (_is_number, "a number"),
    "rank_pattern": (_are_ranks, "numbers by names of layers"),
    "alpha_pattern": (_are_numbers, "numbers by names of layers"),
    "modules_to_save": (_are_names, "a list of names"),
}


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The adapter's tensors by name, from safetensors or, as older PEFT wrote them, from a pickle read without code.

    Raises SpecError where neither file is there or what is there is no file of tensors, or of some that are no numbers.
    """
    path = next((folder / name for name in (TENSORS, _OLD_TENSORS) if (folder / name).is_file()), None)
    if path is None:
        raise SpecError(f"{folder}: it has neither {TENSORS} nor {_OLD_TENSORS}")
    try:
        found = load_file(path) if path.name == TENSORS else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        with path.open("rb") as file:
            begins = file.read(len(LFS_POINTER))
        if begins == LFS_POINTER:
            raise SpecError(f"{path}: a Git LFS pointer, not the tensors; `git lfs pull` fetches those") from None
        raise SpecError(f"{path}: not a file of tensors ({type(error).__name__})") from None
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise SpecError(f"{path}: expected tensors by name")
    if odd := [name for name, tensor in found.items() if not tensor.isfinite().all()]:
        raise SpecError(f"{path}: values that are no numbers (NaN, or infinite) in {len(odd)} tensors ({listed(odd)})")
    return found


_WRAPPED = re.compile(rf"^(?:(?:module\.)*(?:{re.escape(PREFIX)})+)?")
_ADAPTERS_NAME = re.compile(r"(\.lora_\w+)\.default(?=\.|$)")


def peft_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that PEFT's own `save_pretrained` gives them, where a state dict was saved in its place.

    Such names have an adapter's name in them, PEFT's prefix twice or not at all, or what torch.compile and
    DistributedDataParallel put before them. Raises SpecError for two names of one tensor.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = _ADAPTERS_NAME.sub(r"\1", _WRAPPED.sub(PREFIX, name.replace("_orig_mod.", "")))
        plain = plain.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")
        if plain in found:
            raise SpecError(f"{name}: the file holds a tensor of that name without its prefix, too")
        found[plain] = tensor
    return found


def check_fields(config: Mapping[str, Any], folder: Path) -> None:
    """Raise SpecError, with every such field, where a PEFT configuration asks for more than A and B on plain layers."""
    _check_start(config.get("init_lora_weights", True), folder)
    known = _READ | _WITHOUT_EFFECT
    asked = {key: value for key, value in config.items() if key not in known and value and (key, value) != _NO_BIAS}
    if not asked:
        return
    named = ", ".join(f"{key}={json.dumps(asked[key])} ({_REFUSED.get(key, 'not known here')})" for key in asked)
    ways = ["merge the adapter into its base with PEFT's merge_and_unload and take the result as the base"]
    if not asked.keys().isdisjoint(_NEVER_MERGED):
        ways = ["it cannot be merged into a base either, only PEFT runs it"]
    if not asked.keys() <= _REFUSED.keys():
        ways.append("remove a field that is not known here if it changes nothing that the adapter computes")
    raise SpecError(f"{folder}: adapter_config.json has {named}, which cannot be read; {'; or '.join(ways)}")


@torch.no_grad()
def take_modules(base: nn.Module, modules: Sequence[str], tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Load a file's own modules into the network: modules that were fully trained beside LoRA, such as a classifier.
    Unchanged ones, such as the embeddings that PEFT saves with an adapter, are left alone.

    A weight that such a module shares with another is its own from then on: the other keeps it as it was.
    """
    if modules and not tensors:
        raise SpecError(f"{folder}: the file holds none of what modules_to_save names: {', '.join(modules)}")
    own = base.state_dict()
    for name, tensor in tensors.items():
        unread = f"{folder}: {name} is not among the tensors that are read"
        named = any(module in name.split(".") or name.startswith(f"{module}.") for module in modules)
        if name not in own:
            said = f"{folder}: modules_to_save holds {name}, and the network has no such tensor"
            raise SpecError(said if named else unread)
        if own[name].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, the network's is {tuple(own[name].shape)}"
            raise SpecError(f"{folder}: {name} is {shapes}; {_way_to_fit(base, own[name])}")
        if torch.equal(own[name], tensor.to(own[name].dtype)):
            continue
        if not named:
            raise SpecError(unread)
        _own_weight(base, name)
        base.state_dict(keep_vars=True)[name].copy_(tensor)


def _way_to_fit(base: nn.Module, weight: Tensor) -> str:
    """Say how to get a module of another shape: an embedding with more tokens than the base's, or a classifier."""
    if any(weight.shape == each.weight.shape for each in base.modules() if isinstance(each, nn.Embedding)):
        return "tokens were added to the base; merge the adapter with PEFT and take the result as the base"
    return "build the network with as many classes"


def _own_weight(base: nn.Module, name: str) -> None:
    path, _, key = name.rpartition(".")
    module = base.get_submodule(path)
    weight = module._parameters.get(key)
    if weight is not None and sum(each is weight for _, each in base.named_parameters(remove_duplicate=False)) > 1:
        setattr(module, key, nn.Parameter(weight.clone(), requires_grad=weight.requires_grad))


def _check_start(value: object, folder: Path) -> None:
    way = str(value).lower().split("_niter")[0]
    if way in _CHANGES_BASE:
        raise SpecError(
            f"{folder}: init_lora_weights={way} changes the base; save it with PEFT's "
            "path_initial_model_for_weight_conversion, and it is one for the original base"
        )
    if way not in _KEEPS_BASE:
        raise SpecError(
            f"{folder}: init_lora_weights={value} is not known here and may change the base; if it leaves the base as "
            "it is, set it to true in adapter_config.json"
        )
