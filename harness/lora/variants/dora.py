"""DoRA: the direction W + s·BA has a trained magnitude m for each output (Liu et al., 2024, equation 5)."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from harness.lora.errors import SpecError
from harness.lora.update import LowRankUpdate
from harness.lora.variants.base import PlannedUpdate, Variant


class DoraUpdate(LowRankUpdate):
    """The change of W to m·(W + s·BA)/‖W + s·BA‖, row by row; m (O) starts as the norms of W's rows."""

    @override
    def reset(self, matrix: Tensor) -> None:
        super().reset(matrix)
        self.lora_m = nn.Parameter(matrix.norm(dim=1))

    @override
    def start_from(self, matrix: Tensor, down: Tensor, up: Tensor) -> None:
        """Start from this A and B, and m from the norms of the rows of W + s·BA."""
        super().start_from(matrix, down, up)
        with torch.no_grad():
            self.lora_m.copy_((matrix + self.delta()).norm(dim=1))

    def output_scaling(self, matrix: Tensor) -> Tensor:
        """m/‖W + s·BA‖ for each output (O); the norm is taken as a constant (Liu et al., 2024, section 4.3).

        ‖w + s·b·A‖² = ‖w‖² + 2s·b·(A·w) + s²·b·(AAᵀ)·b, so that no matrix of W's size is made.
        """
        with torch.no_grad():
            down, up = self.factors()
            cross = (matrix @ down.t() * up).sum(1)
            square = (up @ (down @ down.t()) * up).sum(1)
            norm = (matrix.square().sum(1) + 2 * self.scale * cross + self.scale**2 * square).clamp_min(0).sqrt()
        scaling: Tensor = self.lora_m / norm.clamp_min(1e-12)  # a row of zeros, as a dead filter has, stays one
        return scaling

    @property
    def magnitude(self) -> nn.Parameter:
        """M (O)."""
        return self.lora_m


def check(planned: PlannedUpdate) -> None:
    """Refuse loralib's factorisation of a kernel, whose rows are not outputs."""
    if planned.where.rows is not None:
        raise SpecError(
            f"{planned.name}: DoRA has one magnitude for each output; lora.conv_form=delta has none of those"
        )


VARIANT = Variant("DoRA", "Liu et al., 2024", form=DoraUpdate, checks=(check,))
