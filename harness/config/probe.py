"""The configuration of a probe for what a base has forgotten."""

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, AssetConfig, Count, HeldOut, Natural


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ProbeConfig:
    """The masked-LM loss on passages of general text; whole documents are held out, `share` of their tokens hidden."""

    name: Literal["mlm"]
    asset: AssetConfig
    length: Annotated[int, Strict(), Field(ge=8)]
    passages: Count
    held_out: HeldOut
    share: HeldOut
    seed: Natural
