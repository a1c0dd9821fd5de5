"""The low-rank updates of several networks beside one frozen base: their rows joined, one product for all of them.

Shapes: N networks, B rows of each, L tokens of a row, I inputs, O outputs, R the highest rank.
"""

import copy
import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.lora.adapted import adapted_layers, replace
from harness.lora.joined_rows import JoinedRows
from harness.lora.layers import LoraLinear
from harness.lora.update import LowRankUpdate, frozen_weight


def unpackable_reason(base: nn.Module) -> str:
    """Return why the updates in a network cannot be packed; empty if they can."""
    for name, layer in adapted_layers(base):
        if not isinstance(layer, LoraLinear):
            return f"{name} is {type(layer).__name__}, not a linear layer"
        for _, update in layer.low_rank():
            if type(update) is not LowRankUpdate:
                return f"{name}: {type(update).__name__} is more than A and B"
            if update.start_A is not None:
                return f"{name}: its start was taken out of the base, which is no longer the others'"
    trained = {id(tensor) for _, layer in adapted_layers(base) for tensor in layer.updates.parameters()}
    free = [name for name, tensor in base.named_parameters() if tensor.requires_grad and id(tensor) not in trained]
    return f"{free[0]} of the base is trained" if free else ""


def frozen_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the frozen tensors by the names that they have without adapters."""
    inside = [f"{name}." for name, _ in adapted_layers(network)]
    found = {}
    frozen = [(name, tensor) for name, tensor in network.named_parameters() if not tensor.requires_grad]
    for name, tensor in [*frozen, *network.named_buffers()]:
        prefix = next((prefix for prefix in inside if name.startswith(prefix)), "")
        if not name.startswith(f"{prefix}updates."):
            found[prefix + name.removeprefix(prefix).removeprefix("base.") if prefix else name] = tensor
    return found


@torch.no_grad()
def share_frozen(network: nn.Module, theirs: Mapping[str, Tensor]) -> str:
    """Let a network hold these frozen tensors in place of its own; returns why not, where they differ."""
    mine = frozen_tensors(network)
    if mine.keys() != theirs.keys():
        return "its layers are not those of the others"
    for name, tensor in mine.items():
        if tensor.data_ptr() != theirs[name].data_ptr() and not torch.equal(tensor, theirs[name]):
            return f"its {name} is not that of the others"
    for name, tensor in mine.items():
        tensor.data = theirs[name].data
    return ""


class JoinedBase:
    """A frozen base that several networks of it run in one pass; it holds no weights of its own."""

    def __init__(self, network: nn.Module, rows: JoinedRows) -> None:
        self.rows = rows
        self.network = _same_weights(network)
        for name, layer in list(adapted_layers(self.network)):
            replace(self.network, name, layer.base)
        self.frozen = frozen_tensors(self.network)
        self._packed: dict[str, PackedLinear] = {}
        self._members: list[nn.Module] = []

    def set_members(self, bases: Sequence[nn.Module]) -> None:
        """Take the updates of these networks, in the order of their rows."""
        if len(bases) == len(self._members) and all(map(lambda one, other: one is other, bases, self._members)):
            return
        for name, packed in self._packed.items():
            replace(self.network, name, packed.base)
        found: dict[str, dict[int, LoraLinear]] = {}
        for place, base in enumerate(bases):
            for name, layer in adapted_layers(base):
                assert isinstance(layer, LoraLinear)
                found.setdefault(name, {})[place] = layer
        self._packed = {
            name: PackedLinear(
                self.network.get_submodule(name), [layers.get(place) for place in range(len(bases))], self.rows
            )
            for name, layers in found.items()
        }
        for name, packed in self._packed.items():
            replace(self.network, name, packed)
        self._members = list(bases)

    @torch.no_grad()
    def gather(self) -> "list[Stack]":
        """Copy the updates as they are now, one kernel for all where dtypes and shapes allow; returns the copies."""
        stacks = [stack for layer in self._packed.values() for stack in layer.stacks]
        for pairs in ([stack.pairs_down for stack in stacks], [stack.pairs_up for stack in stacks]):
            slots, tensors = zip(*itertools.chain.from_iterable(pairs), strict=True)
            torch._foreach_copy_(slots, tensors)
        for stack in stacks:
            stack.downs.grad = stack.ups.grad = None
        return stacks


def _same_weights(network: nn.Module) -> nn.Module:
    """A copy whose tensors lie where the network's do, and stay there wherever those of the network are moved."""
    same: dict[int, object] = {id(tensor): tensor.detach() for tensor in network.buffers()}
    for tensor in network.parameters():
        same[id(tensor)] = nn.Parameter(tensor.detach(), requires_grad=tensor.requires_grad)
    return copy.deepcopy(network, same)


@dataclasses.dataclass
class Stack:
    """A (N, R, I) and B (N, O, R) of the same matrix, padded with zeros; an update that is not there is all zeros."""

    updates: Sequence[LowRankUpdate | None]
    offset: int
    stop: int

    def __post_init__(self) -> None:
        there = [update for update in self.updates if update is not None]
        highest = max(update.rank for update in there)
        (_, inputs), (outputs, _) = there[0].lora_A.shape, there[0].lora_B.shape
        count = len(self.updates)
        self.downs = there[0].lora_A.new_zeros(count, highest, inputs).requires_grad_()
        self.ups = there[0].lora_B.new_zeros(count, outputs, highest).requires_grad_()
        scales = [0.0 if update is None else update.scale for update in self.updates]
        self.scales = self.downs.new_tensor(scales)[:, None, None]
        self.held = {
            place: (update.lora_A, update.lora_B, update.rank)
            for place, update in enumerate(self.updates)
            if update is not None
        }
        downs, ups = self.downs.detach(), self.ups.detach()
        self.pairs_down = [(downs[place, :rank], down.detach()) for place, (down, _, rank) in self.held.items()]
        self.pairs_up = [(ups[place, :, :rank], up.detach()) for place, (_, up, rank) in self.held.items()]

    def scatter(self, place: int) -> None:
        """Give the update of a network its gradients."""
        if place not in self.held or self.downs.grad is None or self.ups.grad is None:
            return
        down, up, rank = self.held[place]
        if down.requires_grad:
            down.grad = self.downs.grad[place, :rank]
        up.grad = self.ups.grad[place, :, :rank].contiguous()


class PackedLinear(nn.Module):
    """y = Wx + b + s_n·B_n A_n·drop_n(x), n the network of the row; W is multiplied once for all rows."""

    def __init__(self, base: nn.Module, layers: Sequence[LoraLinear | None], rows: JoinedRows) -> None:
        super().__init__()
        self.base, self.rows = base, rows
        self.drops = [_probability(layer) for layer in layers]
        keys = {
            key: (update.where.offset, update.where.stop)
            for layer in layers
            if layer is not None
            for key, update in layer.low_rank()
        }
        by_key = [{} if layer is None else dict(layer.low_rank()) for layer in layers]
        self.stacks = [Stack([found.get(key) for found in by_key], *where) for key, where in keys.items()]

    def forward(self, x: Tensor) -> Tensor:
        """(N·B, …, I) to (N·B, …, O)."""
        y: Tensor = self.base(x)
        dropped = self.rows.dropout(x, self.drops) if any(self.drops) else x
        for stack in self.stacks:
            if stack.offset == 0 and stack.stop == y.shape[-1]:
                y = self._added(y, dropped, stack)
            else:
                mine = y[..., stack.offset : stack.stop]
                y[..., stack.offset : stack.stop] = self._added(mine, dropped, stack)
        return y

    def _added(self, y: Tensor, x: Tensor, stack: Stack) -> Tensor:
        counts, own = self.rows.counts, self.rows.each(x)
        if len(set(counts)) > 1:
            each = zip(self.rows.each(y), own, stack.scales * stack.ups, stack.downs, strict=True)
            return torch.cat([part + (rows @ down.t()) @ up.t() for part, rows, up, down in each])
        low = torch.bmm(x.reshape(len(counts), -1, x.shape[-1]), stack.downs.transpose(1, 2)) * stack.scales
        flat = y.reshape(len(counts), -1, y.shape[-1])
        return torch.baddbmm(flat, low, stack.ups.transpose(1, 2)).view(y.shape)

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as of an adapted linear layer; of one of few bits a fresh tensor in floats."""
        return frozen_weight(self.base, "weight")


def _probability(layer: LoraLinear | None) -> float:
    return layer.dropout.p if layer is not None and isinstance(layer.dropout, nn.Dropout) else 0.0
