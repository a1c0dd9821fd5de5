"""The costs of a trial: parameters in groups that add up, memory, and the operations of a step."""

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.base_layers.quantized import sizes_of
from harness.devices import bytes_of
from harness.record import Parameters

_STEP_BYTES = 4
"""AdamW counts its steps for each tensor, beside the two moments, which are as large as the tensor."""


def memory_needed(model: nn.Module) -> dict[str, int]:
    """Bytes that training holds whatever the batch: weights, gradients and AdamW's state; shapes are enough.

    Activations of a step are not included: they depend on the batch, its lengths and the precision.
    """
    trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
    gradients = bytes_of(trained)
    return {
        "parameters": bytes_of([*model.parameters(), *model.buffers()]),
        "gradients": gradients,
        "optimizer": 2 * gradients + _STEP_BYTES * len(trained),
    }


def parameters_by_group(model: nn.Module, adapter: Iterable[nn.Parameter], head: Iterable[nn.Parameter]) -> Parameters:
    """Count a network's parameters; `other` is what is trained and belongs to neither adapter nor head."""
    sizes = sizes_of(model)
    trained = {id(tensor) for tensor in model.parameters() if tensor.requires_grad}
    adapter_ids = {id(tensor) for tensor in adapter} & trained
    head_ids = {id(tensor) for tensor in head} & trained
    assert not adapter_ids & head_ids, "a tensor is counted as adapter and as head"

    def total(ids: Iterable[int]) -> int:
        return sum(sizes[key] for key in ids)

    return Parameters(
        adapter=total(adapter_ids),
        head=total(head_ids),
        other=total(trained - adapter_ids - head_ids),
        frozen=total(sizes.keys() - trained),
        total=total(sizes),
    )


def _attention(*given: Any, scale: float | None = None, out_shape: object = None) -> int:
    """The products of queries and keys, and of their scores and values; heads of queries may share a key.

    Given are the shapes of query (B, H, L, D), key, value and others.
    """
    (batch, heads, queries, width), keys, values = given[0], given[1][2], given[2][3]
    return int(2 * batch * heads * queries * keys * (width + values))


def _attention_backward(*given: Any, scale: float | None = None, out_shape: object = None) -> int:
    """Two products for each of the forward pass; the shape of the gradient comes first."""
    return 2 * _attention(*given[1:])


_FUSED = {
    torch.ops.aten._scaled_dot_product_flash_attention: _attention,
    torch.ops.aten._scaled_dot_product_efficient_attention: _attention,
    torch.ops.aten._scaled_dot_product_cudnn_attention: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_backward: _attention_backward,
    torch.ops.aten._scaled_dot_product_efficient_attention_backward: _attention_backward,
    torch.ops.aten._scaled_dot_product_cudnn_attention_backward: _attention_backward,
}


def flops_of(work: Callable[[], object], device: torch.device) -> int:
    """Floating-point operations of what `work` does, as `counted_flops` counts them."""
    with counted_flops(device) as so_far:
        work()
    return so_far()


@contextmanager
def counted_flops(device: torch.device) -> Iterator[Callable[[], int]]:
    """Floating-point operations of the matrix products and convolutions inside, up to the call, by torch's counter.

    A multiplication and an addition are two. Elementwise work is not counted, nor are the scores that a GPU's fused
    attention computes again in its backward pass: counts are the same on every device, whatever torch itself counts,
    but for the gradient of a key where nothing needs it, which fused attention computes all the same. The fused
    recurrent layers of oneDNN, and on a CPU the fused attention, are turned off meanwhile, since the counter does not
    know them.
    """
    from torch.utils.flop_counter import FlopCounterMode  # it brings triton

    known = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH]
    attention = sdpa_kernel(SDPBackend.MATH if device.type == "cpu" else known)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")  # of Intel's GPUs
        counter = FlopCounterMode(display=False, custom_mapping=_FUSED)
        with attention, torch.backends.mkldnn.flags(enabled=False), counter:
            yield counter.get_total_flops


class _LiveTensors(TorchDispatchMode):
    """Follows the bytes of the tensors that operations make, until they are freed; `known` ones do not count."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._live = 0
        self._known = {_storage_of(tensor) for tensor in known}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and (key := _storage_of(tensor)) not in self._known:
                self._add(key, tensor.untyped_storage())
        return out

    def _add(self, key: int, storage: torch.UntypedStorage) -> None:
        self._known.add(key)
        self._live += storage.nbytes()
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._free, key, storage.nbytes()).atexit = False

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


def _storage_of(tensor: torch.Tensor) -> int:
    """Names the memory that a tensor and its views share."""
    found: int = tensor.untyped_storage()._cdata
    return found


def peak_of(work: Callable[[], object], known: Iterable[torch.Tensor]) -> int:
    """The most bytes that the tensors made by `work` hold at once; those that are `known` do not count.

    Memory that an operation allocates and frees within itself is left out.
    """
    live = _LiveTensors(known)
    with live:
        work()
    return live.peak
