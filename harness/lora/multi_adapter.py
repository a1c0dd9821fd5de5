"""Adapters of many tasks beside one base, each row of a batch by its own: for inference.

Shapes: B rows, I inputs, O outputs, R the highest rank, N adapters.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.lora.adapted import adapted_layers, replace
from harness.lora.adapter_config import read_config
from harness.lora.errors import SpecError
from harness.lora.layers import LoraLinear
from harness.lora.multitask import task_adapters
from harness.lora.peft_format import block_diagonal
from harness.lora.peft_import import import_adapter
from harness.lora.routing import TaskRouter, add_one, add_per_row, stacked


class PackedLinear(nn.Module):
    """y = Wx + b + B_n A_n x, n the adapter of the row; each adapter's scale is in its B.

    An adapter that leaves this layer alone is zeros here, and so is what it lacks to the highest rank.
    """

    downs: Tensor
    ups: Tensor

    def __init__(self, base: nn.Module, downs: Tensor, ups: Tensor, route: TaskRouter) -> None:
        super().__init__()
        self.base, self.route = base, route
        self.register_buffer("downs", downs)
        self.register_buffer("ups", ups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …, I) to (B, …, O)."""
        y: Tensor = self.base(x)
        rows = self.route.rows
        if isinstance(rows, int):
            return add_one(y, x, down=self.downs[rows], up=self.ups[rows])
        return add_per_row(y, x, downs=self.downs, ups=self.ups, rows=rows)

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as of an adapted linear layer."""
        return self.base.get_parameter("weight")


@torch.no_grad()
def pack(base: nn.Module, folders: Sequence[Path], route: TaskRouter) -> dict[str, int]:
    """Put the adapters of several folders beside the plain network `base`; returns {module: highest rank}.

    The number of an adapter, which `route` gives for each row, is its folder's place in the order. Folders are what
    `export_adapter` or PEFT wrote. Raises SpecError for an adapter that is not A and B on linear layers, and as
    `import_adapter` does.
    """
    found: dict[str, dict[int, tuple[Tensor, Tensor]]] = {}
    for number, folder in enumerate(folders):
        if modules := read_config(folder).get("modules_to_save"):
            said = ", ".join(modules)
            raise SpecError(f"{folder}: modules_to_save names {said}; adapters side by side differ in A and B only")
        import_adapter(base, folder)
        for name, factors in _taken_out(base, folder).items():
            found.setdefault(name, {})[number] = factors
    ranks = {}
    for name, adapters in found.items():
        down, up = next(iter(adapters.values()))
        none = down[:0], up[:, :0]
        downs, ups = stacked([adapters.get(number, none) for number in range(len(folders))])
        replace(base, name, PackedLinear(base.get_submodule(name), downs, ups, route))
        ranks[name] = downs.shape[1]
    return ranks


def _taken_out(base: nn.Module, folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """The adapter's A and B, with the scale in it, by layer; the network is plain again."""
    if task_adapters(base) is not None:
        raise SpecError(f"{folder}: an adapter for several tasks has a route of its own and stands alone")
    factors = {}
    for name, layer in list(adapted_layers(base)):
        linear = isinstance(layer, LoraLinear)
        if not linear or any(update.scales_outputs for _, update in layer.low_rank()):
            kind = "has scaled outputs (DoRA)" if linear else f"is {type(layer.base).__name__}"
            raise SpecError(f"{folder}: {name} {kind}; only A and B on linear layers are packed")
        factors[name] = block_diagonal(layer, "weight", 1.0)
        replace(base, name, layer.base)
    return factors
