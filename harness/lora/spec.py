"""What a low-rank adaptation is, apart from any network: its ranks, scales and places, and the published variants."""

import dataclasses
import difflib
import math
import re
from typing import Literal, TypeVar

_Value = TypeVar("_Value")
Start = Literal["kaiming", "pissa", "olora", "eva", "lora_ga"]
Form = Literal["plain", "dora", "adalora", "dylora"]


class SpecError(ValueError):
    """A specification that does not fit the network: the message names the layer or target, and the rule."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """How a published method differs from LoRA (Hu et al., 2022). What is None is LoRA's own way.

    `start`: what A and B begin as; `form`: what is made of them; `root`: s = alpha/√rank; `train_a` False: A stays as
    it began; `plus`: B learns faster than A.
    """

    title: str
    source: str
    start: Start | None = None
    form: Form | None = None
    root: bool | None = None
    train_a: bool | None = None
    plus: bool | None = None


VARIANTS: dict[str, Variant] = {
    "lora": Variant("LoRA", "Hu et al., 2022"),
    "rslora": Variant("rsLoRA", "Kalajdzievski, 2023", root=True),
    "lora_plus": Variant("LoRA+", "Hayou et al., 2024", plus=True),
    "lora_fa": Variant("LoRA-FA", "Zhang et al., 2023", train_a=False),
    "dora": Variant("DoRA", "Liu et al., 2024", form="dora"),
    "pissa": Variant("PiSSA", "Meng et al., 2024", start="pissa"),
    "olora": Variant("OLoRA", "Büyükakyüz, 2024", start="olora"),
    "eva": Variant("EVA", "Paischer et al., 2024", start="eva"),
    "lora_ga": Variant("LoRA-GA", "Wang et al., 2024", start="lora_ga"),
    "dylora": Variant("DyLoRA", "Valipour et al., 2023", form="dylora"),
    "adalora": Variant("AdaLoRA", "Zhang et al., 2023", form="adalora"),
}
"""Every variant by name. Those that change different things go together: dora+rslora."""

PLUS_RATIO = 16.0
"""LoRA+: how much faster B learns than A, the power of two that Hayou et al. (2024) found best on most tasks."""


def variant(name: str) -> Variant:
    """The variant, or several joined by +. Raises SpecError for an unknown name, or two that change the same thing."""
    parts = name.split("+")
    for part in parts:
        if part not in VARIANTS:
            near = difflib.get_close_matches(part, VARIANTS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; valid: {', '.join(VARIANTS)}, joined by +"
            raise SpecError(f"variant {name}: no variant {part}{hint}")
    chosen = [VARIANTS[part] for part in parts]
    joined = Variant(" + ".join(one.title for one in chosen), "; ".join(one.source for one in chosen))
    for field in ("start", "form", "root", "train_a", "plus"):
        values = [getattr(one, field) for one in chosen if getattr(one, field) is not None]
        if len(values) > 1:
            raise SpecError(f"variant {name}: more than one of them changes the same thing ({field})")
        if values:
            joined = dataclasses.replace(joined, **{field: values[0]})
    return joined


@dataclasses.dataclass(frozen=True)
class LoraSpec:
    """y = Wx + b + s·BA·drop(x) on every module that a target names (Hu et al., 2022, equation 3).

    `scale` is s itself; or `alpha` gives s = alpha/rank (rsLoRA: alpha/√rank), at each layer's own rank. `targets` are
    names that the network resolves, such as query. `ranks`, `scales` and `alphas` are ordered pairs of a pattern and a
    value: the first pattern that matches a layer's whole name decides, and rank 0 leaves the layer out. `conv_form` is
    the branch (A of the kernel's size, B 1×1) or loralib's delta; `each_gate` gives every gate of a recurrent weight a
    pair of its own. `redistribute` is EVA's ρ: a layer may get up to ρ times its rank, the sum staying what it was.
    `initial_rank` is AdaLoRA's: ranks shrink from it to `rank` on average.
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
    redistribute: float = 1.0
    initial_rank: int | None = None

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
        chosen = self.way
        if chosen.root and (self.alpha is None or self.scales):
            raise SpecError("variant rslora: it is s = alpha/√rank; give alpha, not scale")
        if chosen.form in ("adalora", "dylora") and chosen.start is not None:
            raise SpecError(f"variant {self.variant}: a form that leaves ranks out needs a start at zero")
        if self.redistribute < 1 or (self.redistribute > 1 and chosen.start != "eva"):
            raise SpecError(f"redistribute {self.redistribute}: at least 1, and above 1 only with variant eva")
        if self.initial_rank is not None and (chosen.form != "adalora" or self.initial_rank < self.rank):
            raise SpecError(f"initial_rank {self.initial_rank}: at least rank, and only with variant adalora")

    @property
    def way(self) -> Variant:
        """The variant's ways, joined."""
        return variant(self.variant)

    def rank_at(self, name: str) -> int:
        """The rank of a layer, or of AdaLoRA's start there; 0 leaves the layer out."""
        rank = self.final_rank_at(name)
        if self.way.form != "adalora" or rank == 0:
            return rank
        whole = self.initial_rank or math.ceil(1.5 * self.rank)  # the paper's budget at the start: 1.5 times the last
        return math.ceil(rank * whole / self.rank)

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
        return chosen / (math.sqrt(rank) if self.way.root else rank)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SpecError(f"pattern {pattern}: {error}") from None


def _first(pairs: tuple[tuple[str, _Value], ...], name: str) -> _Value | None:
    return next((value for pattern, value in pairs if _compiled(pattern).fullmatch(name)), None)
