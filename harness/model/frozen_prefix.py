"""The first layers of a base that nothing is trained in: their states can be computed once, and the layers passed over.

Shapes: B rows, L places of a row (tokens or patches), H hidden units.
"""

from typing import Any

from torch import Tensor, nn

from harness.model.base import Network

_STATES = "hidden_states"  # as transformers' layers call their first argument


class FrozenPrefix:
    """The layers of a base's stack below the first in which something is trained; `stack` is its name in the base.

    While it is open, a pass over a batch with a `prefix` (B, L, H) has that in place of what they would give: the stack
    is then the upper layers alone.
    """

    def __init__(self, network: Network, stack: str, count: int) -> None:
        self.network, self.count = network, count
        holder, _, self._name = stack.rpartition(".")
        self._holder = network.base.get_submodule(holder)
        self._layers: nn.ModuleList = getattr(self._holder, self._name)
        self._upper = self._layers[count:]
        self._given: Tensor | None = None
        self._handles: list[Any] = []

    def states(self, batch: dict[str, Tensor]) -> Tensor | None:
        """Return the layers' output (B, L, H) without computing those above; None if it has another form."""
        seen: list[Any] = []

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(args[0] if args else kwargs.get(_STATES))
            raise _Reached

        def look(_: nn.Module, __: Any, found: Any) -> None:
            if isinstance(found, tuple) and any(each is not None for each in found[1:]):
                seen.append(None)  # it gives more to those above
                raise _Reached

        handles = [
            self._upper[0].register_forward_pre_hook(keep, with_kwargs=True),
            self._layers[0].register_forward_hook(look),
        ]
        try:
            self.network(batch)
        except _Reached:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return seen[0] if seen and isinstance(seen[0], Tensor) and seen[0].ndim == 3 else None

    def open(self) -> None:
        """Begin to read `prefix` of batches."""
        self._handles = [
            self.network.register_forward_pre_hook(self._begin),
            self.network.register_forward_hook(self._end, always_call=True),
            self._upper[0].register_forward_pre_hook(self._give, with_kwargs=True),
        ]

    def close(self) -> None:
        """The network is as it was."""
        for handle in self._handles:
            handle.remove()

    def _begin(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._given = inputs[0].get("prefix")
        if self._given is not None:
            setattr(self._holder, self._name, self._upper)

    def _end(self, *_: Any) -> None:
        self._given = None  # a base that is called past its network, as to write, reads what it is given
        setattr(self._holder, self._name, self._layers)

    def _give(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
        if self._given is None:
            return None
        return ((self._given, *args[1:]), kwargs) if args else ((), kwargs | {_STATES: self._given})


class _Reached(Exception):
    """All that was asked for is computed."""


def frozen_prefix(network: Network) -> FrozenPrefix | None:
    """The prefix of a base that is one stack of layers, with all that is trained in the upper ones; None of others."""
    lists = {name: part for name, part in network.base.named_modules() if isinstance(part, nn.ModuleList)}
    stacks = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    if len(stacks) != 1:
        return None
    layers = lists[stacks[0]]
    trained = [number for number, layer in enumerate(layers) if _is_trained(layer)]
    if not trained or trained[0] == 0:
        return None
    above = {id(tensor) for layer in layers[trained[0] :] for tensor in layer.parameters()}
    if any(tensor.requires_grad and id(tensor) not in above for tensor in network.base.parameters()):
        return None
    return FrozenPrefix(network, stacks[0], trained[0])


def _is_trained(layer: nn.Module) -> bool:
    return any(tensor.requires_grad for tensor in layer.parameters())
