"""What a low-rank adaptation is, apart from any network."""

import dataclasses


class SpecError(ValueError):
    """A specification that does not fit the network: the message names the layer or target, and the rule."""


@dataclasses.dataclass(frozen=True)
class LoraSpec:
    """y = Wx + b + s·BA·drop(x) on every module that a target names (Hu et al., 2022, equation 3).

    `scale` is s itself, not alpha. `targets` are names that the network resolves, such as query.
    """

    rank: int
    scale: float
    targets: tuple[str, ...]
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise SpecError(f"rank {self.rank}: must be at least 1")
        if not self.scale > 0:
            raise SpecError(f"scale {self.scale}: must be above 0")

    @property
    def alpha(self) -> float:
        """S = alpha/rank."""
        return self.scale * self.rank
