"""The configuration of a probe for what a base has forgotten."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, AssetConfig, Count, HeldOut, Natural


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ProbeConfig:
    """A loss on passages of general text, of `length` tokens; whole documents are held out.

    `module` has its `probe_loss` and `probe_digest`, as harness.trial.probe says, and is imported when it is measured.
    """

    module: ClassVar[str]
    hides_tokens: ClassVar[bool]
    """Whether hidden tokens are asked for; else the next one is, at every token."""

    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...

    asset: AssetConfig
    length: Annotated[int, Strict(), Field(ge=8)]
    passages: Count
    held_out: HeldOut
    seed: Natural


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class MaskedProbeConfig(ProbeConfig):
    """The masked-LM loss of an encoder: `share` of a passage's tokens are hidden."""

    module = "harness.trial.masked_probe"
    hides_tokens = True

    name: Literal["mlm"]
    share: HeldOut


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class PerplexityProbeConfig(ProbeConfig):
    """The loss of a causal base at every token of a passage but the first; its exponential is the perplexity."""

    module = "harness.trial.perplexity"
    hides_tokens = False

    name: Literal["perplexity"]
