"""Low-rank adaptation: specifications, layers, putting them into a network, merging, exchange with PEFT."""

from harness.lora.adapted import adapted_layers, adapter_parameters, named_updates, updates_of
from harness.lora.effective_rank import effective_ranks
from harness.lora.errors import InitialisationError, SpecError
from harness.lora.initialisation import initialise
from harness.lora.inject import adapt
from harness.lora.interference_free import InputMoments, design_a, with_inputs
from harness.lora.layers import LoraLinear
from harness.lora.merge import bare, merge
from harness.lora.multi_adapter import pack
from harness.lora.multitask import adapt_tasks, groups_of, shared_parameters, task_adapters
from harness.lora.multitask_specs import MtlLoraSpec, MtloraSpec, TaskForkSpec, TaskSpec
from harness.lora.orthogonal import add_updates, check_plain, overlap
from harness.lora.peft_format import export_adapter
from harness.lora.peft_import import import_adapter
from harness.lora.routing import TaskRouter
from harness.lora.spec import LoraSpec
from harness.lora.task_similarity import task_similarity
from harness.lora.update import LowRankUpdate, WeightSlice
from harness.lora.variants import VARIANTS, Feed, RankSchedule, variant
from harness.lora.variants.adalora import AdaLoraSchedule, final_budget, kept_ranks, orthogonality
from harness.lora.variants.dylora import highest_rank, set_active

__all__ = [
    "VARIANTS",
    "AdaLoraSchedule",
    "Feed",
    "InitialisationError",
    "InputMoments",
    "LoraLinear",
    "LoraSpec",
    "LowRankUpdate",
    "MtlLoraSpec",
    "MtloraSpec",
    "RankSchedule",
    "SpecError",
    "TaskForkSpec",
    "TaskRouter",
    "TaskSpec",
    "WeightSlice",
    "adapt",
    "adapt_tasks",
    "adapted_layers",
    "adapter_parameters",
    "add_updates",
    "bare",
    "check_plain",
    "design_a",
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
    "shared_parameters",
    "task_adapters",
    "task_similarity",
    "updates_of",
    "variant",
    "with_inputs",
]
