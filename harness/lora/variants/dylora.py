"""DyLoRA: each step trains a random prefix of the ranks, so that one run gives every rank (Valipour et al., 2023)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn
from typing_extensions import override

from harness.lora.adapted import updates_of
from harness.lora.update import LowRankUpdate
from harness.lora.variants.base import RankSchedule, Variant


class DyLoraUpdate(LowRankUpdate):
    """The change with only its first `active` ranks applied; given as alpha, s = alpha/active."""

    @override
    def reset(self, matrix: Tensor) -> None:
        super().reset(matrix)
        self.active = self.rank

    @property
    def scale(self) -> float:
        """The scale s that applies to the active ranks."""
        return self.whole_scale * (self.rank / self.active if self.by_alpha else 1.0)

    def factors(self) -> tuple[Tensor, Tensor]:
        """The active rows of A and columns of B."""
        if self.active == self.rank:
            return self.lora_A, self.lora_B
        return self.lora_A[: self.active], self.lora_B[:, : self.active]


def set_active(network: nn.Module, rank: int) -> None:
    """Let only the first `rank` ranks of every update apply (all of those that have fewer)."""
    for update in nested_updates(network):
        update.active = min(rank, update.rank)


def nested_updates(network: nn.Module) -> list[DyLoraUpdate]:
    """Every update whose ranks are nested."""
    return [update for update in updates_of(network) if isinstance(update, DyLoraUpdate)]


def highest_rank(network: nn.Module) -> int:
    """The highest rank among the nested updates; 0 where there are none."""
    return max((update.rank for update in nested_updates(network)), default=0)


class RandomPrefixes(RankSchedule):
    """Every step trains a prefix of the ranks, its length uniform from 1 to the highest; evaluations use all ranks."""

    def __init__(self, network: nn.Module, seed: int) -> None:
        self.network, self.highest = network, highest_rank(network)
        self.draw = np.random.default_rng(seed)

    @override
    def before_step(self) -> None:
        set_active(self.network, int(self.draw.integers(1, self.highest + 1)))

    @override
    def after_step(self, step: int) -> None:
        set_active(self.network, self.highest)

    @override
    def state(self) -> dict[str, Any]:
        return dict(self.draw.bit_generator.state)

    @override
    def load(self, state: dict[str, Any]) -> None:
        self.draw.bit_generator.state = state


def schedule(network: nn.Module, _: Callable[[str], int], steps: int, seed: int) -> RandomPrefixes:
    """A prefix for each step."""
    return RandomPrefixes(network, seed)


VARIANT = Variant("DyLoRA", "Valipour et al., 2023", form=DyLoraUpdate, schedule=schedule, nested=True)
