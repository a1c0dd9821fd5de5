"""A low-rank change of a matrix, apart from the layer it is in: the pair A, B and what each form makes of it.

Shapes: I inputs, O outputs, R rank. A is (R, I) and starts Kaiming-uniform, B is (O, R) and starts at zero, so that an
adapted network starts as the network it was (Hu et al., 2022, section 4.1).
"""

import dataclasses
import math

import torch
from torch import Tensor, nn

from harness.lora.spec import Form


@dataclasses.dataclass(frozen=True)
class WeightSlice:
    """The matrix (O, I) that is changed: which weight of a layer, and what part of it.

    A weight is read as one row for each output, and `start` to `stop` are the rows taken. `transposed` weights have one
    column for each output (embeddings, transformers' Conv1D). `rows` reads a kernel as loralib does, as that many rows.
    """

    weight: str
    start: int
    stop: int
    transposed: bool = False
    rows: int | None = None

    def of(self, weight: Tensor) -> Tensor:
        """The matrix as a view: what is written into it is written into the weight."""
        whole = weight.t() if self.transposed else weight.view(self.rows or weight.shape[0], -1)
        return whole[self.start : self.stop]


class LowRankUpdate(nn.Module):
    """The change s·B·A of a frozen matrix W.

    Forms: `plain`; `dora`, where the direction W + s·BA has a trained magnitude m for each output (Liu et al., 2024,
    equation 5); `adalora`, s·B·diag(E)·A with E starting at zero (Zhang et al., 2023, equation 3); `dylora`, whose
    first `active` ranks alone count (Valipour et al., 2023).
    """

    def __init__(
        self, weight: Tensor, where: WeightSlice, rank: int, scale: float, form: Form = "plain", train_a: bool = True
    ) -> None:
        super().__init__()
        self.where, self.whole_scale, self.form, self.active = where, scale, form, rank
        self.by_active_rank = False  # DyLoRA with alpha: a prefix of b ranks has s = alpha/b
        self.swapped = False  # an embedding's A is what starts at zero
        matrix = where.of(weight.detach())
        outputs, inputs = matrix.shape
        self.lora_A = nn.Parameter(matrix.new_empty(rank, inputs), requires_grad=train_a)
        self.lora_B = nn.Parameter(matrix.new_zeros(outputs, rank))
        if form == "adalora":
            nn.init.normal_(self.lora_A, std=0.02)
            nn.init.normal_(self.lora_B, std=0.02)
            self.lora_E = nn.Parameter(matrix.new_zeros(rank))
        else:
            nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        if form == "dora":
            self.lora_m = nn.Parameter(matrix.norm(dim=1))
        # What was taken out of W at the start, if the variant does so. The base as it is saved does not have them.
        self.start_A: Tensor | None
        self.start_B: Tensor | None
        self.register_buffer("start_A", None, persistent=False)
        self.register_buffer("start_B", None, persistent=False)

    @property
    def rank(self) -> int:
        """R."""
        return self.lora_A.shape[0]

    @property
    def scale(self) -> float:
        """The scale s, as it counts now."""
        return self.whole_scale * (self.rank / self.active if self.by_active_rank else 1.0)

    @property
    def zero_factor(self) -> nn.Parameter:
        """Of A and B the one that starts at zero."""
        return self.lora_A if self.swapped else self.lora_B

    def factors(self) -> tuple[Tensor, Tensor]:
        """A and B as they count now, E folded into A: (R, I) and (O, R)."""
        down: Tensor = self.lora_A
        up: Tensor = self.lora_B
        if self.form == "adalora":
            down = down * self.lora_E[:, None]
        if self.active < self.rank:
            down, up = down[: self.active], up[:, : self.active]
        return down, up

    def changes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The factors of every change that the pair stands for, by the ending of its name: one, without an ending."""
        return {"": self.factors()}

    def delta(self) -> Tensor:
        """s·BA, shaped like the matrix: (O, I)."""
        down, up = self.factors()
        return self.scale * (up @ down)

    def share(self, matrix: Tensor) -> Tensor:
        """DoRA: m/‖W + s·BA‖ for each output (O); the norm is taken as a constant (Liu et al., 2024, section 4.3).

        ‖w + s·b·A‖² = ‖w‖² + 2s·b·(A·w) + s²·b·(AAᵀ)·b, so that no matrix of W's size is made.
        """
        with torch.no_grad():
            down, up = self.factors()
            cross = (matrix @ down.t() * up).sum(1)
            square = (up @ (down @ down.t()) * up).sum(1)
            norm = (matrix.square().sum(1) + 2 * self.scale * cross + self.scale**2 * square).clamp_min(0).sqrt()
        return self.lora_m / norm.clamp_min(1e-12)  # a row of zeros, as a dead filter has, stays one

    def changed(self, matrix: Tensor) -> Tensor:
        """The matrix that the pair makes of W: W + s·BA, or m(W + s·BA)/‖W + s·BA‖."""
        whole = matrix + self.delta()
        return self.share(matrix)[:, None] * whole if self.form == "dora" else whole

    def split_off(self, matrix: Tensor, down: Tensor, up: Tensor) -> None:
        """Start from this A and B, and subtract s·BA from W in place, so that the sum is as before."""
        with torch.no_grad():
            self.lora_A.copy_(down)
            self.lora_B.copy_(up)
            matrix -= self.scale * (self.lora_B @ self.lora_A)
        self.start_A, self.start_B = self.lora_A.detach().clone(), self.lora_B.detach().clone()
