"""Settings that would change nothing of a trial but its fingerprint: refused where a trial or a study is begun."""

import dataclasses
from collections.abc import Callable, Iterator

from torch import nn

from harness.config import Config, ConfigError
from harness.config.arms import arms
from harness.config.schema import OptimizerConfig
from harness.lora.variants import variant
from harness.trial.adapt import shapes_of

CALIBRATION = 8
"""The usual `lora.calibration`."""
_DECAY = next(field.default for field in dataclasses.fields(OptimizerConfig) if field.name == "decay")


def check_idle_settings(config: Config) -> None:
    """Raise ConfigError for keys whose value has no effect, as far as no arm of a study gives them one."""
    varied = {key for arm in arms(config.sweep) for key in (*arm.values, *arm.nuisance)} if config.sweep else set()
    mistakes = [*_of_optimizer(config, varied), *_of_lora(config, varied)]
    if mistakes:
        raise ConfigError(*mistakes)


def _of_optimizer(config: Config, varied: set[str]) -> Iterator[str]:
    optimizer = config.optimizer
    if "optimizer.schedule" in varied or optimizer.schedule == "warmup-stable-decay":
        return
    if optimizer.decay != _DECAY or "optimizer.decay" in varied:
        rule = f"no effect with optimizer.schedule={optimizer.schedule}; of warmup-stable-decay, else {_DECAY}"
        yield f"optimizer.decay={optimizer.decay}: {rule}"


def _of_lora(config: Config, varied: set[str]) -> Iterator[str]:
    lora = config.lora.low_rank
    if lora is None or any(key.partition(".")[0] == "model" for key in varied):
        return
    allocated = config.sweep is not None and config.sweep.allocate is not None
    asked = lora.calibration != CALIBRATION or "lora.calibration" in varied
    if asked and not (lora.guests or allocated or "lora.variant" in varied or variant(lora.variant).looks_at_batches):
        rule = f"no effect with lora.variant={lora.variant}, which looks at no batches; of eva and lora_ga, else 8"
        yield f"lora.calibration={lora.calibration}: {rule}"
    if lora.each_gate and not _has(config, lambda layer: isinstance(layer, nn.LSTM | nn.GRU)):
        yield f"lora.each_gate=true: no effect, model={config.model.name} has no recurrent layer; false"
    if lora.conv_form == "delta" and not _has(config, lambda layer: isinstance(layer, nn.Conv1d | nn.Conv2d)):
        yield f"lora.conv_form=delta: no effect, model={config.model.name} has no convolution; branch"


def _has(config: Config, wanted: Callable[[nn.Module], bool]) -> bool:
    """Return whether a layer of the base, built from shapes alone, is of a kind."""
    return any(map(wanted, shapes_of(config).base.modules()))
