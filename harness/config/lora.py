"""The configuration of how a base is trained: LoRA and its variants, PEFT's methods, and baselines."""

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, Strict
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from harness.config.adaptation import Adaptation, only_for_mixtures, repeated_targets, shown
from harness.config.multitask import Targets, TaskAdapterConfig
from harness.config.scalars import CLOSED, Count, Flag, Natural, Positive, Share, Text
from harness.config.tree import nearest

DEFAULT_SCALE = 2.0


def _from_file(value: Any) -> Any:
    """The pairs that a JSON file holds, as run=allocate writes it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(Path(value).read_text())
    except (OSError, ValueError) as error:
        rule = f"a list of [pattern, rank], or a JSON file of one; {getattr(error, 'strerror', None) or error}"
        raise PydanticCustomError("ranks", "{rule}", {"rule": rule}) from None


Ranks = Annotated[list[tuple[Text, Natural]] | None, BeforeValidator(_from_file)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class LoraConfig(Adaptation):
    """Low-rank adaptation: y = Wx + b + s·BA·drop(x), s given as `scale`, or as `alpha` with s = alpha/rank.

    `ranks`, `scales` and `alphas` are ordered [pattern, value] pairs over layer names; the first match decides; `ranks`
    may be a JSON file of them, whose content is what counts. With
    `match` the rank is the one that comes nearest to that way's number of parameters, and `rank` is not read.
    `settings` are the variant's own, but for those that have keys here: `lr_ratio`, `redistribute`, `initial_rank`.
    """

    name: Literal["lora"]
    variant: Text
    rank: Count
    scale: Positive | None
    alpha: Positive | None
    targets: Targets
    dropout: Share
    ranks: Ranks
    scales: list[tuple[Text, Positive]] | None
    alphas: list[tuple[Text, Positive]] | None
    conv_form: Literal["branch", "delta"]
    each_gate: Flag
    lr_ratio: Positive | None
    redistribute: Annotated[float, Strict(), Field(ge=1)]
    initial_rank: Count | None
    match: Annotated[TaskAdapterConfig, Field(discriminator="name")] | None
    calibration: Count
    settings: dict[Text, Any] | None = None

    takes_more_updates: ClassVar[bool] = True

    @property
    def update_scale(self) -> float | None:
        """The scale s where it is given or the default of 2; None where alpha decides."""
        return self.scale or (None if self.alpha else DEFAULT_SCALE)

    @property
    def variant_settings(self) -> dict[str, Any]:
        """The variant's own settings, as far as they are given."""
        named = {"lr_ratio": self.lr_ratio, "initial_rank": self.initial_rank}
        named["redistribute"] = self.redistribute if self.redistribute > 1 else None
        return {key: value for key, value in named.items() if value is not None} | (self.settings or {})

    @property
    def chosen_by(self) -> str:
        return super().chosen_by if self.match is None else f"lora.match={self.match.name}"

    @property
    def takes_rows_of_all_tasks(self) -> bool:
        return self.match is None or self.match.takes_rows_of_all_tasks

    @property
    def low_rank(self) -> "LoraConfig":
        return self

    @property
    def guests(self) -> tuple[str, ...]:
        return tuple(part for part in self.variant.split("+") if ":" in part)

    def mistakes(self, task: str, is_mixture: bool) -> list[str]:
        found = only_for_mixtures(self.chosen_by, task, is_mixture) if self.match else []
        found += repeated_targets(self.targets)
        if self.match is not None and (self.ranks or self.redistribute > 1):
            found.append(f"lora.match={self.match.name}: sets one rank for all layers; none by layer, none that moves")
        if self.scale is not None and self.alpha is not None:
            found.append(f"lora.scale={self.scale} and lora.alpha={self.alpha}: give one of them, never both")
        keys = {field.name for field in dataclasses.fields(self)}
        found += [f"lora.settings.{key}: that is lora.{key}" for key in self.settings or {} if key in keys]
        if self.scales and self.alphas:
            found.append("lora.scales and lora.alphas: give one of them, never both")
        return found

    def layer_mistakes(self, highest: Mapping[str, int], children: Collection[str], model: str) -> Iterator[str]:
        for target in self.targets:
            if target.isidentifier() and target not in highest and target not in children:
                hint = nearest(target, highest) or f"; valid: {', '.join(highest)}"
                named = f"lora.targets={shown(self.targets)}: target {target}"
                yield f"{named}: no such name in model={model}, and as a pattern it matches no module{hint}"
        most = {target: highest[target] for target in self.targets if target in highest}
        above = [target for target in most if self.rank > most[target]]
        if above and not self.ranks and self.conv_form == "branch":
            least = min(above, key=lambda target: most[target])
            yield f"lora.rank={self.rank}: above min(inputs, outputs) = {most[least]} of {least} in model={model}"

    def spread_mistakes(self, where: str) -> list[str]:
        return []

    def quantization_mistakes(self, where: str) -> list[str]:
        return []

    def identity(self) -> dict[str, Any]:
        tree = super().identity()
        if self.match is None:
            del tree["match"]  # so that trials from before there was one are still known
        else:
            tree["match"] = self.match.identity()
        if not self.settings:  # likewise
            del tree["settings"]
        plainly = self.variant == "lora" and not (self.ranks or self.alphas or self.match)
        if self.alpha and plainly:
            return tree | {"scale": self.alpha / self.rank, "alpha": None}
        return tree | {"scale": self.update_scale}


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class PeftConfig(Adaptation):
    """Any method of PEFT by its type (VERA, LOHA, IA3, …) with that method's own arguments."""

    reads_layers_alone = False

    name: Literal["peft"]
    method: Text
    arguments: dict[str, Any] | None
    targets: Targets

    @property
    def starts_as_base(self) -> bool:
        return False  # arguments may begin otherwise

    def mistakes(self, task: str, is_mixture: bool) -> list[str]:
        return repeated_targets(self.targets)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class BaselineConfig(Adaptation):
    """A part of the base is trained as it is: all of it, its biases (BitFit), its norms, or nothing but the head."""

    name: Literal["full", "bitfit", "norms", "head"]

    @property
    def trains_whole_base(self) -> bool:
        return self.name == "full"

    @property
    def trains_base_weights(self) -> bool:
        return self.name != "head"

    @property
    def trains_head_alone(self) -> bool:
        return self.name == "head"

    def spread_mistakes(self, where: str) -> list[str]:
        return []

    def quantization_mistakes(self, where: str) -> list[str]:
        if self.trains_head_alone:
            return []
        return [f"{where}: lora={self.name} trains weights of the base, which must be floats; lora=lora, or null"]
