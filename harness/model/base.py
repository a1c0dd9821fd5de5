"""What every model has in common: a pretrained base, a fresh head, and names for the layers an adapter can go to."""

from abc import abstractmethod

from torch import Tensor, nn


class Network(nn.Module):
    """A pretrained `base` and a fresh `head`.

    `targets` maps the names a user gives (query, value, …) to patterns of module names inside `base`.
    """

    def __init__(self, base: nn.Module, head: nn.Module, targets: dict[str, str]) -> None:
        super().__init__()
        self.base, self.head, self.targets = base, head, targets

    @abstractmethod
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C), or (B, L, C) where every token has an answer."""
