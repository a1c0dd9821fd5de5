"""The interface of adaptation methods: how they change a network, what they need in training, what they save."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from harness.lora import Feed, RankSchedule
from harness.model import Network
from harness.record import Adapter, Lora
from harness.system.study_files import ADAPTER


class Method(ABC):
    """One way to train a base. It is built once for a trial; what a way does not have keeps the answer given here."""

    calibration: int = 0
    """Training batches that the start looks at."""
    trains_whole_base: bool = False
    packs: bool = False
    """Whether all that it trains of the base is A and B of fixed ranks, which can share a pass with other trials'."""
    steady: bool = False
    """Whether nothing but numbers changes from step to step: what a GPU's graph of a step needs."""
    reads_floats: bool = False
    """Whether its start reads what quantised weights were before."""
    folder: str = ADAPTER
    """The folder of a trial for what was trained of the base."""

    @property
    def lr_ratio(self) -> float:
        """The learning rate of the `fast_parameters` relative to the others."""
        return 1.0

    @property
    def note(self) -> str:
        """A word for run=count, where the counts are not settled before training."""
        return ""

    def check(self) -> None:
        """Raise ConfigError for what can be told of it and the rest of the configuration without the network."""
        return

    @abstractmethod
    def adapt(self, model: Network) -> dict[str, int]:
        """Freeze the base but for what is trained, add what is added; returns the rank of each adapted layer.

        Raises SpecError where the network has no place for it.
        """

    def initialise(self, model: Network, feed: Feed) -> dict[str, int]:
        """Start from what training batches show; returns the ranks where that moved them."""
        return {}

    def fast_parameters(self, model: Network) -> list[nn.Parameter]:
        """The parameters that learn `lr_ratio` times as fast as others."""
        return []

    def penalty(self, model: Network) -> Callable[[], Tensor] | None:
        """Return the term that is added to the loss of every step, or None."""
        return None

    def rank_schedule(self, model: Network, steps: int, seed: int) -> RankSchedule | None:
        """Return the schedule that changes ranks over the given number of training steps, or None."""
        return None

    def nested_ranks(self, model: Network) -> range:
        """The ranks that the trained adapter is cut to and scored at."""
        return range(0)

    @abstractmethod
    def record(self, adapter: Adapter) -> Lora:
        """Return the record's section: the method's settings, with patterns resolved as in the `adapter`."""

    @abstractmethod
    def save(self, model: Network, base_address: str, folder: Path) -> None:
        """Write what was trained of the base into a folder; `base_address` names the weights it belongs to."""


def same_fields(kind: type, config: object) -> dict[str, Any]:
    """The fields of the dataclass `kind` as a configuration has them; what is null there is left to its default."""
    found = {field.name: vars(config)[field.name] for field in fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items() if value is not None
    }
