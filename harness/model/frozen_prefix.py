"""The first layers of a base that nothing is trained in: their states can be computed once, and the layers passed over.

Shapes: B rows, L places of a row (tokens or patches), H hidden units.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from harness.model.base import Network

_STATES = "hidden_states"  # as transformers' layers call their first argument


class FrozenPrefix:
    """The layers of a base's stack below the first in which something is trained.

    While it is open, a batch's `prefix` (B, L, H) takes the place of what they would give, and they are not computed.
    """

    def __init__(self, network: Network, layers: nn.ModuleList, count: int) -> None:
        self.network, self.count = network, count
        self._layers, self._first = layers[:count], layers[count]
        self._given: Tensor | None = None
        self._beside: tuple[None, ...] | None = None  # what a layer gives behind its states, where it gives a tuple
        self._handles: list[Any] = []

    def states(self, batch: dict[str, Tensor]) -> Tensor | None:
        """What the layers give of a batch (B, L, H), without computing those above; None where it is another thing."""
        seen: list[Any] = []

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(_first_of(args, kwargs))
            raise _Reached

        def look(_: nn.Module, __: Any, found: Any) -> None:
            self._beside = found[1:] if isinstance(found, tuple) else None
            if any(each is not None for each in self._beside or ()):
                seen.append(None)
                raise _Reached

        handles = [
            self._first.register_forward_pre_hook(keep, with_kwargs=True),
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
            self.network.register_forward_pre_hook(self._take),
            self._first.register_forward_pre_hook(self._give, with_kwargs=True),
        ]
        for layer in self._layers:
            layer.forward = partial(self._pass, layer.forward)

    def close(self) -> None:
        """The network is as it was."""
        for handle in self._handles:
            handle.remove()
        for layer in self._layers:
            del layer.forward

    def _take(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._given = inputs[0].get("prefix")

    def _pass(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._given is None:
            return forward(*args, **kwargs)
        states = _first_of(args, kwargs)
        return states if self._beside is None else (states, *self._beside)

    def _give(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
        if self._given is None:
            return None
        return ((self._given, *args[1:]), kwargs) if args else ((), kwargs | {_STATES: self._given})


class _Reached(Exception):
    """All that was asked for is computed."""


def _first_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get(_STATES)


def frozen_prefix(network: Network) -> FrozenPrefix | None:
    """The prefix of a base that is one stack of layers, with all that is trained in the upper ones; None of others."""
    lists = {name: part for name, part in network.base.named_modules() if isinstance(part, nn.ModuleList)}
    stacks = [part for name, part in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    if len(stacks) != 1:
        return None
    (layers,) = stacks
    trained = [number for number, layer in enumerate(layers) if _is_trained(layer)]
    if not trained or trained[0] == 0:
        return None
    above = {id(tensor) for layer in layers[trained[0] :] for tensor in layer.parameters()}
    if any(tensor.requires_grad and id(tensor) not in above for tensor in network.base.parameters()):
        return None
    return FrozenPrefix(network, layers, trained[0])


def _is_trained(layer: nn.Module) -> bool:
    return any(tensor.requires_grad for tensor in layer.parameters())
