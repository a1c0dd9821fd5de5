"""Adapters on disk in PEFT's format, so that `peft.PeftModel.from_pretrained(base, folder)` reads them."""

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from harness.lora.inject import adapter_parameters
from harness.lora.layers import LoraConv, LoraLinear
from harness.lora.spec import LoraSpec, SpecError


def export_adapter(base: nn.Module, spec: LoraSpec, address: str, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors for the network `base`, whose address is noted.

    Names inside are those of the unadapted network: the adapter loads on a plain transformers base.
    """
    layers = {name: module for name, module in base.named_modules() if isinstance(module, LoraLinear | LoraConv)}
    written = {id(tensor) for layer in layers.values() for tensor in (layer.lora_A, layer.lora_B)}
    if written != {id(tensor) for tensor in adapter_parameters(base)}:
        raise SpecError("a fused or recurrent layer is adapted; PEFT's format has no such adapter")
    tensors = {}
    for name, layer in layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.lora_A.detach().cpu().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.lora_B.detach().cpu().contiguous()
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": address,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "lora_dropout": spec.dropout,
        "target_modules": sorted(layers),
        "bias": "none",
        "use_rslora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(tensors, folder / "adapter_model.safetensors")
