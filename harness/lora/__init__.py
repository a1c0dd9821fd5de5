"""Low-rank adaptation: specifications, layers, putting them into a network, merging, exchange with PEFT."""

from harness.lora.adalora import (
    ORTHOGONALITY,
    Budget,
    effective_ranks,
    final_budget,
    highest_rank,
    kept_ranks,
    orthogonality,
    set_active,
)
from harness.lora.initialisation import StartError, initialise
from harness.lora.inject import adapt, adapted_layers, adapter_parameters, named_updates, updates_of
from harness.lora.layers import LoraLinear
from harness.lora.merge import bare, merge
from harness.lora.multi_adapter import pack
from harness.lora.multitask import MtlLoraSpec, MtloraSpec, adapt_tasks, groups_of, task_adapters
from harness.lora.orthogonal import add_updates, overlap
from harness.lora.peft_format import export_adapter, import_adapter
from harness.lora.routing import TaskRouter
from harness.lora.spec import PLUS_RATIO, VARIANTS, LoraSpec, SpecError, variant
from harness.lora.update import LowRankUpdate, WeightSlice

__all__ = [
    "ORTHOGONALITY",
    "PLUS_RATIO",
    "VARIANTS",
    "Budget",
    "LoraLinear",
    "LoraSpec",
    "LowRankUpdate",
    "MtlLoraSpec",
    "MtloraSpec",
    "SpecError",
    "StartError",
    "TaskRouter",
    "WeightSlice",
    "adapt",
    "adapt_tasks",
    "adapted_layers",
    "adapter_parameters",
    "add_updates",
    "bare",
    "effective_ranks",
    "export_adapter",
    "final_budget",
    "groups_of",
    "highest_rank",
    "import_adapter",
    "initialise",
    "kept_ranks",
    "merge",
    "named_updates",
    "orthogonality",
    "overlap",
    "pack",
    "set_active",
    "task_adapters",
    "updates_of",
    "variant",
]
