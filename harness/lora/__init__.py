"""Low-rank adaptation: specifications, layers, putting them into a network, and exchange with PEFT."""

from harness.lora.exchange import export_adapter
from harness.lora.inject import adapt, adapter_parameters
from harness.lora.layers import LoraLinear
from harness.lora.spec import LoraSpec, SpecError

__all__ = ["LoraLinear", "LoraSpec", "SpecError", "adapt", "adapter_parameters", "export_adapter"]
