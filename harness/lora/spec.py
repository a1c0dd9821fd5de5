"""The specification of a low-rank adaptation: its ranks, scales, targets and variant, apart from any network."""

import dataclasses
import functools
import math
import re
from typing import Literal, TypeVar

from harness.lora.errors import SpecError
from harness.lora.variants import Settings, Variant, read_settings, variant

_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class LoraSpec:
    """y = Wx + b + s·BA·drop(x) on every module that a target names (Hu et al., 2022, equation 3).

    `scale` is s itself; or `alpha` gives s = alpha/rank (rsLoRA: alpha/√rank), at each layer's own rank. `targets` are
    names that the network resolves, such as query. `ranks`, `scales` and `alphas` are ordered pairs of a pattern and a
    value: the first pattern that matches a layer's whole name decides, and rank 0 leaves the layer out. `conv_form` is
    the branch (A of the kernel's size, B 1×1) or loralib's delta; `each_gate` gives every gate of a recurrent weight an
    update of its own. `settings` are the variant's own, as they are given.
    """

    rank: int
    scale: float | None
    targets: tuple[str, ...]
    dropout: float = 0.0
    variant: str = "lora"
    alpha: float | None = None
    ranks: tuple[tuple[str, int], ...] = ()
    scales: tuple[tuple[str, float], ...] = ()
    alphas: tuple[tuple[str, float], ...] = ()
    conv_form: Literal["branch", "delta"] = "branch"
    each_gate: bool = False
    settings: Settings = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise SpecError(f"rank {self.rank}: must be at least 1")
        if (self.scale is None) == (self.alpha is None):
            raise SpecError(f"scale {self.scale} and alpha {self.alpha}: give one of them")
        for name, value in (("scale", self.scale), ("alpha", self.alpha)):
            if value is not None and not value > 0:
                raise SpecError(f"{name} {value}: must be above 0")
        for pattern, _ in (*self.ranks, *self.scales, *self.alphas):
            _compiled(pattern)
        self._check_variant()

    def _check_variant(self) -> None:
        chosen = self.method
        if chosen.root and (self.alpha is None or self.scales):
            raise SpecError(f"variant {self.variant}: it is s = alpha/√rank; give alpha, not scale")
        if chosen.schedule is not None and chosen.initialise is not None:
            raise SpecError(f"variant {self.variant}: a form that leaves ranks out needs a start at zero")
        _ = self.own

    @functools.cached_property
    def method(self) -> Variant:
        """The variant, or the variants joined."""
        return variant(self.variant)

    @functools.cached_property
    def own(self) -> Settings:
        """Every setting of the variant's own, as given or by default."""
        return read_settings(self.variant, self.settings, self.rank)

    def rank_at(self, name: str) -> int:
        """The rank that a layer starts with; 0 leaves the layer out."""
        return self.first_rank(self.final_rank_at(name))

    def first_rank(self, final: int) -> int:
        """The rank that a layer starts with whose rank is `final` when training has ended."""
        first = self.method.first_rank
        return final if first is None else first(self.rank, final, self.own)

    def final_rank_at(self, name: str) -> int:
        """The rank of a layer when training has ended (AdaLoRA: on average, if every layer were alike)."""
        found = _first(self.ranks, name)
        return self.rank if found is None else found

    def scale_at(self, name: str, rank: int) -> float:
        """The scale s of a layer of that rank."""
        scale, alpha = _first(self.scales, name), _first(self.alphas, name)
        if scale is not None:
            return scale
        if alpha is None and self.scale is not None:
            return self.scale
        chosen = alpha if alpha is not None else self.alpha
        assert chosen is not None
        return chosen / (math.sqrt(rank) if self.method.root else rank)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SpecError(f"pattern {pattern}: {error}") from None


def _first(values: tuple[tuple[str, _Value], ...], name: str) -> _Value | None:
    return next((value for pattern, value in values if _compiled(pattern).fullmatch(name)), None)
