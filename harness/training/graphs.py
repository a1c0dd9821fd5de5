"""Training steps as graphs of a GPU: all the kernels of a pass and of its way back, recorded once and started as one.

A step of a small base is bound by the process that starts its kernels, one after another. A graph computes what they
compute one by one, from the same random numbers; it is for batches of the same shapes.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.training.checkpoint import random_state, set_random_state

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]
Network = Callable[[dict[str, Tensor]], Tensor]
Shapes = tuple[tuple[str, torch.Size, torch.dtype], ...]
"""What batches have in common that one graph is for."""

_FIRST = 3  # steps: by then an optimiser has its state, and libraries have their work space
_COST = 8  # steps that recording takes as long as
_APART = 0.02  # the most that a graph's loss and gradients may be off: far above what rounding makes
_MOVED = "layers of them move their weights in memory"  # as recurrent ones do: a graph reads them where they were


class NoGraph(Exception):
    """A step cannot be recorded."""


class StepGraphs:
    """Graphs of the steps of a network on a GPU, one for each shape of batches that comes often enough.

    `loss_of(network, batch)` is the loss of a step; from step to step nothing may change but the numbers in the batch
    and in the network's tensors. `steps` are those of the whole training. `refused` says why no step is a graph;
    `recorded` counts the shapes whose steps are.
    """

    def __init__(self, network: nn.Module, loss_of: Callable[[Network, Batch], Tensor], steps: int) -> None:
        self.network, self.loss_of, self.steps = network, loss_of, steps
        recurrent = any(isinstance(module, nn.RNNBase) for module in network.modules())
        self.refused = _MOVED if recurrent else ""
        self.graphs: dict[Shapes, _Graph] = {}
        self.recorded = 0
        self._seen: Counter[Shapes] = Counter()
        self._gradients: dict[str, Tensor] = {}  # by the names of their parameters
        self._pool: Any = None

    def loss(self, batch: Batch, step: int) -> Tensor | None:
        """The loss of the batch of a step, whose gradients are then in place; None: it is for the caller to compute."""
        shapes = shapes_of(batch)
        self._seen[shapes] += 1
        seen, of = self._seen[shapes], self._seen.total()
        if shapes not in self.graphs and not self.refused and pays(seen, of=of, left=self.steps - step):
            self._record(shapes, batch)
        return self._run(self.graphs[shapes], batch) if shapes in self.graphs else None

    def zero_gradients(self) -> None:
        """Clear the gradients as an optimiser does, but keep in place those that graphs write."""
        for name, parameter in self.network.named_parameters():
            parameter.grad = self._gradients[name].zero_() if name in self._gradients else None

    def release(self) -> None:
        """Give up the graphs, and the memory of the GPU that they are recorded in."""
        self.graphs, self._gradients, self._pool = {}, {}, None

    def _run(self, graph: "_Graph", batch: Batch) -> Tensor:
        loss = graph.run(batch)
        for name, parameter in self.network.named_parameters():
            parameter.grad = self._gradients.get(name)
        return loss

    def _record(self, shapes: Shapes, batch: Batch) -> None:
        state, buffers = random_state(), [(buffer, buffer.clone()) for buffer in self.network.buffers()]

        def undo() -> None:
            set_random_state(state)
            for buffer, values in buffers:
                buffer.copy_(values)

        try:
            self.graphs[shapes] = self._recorded(batch, undo)
            self.recorded += 1
        except Exception as error:  # whatever a network does that cannot be recorded: its steps are made without
            self.refused = str(error).split("\n")[0] or type(error).__name__
            self.release()
            _leave_recording()
            log.info("training steps are made without graphs: %s", self.refused)
        undo()

    def _recorded(self, batch: Batch, undo: Callable[[], None]) -> "_Graph":
        """A graph, recorded with other rows, that has been seen to give the loss and the gradients of the batch."""
        wanted = self._plain(batch)
        undo()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = _Graph(self.network, self.loss_of, batch, self._gradients, self._pool)
        undo()
        if not graph.reads(self.network):
            raise NoGraph(_MOVED)
        found = self._sizes(self._run(graph, batch))
        if not torch.allclose(found, wanted, rtol=_APART, atol=0):
            raise NoGraph("a graph of them computes something else")
        return graph

    def _plain(self, batch: Batch) -> Tensor:
        """The loss of the batch and the size of each gradient without a graph; the gradients' tensors are kept."""
        before = _drawn_by_the_processor()
        self.zero_gradients()
        loss = self.loss_of(self.network, batch)
        _back(loss)
        if _drawn_by_the_processor() != before:
            raise NoGraph("they draw random numbers of the processor")
        if not self._gradients:
            found = ((name, parameter.grad) for name, parameter in self.network.named_parameters())
            self._gradients = {name: gradient for name, gradient in found if gradient is not None}
        return self._sizes(loss)

    def _sizes(self, loss: Tensor) -> Tensor:
        """The loss, and the norm of each gradient."""
        norms = torch._foreach_norm(list(self._gradients.values()))
        return torch.stack([loss.detach().float(), *(norm.float() for norm in norms)])


class _Graph:
    """A recorded graph that computes the loss of a batch, and writes its gradients to their place at recording.

    The parameters stand in it as tensors of their own with the same memory: where gradients are added up belongs to
    the stream that a tensor was first used in.
    """

    def __init__(
        self,
        network: nn.Module,
        loss_of: Callable[[Network, Batch], Tensor],
        batch: Batch,
        gradients: Mapping[str, Tensor],
        pool: Any,
    ) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._inputs = {name: tensor.flip(0) if tensor.ndim else tensor.clone() for name, tensor in batch.items()}
        parameters, stand_ins = dict(network.named_parameters()), dict[str, Tensor]()
        self._stand_ins = stand_ins
        for name, gradient in gradients.items():
            stand_ins[name] = parameters[name].detach().requires_grad_()
            stand_ins[name].grad = gradient

        def step() -> Tensor:
            torch._foreach_zero_(list(gradients.values()))
            loss = loss_of(lambda given: functional_call(network, stand_ins, (given,)), self._inputs)
            _back(loss)
            return loss.detach()

        _free_workspaces()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), _casting_anew():
            self._loss = step().clone()  # once more as it is, on the stream that it is recorded on
            _free_workspaces()
            with torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                self._loss.copy_(step())
        torch.cuda.current_stream().wait_stream(stream)
        _free_workspaces()

    def reads(self, network: nn.Module) -> bool:
        """Return whether it has the network's parameters at their current place."""
        parameters = dict(network.named_parameters())
        return all(tensor.data_ptr() == parameters[name].data_ptr() for name, tensor in self._stand_ins.items())

    def run(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        for name, tensor in batch.items():
            self._inputs[name].copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._loss.clone()


def shapes_of(batch: Batch) -> Shapes:
    """The name, shape and type of each tensor."""
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in batch.items())


def pays(seen: int, *, of: int, left: int) -> bool:
    """Return whether a shape `seen` this often in `of` steps will come often enough in those `left` to be recorded."""
    return of >= _FIRST and seen > 1 and left * seen / of >= _COST


def _back(loss: Tensor) -> None:
    """Gradients are computed without autocast, as the trainer does it."""
    with torch.autocast("cuda", enabled=False):
        loss.backward()


def _drawn_by_the_processor() -> tuple[Any, ...]:
    """The state of its generators."""
    return random.getstate(), torch.get_rng_state().numpy().tobytes(), str(np.random.get_state())  # noqa: NPY002


@contextmanager
def _casting_anew() -> Iterator[None]:
    """Autocast as it is, but without what was cast before: a graph has to do that itself."""
    enabled, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    with torch.autocast("cuda", dtype, enabled=enabled, cache_enabled=False):
        yield


def _free_workspaces() -> None:
    """CuBLAS has one of some 30 MiB for each stream; a graph's is of its own memory, and not for what runs without."""
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()


def _leave_recording() -> None:
    """After a recording that failed: the GPU's generator may still be as in a recording, and would draw no more."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(torch.Generator("cuda").graphsafe_get_state())
