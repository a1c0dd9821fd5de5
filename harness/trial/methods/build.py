"""The registry: which method a configuration's `lora` names."""

from collections.abc import Callable, Mapping

from harness.config import Config
from harness.trial.methods.base import Method
from harness.trial.methods.baselines import BitFit, Full, Head, Norms
from harness.trial.methods.low_rank import CountAdapter, LowRank
from harness.trial.methods.multitask import mtl_lora, mtlora, task_fork
from harness.trial.methods.peft import Peft

_METHODS: Mapping[str, Callable[[Config], Method]] = {
    "task_fork": task_fork,
    "mtlora": mtlora,
    "mtl_lora": mtl_lora,
    "peft": Peft,
    "full": Full,
    "head": Head,
    "bitfit": BitFit,
    "norms": Norms,
}


def build_method(config: Config, count_adapter: CountAdapter) -> Method:
    """The method that `config.lora` names; `count_adapter` is for a rank that is matched to another method's size."""
    if config.lora.name == "lora":
        return LowRank(config, count_adapter)
    return _METHODS[config.lora.name](config)
