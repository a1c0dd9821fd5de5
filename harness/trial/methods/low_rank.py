"""LoRA and its variants: the configuration's keys as a specification, and what the variant asks of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from harness.config import Config, ConfigError, LoraConfig
from harness.config.guests import use_folders
from harness.lora import (
    ORTHOGONALITY,
    Feed,
    LoraSpec,
    SpecError,
    adapt,
    export_adapter,
    final_budget,
    highest_rank,
    initialise,
    orthogonality,
    updates_of,
    variant,
)
from harness.model import Network
from harness.record import Adapter, Lora
from harness.trial.methods.base import Method

if TYPE_CHECKING:
    from lightning import Callback

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
    def lr_ratio(self) -> float:
        """1, or LoRA+'s ratio of the learning rates of B and A."""
        usual = self.spec.method.plus
        return 1.0 if usual is None else self.lora.lr_ratio or usual

    @property
    def note(self) -> str:
        """What moves ranks."""
        if self.lora.redistribute > 1:
            return "EVA moves ranks between layers once it has seen data: their sum stays, the parameters may not"
        if self.spec.method.rank_schedule == "allocated":
            return "AdaLoRA's ranks at its start; in training they are masked, which frees no memory"
        return ""

    def check(self) -> None:
        try:
            variant(self.lora.variant)
        except SpecError as error:
            raise ConfigError(f"lora.variant={self.lora.variant}: {error}") from None

    def adapt(self, model: Network) -> dict[str, int]:
        return adapt(model.base, self.spec, model.targets)

    def initialise(self, model: Network, feed: Feed) -> dict[str, int]:
        return initialise(model.base, self.spec, feed)

    def fast_parameters(self, model: Network) -> list[nn.Parameter]:
        return [update.zero_factor for update in updates_of(model.base)]

    def penalty(self, model: Network) -> Callable[[], Tensor] | None:
        return partial(_orthogonality, model) if self.spec.method.rank_schedule == "allocated" else None

    def rank_schedule(self, model: Network, steps: int, seed: int) -> tuple[list[Callback], int]:
        from harness.training import FallingBudget, NestedRanks  # counting imports no trainer

        if self.spec.method.rank_schedule == "allocated":
            falling = FallingBudget(model.base, final_budget(model.base, self.spec.final_rank_at), steps)
            return [falling], falling.budget.last
        return ([NestedRanks(model.base, seed)], 0) if self.spec.method.rank_schedule == "nested" else ([], 0)

    def nested_ranks(self, model: Network) -> range:
        return range(1, highest_rank(model.base) + 1) if self.spec.method.rank_schedule == "nested" else range(0)

    def record(self, adapter: Adapter) -> Lora:
        settings = {name: value for name, value in asdict(self.lora).items() if name not in _PATTERNS}
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
    try:
        spec = LoraSpec(
            rank=lora.rank,
            scale=lora.update_scale,
            targets=tuple(lora.targets),
            dropout=lora.dropout,
            variant=lora.variant,
            alpha=lora.alpha,
            ranks=tuple(lora.ranks or ()),
            scales=tuple(lora.scales or ()),
            alphas=tuple(lora.alphas or ()),
            conv_form=lora.conv_form,
            each_gate=lora.each_gate,
            redistribute=lora.redistribute,
            initial_rank=lora.initial_rank,
        )
        if lora.lr_ratio is not None and not spec.method.plus:
            raise SpecError(f"lr_ratio {lora.lr_ratio}: has no effect without variant lora_plus")
    except SpecError as error:
        raise ConfigError(f"lora: {error}") from None
    return spec


def _orthogonality(model: Network) -> Tensor:
    return ORTHOGONALITY * orthogonality(model.base)
