"""LoRA and its variants: the configuration's keys as a specification, and what the variant asks of training."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

from torch import Tensor, nn

from harness.base_layers.quantized import forget_floats
from harness.config import Config, ConfigError, LoraConfig
from harness.config.guests import use_folders
from harness.lora import (
    Feed,
    LoraSpec,
    RankSchedule,
    SpecError,
    adapt,
    export_adapter,
    highest_rank,
    initialise,
    updates_of,
    variant,
)
from harness.model import Network
from harness.record import Adapter, Lora
from harness.trial.methods.base import Method, same_fields

_PATTERNS = ("ranks", "scales", "alphas")  # the record has what they came to, layer by layer

CountAdapter = Callable[[Config], int]
"""The number of trained adapter parameters of a configuration, from shapes alone."""


class LowRank(Method):
    """LoRA in any variant. With `match` its rank is that whose number of adapter parameters is nearest to another's."""

    def __init__(self, config: Config, count_adapter: CountAdapter) -> None:
        assert isinstance(config.lora, LoraConfig)
        self.config, self.lora, self._count_adapter = config, config.lora, count_adapter
        self.calibration = config.lora.calibration
        if config.lora.guests:
            use_folders()

    @cached_property
    def spec(self) -> LoraSpec:
        """The specification, built once. Raises ConfigError where it contradicts itself."""
        return lora_spec(self._matched())

    @property
    def packs(self) -> bool:  # type: ignore[override]
        chosen = self.spec.method
        return chosen.schedule is None and chosen.penalty is None and not chosen.nested

    @property
    def steady(self) -> bool:  # type: ignore[override]
        chosen = self.spec.method
        return chosen.schedule is None and not chosen.nested and not self.lora.guests

    @property
    def reads_floats(self) -> bool:  # type: ignore[override]
        return self.spec.method.reads_floats

    @property
    def lr_ratio(self) -> float:
        """1, or LoRA+'s ratio of the learning rates of B and A."""
        ratio: float = self.spec.own.get("lr_ratio", 1.0)
        return ratio

    @property
    def note(self) -> str:
        return self.spec.method.note(self.spec.own)

    def check(self) -> None:
        where, config = f"lora.variant={self.lora.variant}", self.config
        try:
            chosen = variant(self.lora.variant)
        except SpecError as error:
            raise ConfigError(f"{where}: {error}") from None
        mistakes = []
        if config.task.in_turn and chosen.schedule is not None:
            mistakes.append(f"{where}: its ranks move within one training; none in task={config.task.name}")
        if config.trainer.sharded and chosen.whole_weights:
            mistakes.append(f"trainer.strategy=fsdp: {where} needs whole weights on one device; trainer.strategy=ddp")
        if config.model.quantized is not None and chosen.changes_base:
            rule = (
                f"{where} takes its start out of the base's weights, which must be floats; lora.variant=lora, or null"
            )
            mistakes.append(f"model.quantization={config.model.quantized}: {rule}")
        if config.model.quantized is None and chosen.reads_floats:
            rule = "starts from what quantisation takes from the weights; model.quantization=nf4, or another variant"
            mistakes.append(f"{where}: {rule}")
        if self.lora.match is not None and chosen.first_rank is not None:
            mistakes.append(f"lora.match={self.lora.match.name}: sets one rank for all layers; with {where} they move")
        if mistakes:
            raise ConfigError(*mistakes)

    def adapt(self, model: Network) -> dict[str, int]:
        ranks = adapt(model.base, self.spec, model.targets)
        if self.config.task.input_memory is not None:  # A is computed from each task's inputs
            for update in updates_of(model.base):
                update.lora_A.requires_grad_(False)
        return ranks

    def initialise(self, model: Network, feed: Feed) -> dict[str, int]:
        ranks = initialise(model.base, self.spec, feed)
        forget_floats(model.base)
        return ranks

    def fast_parameters(self, model: Network) -> list[nn.Parameter]:
        return [update.zero_factor for update in updates_of(model.base)]

    def penalty(self, model: Network) -> Callable[[], Tensor] | None:
        penalty = self.spec.method.penalty
        return None if penalty is None else partial(penalty, model.base)

    def rank_schedule(self, model: Network, steps: int, seed: int) -> RankSchedule | None:
        make = self.spec.method.schedule
        return None if make is None else make(model.base, self.spec.final_rank_at, steps, seed)

    def nested_ranks(self, model: Network) -> range:
        return range(1, highest_rank(model.base) + 1) if self.spec.method.nested else range(0)

    def record(self, adapter: Adapter) -> Lora:
        settings = {name: value for name, value in asdict(self.lora).items() if name not in _PATTERNS}
        settings |= settings.pop("settings") or {}
        scales = set(adapter.scales.values())
        scale = scales.pop() if len(scales) == 1 else None
        if self.lora.match is not None and adapter.ranks:
            settings["rank"] = max(adapter.ranks.values())
        return Lora.of(settings | {"scale": scale, "alpha": self.lora.alpha or (scale and scale * settings["rank"])})

    def save(self, model: Network, base_address: str, folder: Path) -> None:
        export_adapter(model.base, base_address, folder)

    def _matched(self) -> LoraConfig:
        if self.lora.match is None:
            return self.lora
        wanted = self._count_adapter(replace(self.config, lora=self.lora.match))
        plain = (replace(self.lora, match=None, rank=rank) for rank in (1, 2))
        one, two = (self._count_adapter(replace(self.config, lora=lora)) for lora in plain)
        rank = max(1, 1 + round((wanted - one) / (two - one)))  # each rank adds as much as the one before
        return replace(self.lora, match=None, rank=rank)


def lora_spec(lora: LoraConfig) -> LoraSpec:
    """The specification of an adaptation, its scale resolved. Raises ConfigError where it contradicts itself."""
    settled = {"scale": lora.update_scale, "settings": lora.variant_settings}
    try:
        return LoraSpec(**same_fields(LoraSpec, lora) | settled)
    except SpecError as error:
        raise ConfigError(f"lora: {error}") from None
