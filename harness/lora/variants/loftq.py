"""LoftQ: A and B start as the best approximation of what quantisation took from W (Li et al., 2023)."""

import torch
from torch import nn

from harness.base_layers.quantized import QuantizedLinear
from harness.lora.adapted import layer_updates
from harness.lora.errors import SpecError
from harness.lora.variants.base import Feed, Settings, Variant


def initialise(base: nn.Module, settings: Settings, feed: Feed) -> None:
    """s·BA is the best approximation of rank R of W - q(W), W being what the layer was quantised from.

    That is one step of Li et al. (2023), algorithm 1: the bits stay those of W, and the adapter fits every base that is
    quantised so. Layers in floats lost nothing, and start as LoRA's do. Raises SpecError where all are in floats, and
    where the weights as they were are gone.
    """
    held = [
        (layer.base, layer.matrix(update), update)
        for layer, update in layer_updates(base)
        if isinstance(layer.base, QuantizedLinear)
    ]
    if not held:
        raise SpecError("variant loftq: none of the adapted layers is quantised")
    for layer, dequantised, update in held:
        if layer.floats is None:
            raise SpecError("variant loftq: the network was built without `keep_floats`, which it reads")
        matrix = dequantised.to(update.lora_A.dtype)
        lost = update.where.of(layer.floats.to(matrix)) - matrix
        u, values, vh = torch.linalg.svd(lost, full_matrices=False)
        root = (values[: update.rank] / update.scale).sqrt()
        update.start_from(matrix, root[:, None] * vh[: update.rank], u[:, : update.rank] * root)


VARIANT = Variant("LoftQ", "Li et al., 2023", initialise=initialise, keeps_base=True, reads_floats=True)
