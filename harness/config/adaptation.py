"""The interface of every kind of `lora` configuration."""

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from harness.config.tree import ConfigError

if TYPE_CHECKING:
    from harness.config.lora import LoraConfig


class Adaptation:
    """A way to train a base. These are the defaults of all kinds."""

    name: str
    reads_layers_alone: ClassVar[bool] = True
    """Whether nothing of a base matters to it but its layers: their names, kinds and shapes."""
    takes_more_updates: ClassVar[bool] = False
    """Whether updates for later tasks can be put beside its own."""
    stands_alone: ClassVar[bool] = False
    """Whether its tasks share a stream, so that no other adapter can lie beside it."""

    @property
    def trains_whole_base(self) -> bool:
        """True if all of the base is trained."""
        return False

    @property
    def trains_base_weights(self) -> bool:
        """True if weights of the base itself are trained, all or some."""
        return False

    @property
    def trains_head_alone(self) -> bool:
        """True if only the head is trained, with nothing in or beside the base."""
        return False

    @property
    def chosen_by(self) -> str:
        """The key, with its value, that chooses how tasks are adapted."""
        return f"lora={self.name}"

    @property
    def takes_rows_of_all_tasks(self) -> bool:
        """True if a row may belong to all tasks at once."""
        return True

    @property
    def guests(self) -> tuple[str, ...]:
        """The dotted paths of variants of the user's own."""
        return ()

    @property
    def low_rank(self) -> "LoraConfig | None":
        """Itself, if it is LoRA or a variant of it."""
        return None

    @property
    def starts_as_base(self) -> bool:
        """True if the adapted network computes the same as the base before training; false if that is not known."""
        return not self.guests

    def mistakes(self, task: str, is_mixture: bool) -> list[str]:
        """Keys at odds with each other, or with a task of that name."""
        return []

    def layer_mistakes(self, highest: Mapping[str, int], children: Collection[str], model: str) -> Iterator[str]:
        """Targets and ranks that the model does not have.

        `highest` maps the names of its layers to the highest rank that all layers of that name can have, `children`
        are the modules directly inside it.
        """
        yield from ()

    def spread_mistakes(self, where: str) -> list[str]:
        """Return errors for weights that are spread over devices."""
        return [f"{where}: lora={self.name} is not known to work there; lora=lora, or trainer.strategy=ddp"]

    def quantization_mistakes(self, where: str) -> list[str]:
        """Return errors for weights that are held in few bits."""
        return [f"{where}: lora={self.name} is not known to work there; lora=lora, or model.quantization=null"]

    def as_lora(self, where: str) -> "LoraConfig":
        """Itself, if it is LoRA or a variant of it. Raises ConfigError, which begins with `where`."""
        if self.low_rank is None:
            raise ConfigError(f"{where}: of lora=lora and its variants; lora.name={self.name}")
        return self.low_rank

    def identity(self) -> dict[str, Any]:
        """Its keys as a fingerprint takes them: the same thing in other words is the same."""
        assert dataclasses.is_dataclass(self)
        return dataclasses.asdict(self)


def repeated_targets(targets: Sequence[str]) -> list[str]:
    """The mistake of naming a target twice."""
    doubles = sorted({name for name in targets if targets.count(name) > 1})
    return [f"lora.targets={shown(targets)}: {', '.join(doubles)} named twice"] if doubles else []


def only_for_mixtures(key: str, task: str, is_mixture: bool) -> list[str]:
    """The mistake of asking for adapters of several tasks where there is one."""
    if is_mixture:
        return []
    return [f"{key}: adapters for several tasks; task={task} is one, task=mixture is several"]


def shown(value: Any) -> str:
    """A value as a user would write it."""
    return json.dumps(value, ensure_ascii=False)
