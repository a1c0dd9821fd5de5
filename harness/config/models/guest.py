"""The configuration of a model of the user's own."""

from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.config.guests import DottedPath
from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, AssetConfig, Text


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class GuestModelConfig(ModelConfig):
    """A subclass of harness.model.GuestModel by its dotted path, and the arguments of its constructor.

    `weights` null: fresh weights, drawn by the seed. `tokenizer` is a tokenizer.json, or a folder with one, for models
    that take text; null: the one beside the weights.
    """

    module: ClassVar[str] = "harness.model.guest"

    kind: DottedPath
    name: Text
    weights: AssetConfig | None = None
    tokenizer: AssetConfig | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)

    @property
    def guest(self) -> str:
        return self.kind

    @property
    def takes(self) -> None:
        return None

    def token_mistakes(self, task: str, what: str) -> list[str]:
        return [f"model.kind={self.kind}: a model of your own answers a row as a whole; task={task} {what}"]
