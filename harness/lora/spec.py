"""What a low-rank adaptation is, apart from any network."""

import dataclasses
from typing import Literal


class SpecError(ValueError):
    """A specification that does not fit the network: the message names the layer or target, and the rule."""


@dataclasses.dataclass(frozen=True)
class LoraSpec:
    """y = Wx + b + s·BA·drop(x) on every module that a target names (Hu et al., 2022, equation 3).

    `scale` is s itself, not alpha. `targets` are names that the network resolves, such as query. `conv_form` is the
    branch (A of the kernel's size, B 1×1) or loralib's delta; `each_gate` gives every gate of a recurrent weight a pair
    of its own in place of one pair for all.
    """

    rank: int
    scale: float
    targets: tuple[str, ...]
    dropout: float = 0.0
    conv_form: Literal["branch", "delta"] = "branch"
    each_gate: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise SpecError(f"rank {self.rank}: must be at least 1")
        if not self.scale > 0:
            raise SpecError(f"scale {self.scale}: must be above 0")

    @property
    def alpha(self) -> float:
        """S = alpha/rank."""
        return self.scale * self.rank
