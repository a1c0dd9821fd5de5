"""OLoRA: A and B start as the QR decomposition of W, which is taken out of W (Büyükakyüz, 2024)."""

import torch
from torch import nn

from harness.lora.adapted import layer_updates
from harness.lora.variants.base import Feed, Settings, Variant


def initialise(base: nn.Module, settings: Settings, feed: Feed) -> None:
    """B and A are the first R columns of Q and rows of the triangle in W = QR (Büyükakyüz, 2024, section 3)."""
    for layer, update in layer_updates(base):
        matrix = layer.matrix(update)
        q, triangle = torch.linalg.qr(matrix.float())
        update.split_off(matrix, triangle[: update.rank], q[:, : update.rank])


VARIANT = Variant("OLoRA", "Büyükakyüz, 2024", initialise=initialise)
