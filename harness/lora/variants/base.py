"""What a published variant is: how it differs from LoRA (Hu et al., 2022), and when two of them go together."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from torch import nn

from harness.lora.errors import SpecError
from harness.lora.update import LowRankUpdate, WeightSlice

Feed = Callable[[bool], None]
"""Runs some training batches through the network; if asked, with a backward pass of their mean loss."""

Start = Callable[[nn.Module, float, Feed], None]
"""Gives every update of an adapted network its start: the network, how far ranks may grow, and batches to look at."""

LayerCheck = Callable[["Place"], None]
"""Raises SpecError for a layer on which the variant is not supported."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an update is to go, as a variant's check sees it.

    `rank` and `highest` count rows of A; `one_matrix`: the layer's input is a matrix with one row for each position.
    """

    name: str
    layer: nn.Module
    where: WeightSlice
    rank: int
    highest: int
    one_matrix: bool


@dataclasses.dataclass(frozen=True)
class Variant:
    """How a published method differs from LoRA. What is None is LoRA's own.

    `start`: how A and B begin, and whether from `data`; `form`: what is made of them; `root`: s = alpha/√rank;
    `train_a` False: A stays as it began; `plus`: how much faster B learns than A. `rank_schedule` says how ranks move
    in training; `takes` names the keys that only this variant reads. `check` refuses layers.
    """

    title: str
    source: str
    start: Start | None = None
    form: type[LowRankUpdate] | None = None
    root: bool | None = None
    train_a: bool | None = None
    plus: float | None = None
    rank_schedule: Literal["allocated", "nested"] | None = None
    takes: tuple[str, ...] = ()
    checks: tuple[LayerCheck, ...] = ()
    note: str = ""

    @property
    def update(self) -> type[LowRankUpdate]:
        """The class of the variant's updates."""
        return self.form or LowRankUpdate


def join(name: str, variants: list[Variant]) -> Variant:
    """Several variants as one. Raises SpecError where two change the same thing."""
    changes: dict[str, object] = {}
    for field in ("start", "form", "root", "train_a", "plus"):
        values = [getattr(one, field) for one in variants if getattr(one, field) is not None]
        if len(values) > 1:
            raise SpecError(f"variant {name}: more than one of them changes the same thing ({field})")
        if values:
            changes[field] = values[0]
    joined = Variant(" + ".join(one.title for one in variants), "; ".join(one.source for one in variants))
    return dataclasses.replace(
        joined,
        **changes,  # type: ignore[arg-type]
        rank_schedule=next((one.rank_schedule for one in variants if one.rank_schedule), None),
        takes=tuple(key for one in variants for key in one.takes),
        checks=tuple(check for one in variants for check in one.checks),
        note=" ".join(one.note for one in variants if one.note),
    )
