"""Variants of a user's own, that use each what a variant may say and no published one of ours does."""

import torch
from torch import Tensor, nn

from harness.lora.update import LowRankUpdate
from harness.lora.variants import Variant


class ScalingUpdate(LowRankUpdate):
    """The change of W to e^g·(W + s·BA), with g (O) trained from zero."""

    def reset(self, matrix: Tensor) -> None:
        super().reset(matrix)
        self.lora_g = nn.Parameter(matrix.new_zeros(len(matrix)))

    def output_scaling(self, matrix: Tensor) -> Tensor:
        return torch.exp(self.lora_g)


SCALING = Variant("Scaling LoRA", "these tests", form=ScalingUpdate)
