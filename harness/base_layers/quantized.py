"""Linear layers whose frozen weight is held in 4 bits (NF4; Dettmers et al., 2023) or 8 (Dettmers et al., 2022).

Shapes: I inputs, O outputs, N = O·I weights. Bits are written and read by bitsandbytes, products are in floats.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Scheme = Literal["int8", "nf4", "nf4-double"]
"""int8: a scale for each output. nf4: one for each 64 weights, which nf4-double has in 8 bits, too."""

BLOCK = 64
"""Weights that share a scale in NF4."""
NESTED_BLOCK = 256
"""Scales that share a scale of theirs, where they are quantised as well."""
_KNOWN = (torch.float32, torch.bfloat16, torch.float16)


class QuantizedLinear(nn.Linear):
    """y = Wx + b, W (O, I) being made anew from its bits whenever it is used, in the forward and the backward pass.

    `weight` is W in floats, a fresh tensor: what is written into it is lost. `qweight` and `scales` are all that is
    held. Inputs are never rounded, other than in LLM.int8(): the loss is that of a linear layer which holds `weight`.
    """

    like: Tensor
    floats: Tensor | None = None
    """W as it was before, while a start reads it."""

    def __init__(self, layer: nn.Linear, scheme: Scheme) -> None:
        """Quantise a layer's weight; on the meta device only the shapes of what would be held are made.

        Raises OverflowError for a weight that has no scale: one that is not finite, or beyond float16 for int8.
        """
        nn.Module.__init__(self)  # nn.Linear's would make a weight in floats
        self.in_features, self.out_features, self.scheme = layer.in_features, layer.out_features, scheme
        weight = layer.weight.detach()
        qweight, scales = _shapes(weight, scheme) if weight.is_meta else _quantized(weight, scheme)
        if not weight.is_meta and not all(each.isfinite().all() for each in scales):
            most = ", or above 65504" if scheme == "int8" else ""
            raise OverflowError(f"a weight is not finite{most}, which {scheme} cannot hold")
        self.qweight = nn.Parameter(qweight, requires_grad=False)
        # As bytes: to a network that is brought to another type of floats, they are no floats.
        self.scales = nn.ParameterList([nn.Parameter(each.view(torch.uint8), requires_grad=False) for each in scales])
        self.bias = layer.bias
        # Without elements: it carries the device and the type that the layer is moved to.
        self.register_buffer("like", weight.new_empty(0), persistent=False)
        self.train(layer.training)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """W (O, I), dequantised in the type of the layer's floats."""
        shape, kind = (self.out_features, self.in_features), self.like.dtype
        if self.qweight.is_meta:
            return self.like.new_empty(shape)
        exact = kind if kind in _KNOWN else torch.float32
        return _dequantized(self.qweight, list(self.scales), shape, exact, self.scheme).to(kind)

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O)."""
        y: Tensor = _Product.apply(x, self)
        return y

    def in_floats(self, weight: Tensor | None = None) -> nn.Linear:
        """A plain layer with the same bias and W in floats, or another `weight` (O, I)."""
        made = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        made.weight = nn.Parameter(self.weight if weight is None else weight, requires_grad=False)
        made.bias = self.bias
        return made.train(self.training)


class _Product(torch.autograd.Function):
    """Wx + b for a W that no pass keeps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return F.linear(x, layer.weight.to(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.layer.weight.to(grad.dtype), None


def dequantize(network: nn.Module) -> None:
    """Put a plain layer, its weight in floats, in the place of every quantised one."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, QuantizedLinear):
            network.set_submodule(name, layer.in_floats())


def forget_floats(network: nn.Module) -> None:
    """Let go of the weights that a start has read."""
    for layer in network.modules():
        if isinstance(layer, QuantizedLinear):
            layer.floats = None


def sizes_of(network: nn.Module) -> dict[int, int]:
    """The numbers that each parameter of a network stands for, by id: several of a quantised weight share a byte."""
    sizes = {id(tensor): tensor.numel() for tensor in network.parameters()}
    for layer in network.modules():
        if isinstance(layer, QuantizedLinear):
            sizes |= {id(scale): 0 for scale in layer.scales}
            sizes[id(layer.qweight)] = layer.in_features * layer.out_features
    return sizes


def _shapes(weight: Tensor, scheme: Scheme) -> tuple[Tensor, list[Tensor]]:
    """Compute the shapes of `_quantized`: N bytes and 4·O, or N/2 and 4·N/64, or N/2 and N/64 + 4·N/(64·256) + 4."""
    new = weight.new_empty
    if scheme == "int8":
        return new(weight.shape, dtype=torch.int8), [new(len(weight), dtype=torch.float32)]
    qweight, blocks = new(((weight.numel() + 1) // 2, 1), dtype=torch.uint8), -(-weight.numel() // BLOCK)
    if scheme == "nf4":
        return qweight, [new(blocks, dtype=torch.float32)]
    nested = new(-(-blocks // NESTED_BLOCK), dtype=torch.float32)
    return qweight, [new(blocks, dtype=torch.uint8), nested, new(1, dtype=torch.float32)]


def _quantized(weight: Tensor, scheme: Scheme) -> tuple[Tensor, list[Tensor]]:
    """The bits of a weight (O, I), and its scales: of nf4-double their bits, the scales of these, and the mean."""
    import bitsandbytes.functional as bits

    if scheme == "int8":
        qweight, scales, _ = bits.int8_vectorwise_quant(weight.to(torch.float16))  # the type that its kernel reads
        return qweight, [scales]
    qweight, state = bits.quantize_4bit(
        weight.contiguous(), blocksize=BLOCK, compress_statistics=scheme == "nf4-double", quant_type="nf4"
    )
    if scheme == "nf4":
        return qweight, [state.absmax]
    return qweight, [state.absmax, state.state2.absmax, state.offset.view(1)]


def _dequantized(
    qweight: Tensor, scales: list[Tensor], shape: tuple[int, int], dtype: torch.dtype, scheme: Scheme
) -> Tensor:
    import bitsandbytes.functional as bits

    if scheme == "int8":
        found: Tensor = bits.int8_vectorwise_dequant(qweight, scales[0].view(torch.float32)).to(dtype)
        return found
    absmax = scales[0].view(torch.float32) if scheme == "nf4" else _nested(scales)
    state = bits.QuantState(absmax=absmax, shape=shape, dtype=dtype, blocksize=BLOCK, quant_type="nf4")
    weight: Tensor = bits.dequantize_4bit(qweight, state)
    return weight


def _nested(scales: list[Tensor]) -> Tensor:
    """The scales of nf4-double in floats."""
    import bitsandbytes.functional as bits

    held, nested, mean = scales[0], *(each.view(torch.float32) for each in scales[1:])
    found: Tensor = bits.dequantize_blockwise(held, absmax=nested, blocksize=NESTED_BLOCK) + mean
    return found
