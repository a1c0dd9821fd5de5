"""PiSSA: A and B start as W's leading singular triplets, which are taken out of W (Meng et al., 2024)."""

import torch
from torch import nn

from harness.lora.adapted import layer_updates
from harness.lora.variants.base import Feed, Settings, Variant


def initialise(base: nn.Module, settings: Settings, feed: Feed) -> None:
    """B√s, √s·A are the leading singular triplets of W, so that s·BA is W's best approximation of rank R.

    Meng et al., 2024, equations 2 to 4.
    """
    for layer, update in layer_updates(base):
        matrix = layer.matrix(update)
        u, values, vh = torch.linalg.svd(matrix.float(), full_matrices=False)
        root = (values[: update.rank] / update.scale).sqrt()
        update.split_off(matrix, root[:, None] * vh[: update.rank], u[:, : update.rank] * root)


VARIANT = Variant("PiSSA", "Meng et al., 2024", initialise=initialise)
