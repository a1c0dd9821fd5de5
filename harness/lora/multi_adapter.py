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
from harness.lora.layers import Adapted, LoraLinear
from harness.lora.multitask import task_adapters
from harness.lora.peft_format import block_diagonal
from harness.lora.peft_import import import_adapter
from harness.lora.routing import TaskRouter, add_one, add_per_row, stacked
from harness.lora.rows_apart import rows_apart


class MultiAdapterLinear(nn.Module):
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
def pack(
    base: nn.Module, folders: Sequence[Path], route: TaskRouter, tasks: Sequence[str | None] | None = None
) -> dict[str, int]:
    """Put the adapters of several folders beside the plain network `base`; returns {module: highest rank}.

    The number of an adapter, which `route` gives for each row, is its folder's place in the order. Folders are what
    `export_adapter` or PEFT wrote; of one for several tasks, `tasks` says which task's it is. A and B on a linear layer
    are applied in one product for all rows; where an adapter has another form, a layer computes each adapter's rows
    apart. Raises SpecError for layers that do not take rows apart, and as `import_adapter` does.
    """
    found: dict[str, dict[int, Adapted]] = {}
    for number, (folder, task) in enumerate(zip(folders, tasks or [None] * len(folders), strict=True)):
        if modules := read_config(folder).get("modules_to_save"):
            said = ", ".join(modules)
            raise SpecError(f"{folder}: modules_to_save names {said}; adapters side by side differ in A and B only")
        import_adapter(base, folder)
        for name, layer in _taken_out(base, folder, task).items():
            found.setdefault(name, {})[number] = layer
    ranks = {}
    for name, adapted in found.items():
        plain = {number: pair for number, layer in adapted.items() if (pair := _plain_factors(layer)) is not None}
        frozen = base.get_submodule(name)
        if len(plain) == len(adapted):
            down, up = next(iter(plain.values()))
            none = down[:0], up[:, :0]
            downs, ups = stacked([plain.get(number, none) for number in range(len(folders))])
            replace(base, name, MultiAdapterLinear(frozen, downs, ups, route))
        else:
            apart = rows_apart(frozen, adapted, route)
            if apart is None:
                first = folders[min(adapted)]
                raise SpecError(f"{first}: {name} is {type(frozen).__name__}, whose rows are not told apart")
            replace(base, name, apart)
        ranks[name] = max(update.rank for each in adapted.values() for _, update in each.low_rank())
    return ranks


def _taken_out(base: nn.Module, folder: Path, task: str | None) -> dict[str, Adapted]:
    """The adapter's layers by name, of several tasks' as one task has them; the network is plain again."""
    plan, layers = task_adapters(base), dict(adapted_layers(base))
    own = layers
    if plan is not None:
        if plan.spec.stands_alone:
            raise SpecError(f"{folder}: an adapter of MTLoRA for several tasks, which share a stream, stands alone")
        if task not in plan.tasks:
            raise SpecError(f"{folder}: an adapter of the tasks {', '.join(plan.tasks)}; name one of them")
        own = {name: layer.of_task(task) for name, layer in layers.items()}
        del base.task_adapters
    for name, layer in layers.items():
        replace(base, name, layer.base)
    return {name: layer for name, layer in own.items() if layer.updates}


def _plain_factors(layer: Adapted) -> tuple[Tensor, Tensor] | None:
    """A and B with the scale in it, where they are all that an adapter changes of a linear layer."""
    if not isinstance(layer, LoraLinear) or any(update.scales_outputs for _, update in layer.low_rank()):
        return None
    return block_diagonal(layer, "weight", 1.0)
