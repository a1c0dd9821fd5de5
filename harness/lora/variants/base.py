"""The definition of a published variant: how it differs from LoRA (Hu et al., 2022), and which ones combine."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from harness.lora.errors import SpecError
from harness.lora.update import LowRankUpdate, WeightSlice

T = TypeVar("T", int, float, bool, str)

Settings = Mapping[str, Any]
"""The values of a variant's own settings, by name: what was given, else the default."""

Feed = Callable[[bool], None]
"""Runs some training batches through the network; if asked, with a backward pass of their mean loss."""

Initialise = Callable[[nn.Module, Settings, Feed], None]
"""Initialises every update of an adapted network: the network, the variant's settings, and batches to look at."""

LayerCheck = Callable[["PlannedUpdate"], None]
"""Raises SpecError for an update that the variant does not support."""


@dataclasses.dataclass(frozen=True)
class PlannedUpdate:
    """An update before it is made: the name of its target, the layer, and the part of its weight.

    `rank` and `highest` count rows of A; `one_matrix`: the layer's input is a matrix with one row for each position.
    """

    name: str
    layer: nn.Module
    where: WeightSlice
    rank: int
    highest: int
    one_matrix: bool


class RankSchedule(ABC):
    """A schedule that changes ranks during training. Checkpoints hold its state, of plain values and tensors."""

    settled: int = 0
    """The step from which on ranks stay as they are: no weights of before are the best."""

    def before_step(self) -> None:
        """Called before the forward pass of every training step."""
        return

    @abstractmethod
    def after_step(self, step: int) -> None:
        """Called after optimiser step number `step`, counted from 1, while the gradients are still there."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the state that `load` restores."""

    @abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state, on the device of the updates."""


MakeSchedule = Callable[[nn.Module, Callable[[str], int], int, int], RankSchedule]
"""From the adapted network, the rank that each target (by name) is to have at the end, the steps and the seed."""


_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}


@dataclasses.dataclass(frozen=True)
class Setting(Generic[T]):
    """A setting of a variant's own: its type, its default (None: the variant decides), and the rule of its values.

    `allows` is asked with a value and the rank of the specification; `rule` says the same in words.
    """

    kind: type[T]
    default: T | None
    rule: str
    allows: Callable[[T, int], bool]

    def read(self, name: str, value: object, rank: int) -> T:
        """The value, of its type. Raises SpecError where it is of another type or breaks the rule."""
        given = float(value) if self.kind is float and type(value) is int else value
        if type(given) is not self.kind or not self.allows(given, rank):
            raise SpecError(f"{name} {value}: {_KINDS[self.kind]}, {self.rule}")
        return given


@dataclasses.dataclass(frozen=True)
class Variant:
    """A published method as its differences from LoRA. None or False stands for LoRA's own choice.

    `initialise`: how A and B begin; `form`: what is made of them; `root`: s = alpha/√rank; `train_a` False: A stays as
    it began; `plus`: how much faster B learns than A, which the setting `lr_ratio` overrides. `settings` are the
    variant's own, by name; `first_rank` gives the rank that a layer starts with from the common rank, the layer's final
    one and the settings; `penalty` of the network is added to every loss; `schedule` moves ranks in training. `nested`:
    a trained adapter can be cut to every lower rank. `whole_weights`: weights spread over devices are not supported.
    `looks_at_batches`: its `initialise` does. `reads_floats`: it reads what quantised weights were before.
    `keeps_base`: its `initialise` takes nothing out of the frozen weights.
    `checks` refuse layers. `note` says from the settings what a count before training leaves open.
    """

    title: str
    source: str
    initialise: Initialise | None = None
    form: type[LowRankUpdate] | None = None
    root: bool | None = None
    train_a: bool | None = None
    plus: float | None = None
    settings: Mapping[str, Setting[Any]] = dataclasses.field(default_factory=dict)
    first_rank: Callable[[int, int, Settings], int] | None = None
    penalty: Callable[[nn.Module], Tensor] | None = None
    schedule: MakeSchedule | None = None
    nested: bool = False
    whole_weights: bool = False
    keeps_base: bool = False
    looks_at_batches: bool = False
    reads_floats: bool = False
    checks: tuple[LayerCheck, ...] = ()
    note: Callable[[Settings], str] = lambda _: ""

    @property
    def update(self) -> type[LowRankUpdate]:
        """The class of the variant's updates."""
        return self.form or LowRankUpdate

    @property
    def changes_base(self) -> bool:
        """True if its initialisation subtracts from the frozen weights, which must be floats then."""
        return self.initialise is not None and not self.keeps_base

    @property
    def takes(self) -> dict[str, Setting[Any]]:
        """Its own settings, and `lr_ratio` where B learns faster."""
        ratio = Setting(float, self.plus, "above 0", lambda value, _: value > 0)
        return {**self.settings, **({} if self.plus is None else {"lr_ratio": ratio})}


_ONE_OF = ("initialise", "form", "root", "train_a", "plus", "first_rank", "penalty", "schedule")


def join(name: str, variants: list[Variant]) -> Variant:
    """Several variants as one. Raises SpecError where two change the same thing."""
    changes: dict[str, object] = {}
    for field in _ONE_OF:
        values = [getattr(one, field) for one in variants if getattr(one, field) is not None]
        if len(values) > 1:
            raise SpecError(f"variant {name}: more than one of them changes the same thing ({field})")
        if values:
            changes[field] = values[0]
    joined = Variant(" + ".join(one.title for one in variants), "; ".join(one.source for one in variants))
    return dataclasses.replace(
        joined,
        **changes,  # type: ignore[arg-type]
        settings={key: setting for one in variants for key, setting in one.settings.items()},
        nested=any(one.nested for one in variants),
        whole_weights=any(one.whole_weights for one in variants),
        looks_at_batches=any(one.looks_at_batches for one in variants),
        reads_floats=any(one.reads_floats for one in variants),
        keeps_base=any(one.keeps_base for one in variants),
        checks=tuple(check for one in variants for check in one.checks),
        note=lambda settings: " ".join(filter(None, (one.note(settings) for one in variants))),
    )
