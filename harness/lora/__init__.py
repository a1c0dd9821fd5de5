"""Low-rank adaptation: specifications, layers, putting them into a network, merging, exchange with PEFT."""

from harness.lora.budget import (
    ORTHOGONALITY,
    Budget,
    effective_ranks,
    final_budget,
    highest_rank,
    kept_ranks,
    orthogonality,
    set_active,
)
from harness.lora.exchange import export_adapter, import_adapter
from harness.lora.inject import adapt, adapted_layers, adapter_parameters, named_pairs, pairs_of
from harness.lora.layers import LoraLinear
from harness.lora.merge import bare, merge
from harness.lora.multitask import MtlLoraSpec, MtloraSpec, adapt_tasks, groups_of, task_adapters
from harness.lora.orthogonal import add_pairs, overlap
from harness.lora.packed import pack
from harness.lora.pair import LowRank, Slice
from harness.lora.route import Route
from harness.lora.spec import PLUS_RATIO, VARIANTS, LoraSpec, SpecError, variant
from harness.lora.start import StartError, start

__all__ = [
    "ORTHOGONALITY",
    "PLUS_RATIO",
    "VARIANTS",
    "Budget",
    "LoraLinear",
    "LoraSpec",
    "LowRank",
    "MtlLoraSpec",
    "MtloraSpec",
    "Route",
    "Slice",
    "SpecError",
    "StartError",
    "adapt",
    "adapt_tasks",
    "adapted_layers",
    "adapter_parameters",
    "add_pairs",
    "bare",
    "effective_ranks",
    "export_adapter",
    "final_budget",
    "groups_of",
    "highest_rank",
    "import_adapter",
    "kept_ranks",
    "merge",
    "named_pairs",
    "orthogonality",
    "overlap",
    "pack",
    "pairs_of",
    "set_active",
    "start",
    "task_adapters",
    "variant",
]
