"""A low-rank change of a matrix, apart from the layer that it is in: the factors A and B, and what they make of it.

Shapes: I inputs, O outputs, R rank. A is (R, I) and starts Kaiming-uniform, B is (O, R) and starts at zero, so that an
adapted network starts as the network it was (Hu et al., 2022, section 4.1).
"""

import dataclasses
import math
from operator import attrgetter
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override


@dataclasses.dataclass(frozen=True)
class WeightSlice:
    """The matrix (O, I) that is changed: which weight of a layer, and what part of it.

    A weight is read as one row for each output, and `offset` to `stop` are the rows taken. `transposed` weights have
    one column for each output (embeddings, transformers' Conv1D). `rows` reads a kernel as loralib does, as that many
    rows. `expert` is the number of the matrix in a weight that has one for each expert.
    """

    weight: str
    offset: int
    stop: int
    transposed: bool = False
    rows: int | None = None
    expert: int | None = None

    def of(self, weight: Tensor) -> Tensor:
        """The matrix as a view: what is written into it is written into the weight."""
        weight = weight if self.expert is None else weight[self.expert]
        whole = weight.t() if self.transposed else weight.view(self.rows or weight.shape[0], -1)
        return whole[self.offset : self.stop]


def frozen_weight(layer: nn.Module, name: str) -> Tensor:
    """A weight of a layer by its name, which may have dots; of a layer of few bits a fresh tensor in floats."""
    weight: Tensor = attrgetter(name)(layer)
    return weight


class LowRankUpdate(nn.Module):
    """The change s·B·A of a frozen matrix W. Variants that make something else of A and B are subclasses.

    `scale` is s. `by_alpha` says that it was given as alpha/rank, which matters where the rank changes.
    """

    def __init__(
        self,
        weight: Tensor,
        where: WeightSlice,
        rank: int,
        scale: float,
        *,
        train_a: bool = True,
        by_alpha: bool = False,
    ) -> None:
        super().__init__()
        self.where, self.whole_scale, self.by_alpha = where, scale, by_alpha
        self.swapped = False  # an embedding's A is what starts at zero
        # What is trained has at least float32, whatever the frozen weight has: small steps would be lost in less.
        matrix = where.of(weight.detach()).to(torch.promote_types(weight.dtype, torch.float32))
        outputs, inputs = matrix.shape
        self.lora_A = nn.Parameter(matrix.new_empty(rank, inputs), requires_grad=train_a)
        self.lora_B = nn.Parameter(matrix.new_zeros(outputs, rank))
        self.reset(matrix)
        # What was taken out of W at the start, if the variant does so. The base as it is saved does not have them.
        self.start_A: Tensor | None
        self.start_B: Tensor | None
        self.register_buffer("start_A", None, persistent=False)
        self.register_buffer("start_B", None, persistent=False)

    def reset(self, matrix: Tensor) -> None:
        """Draw the start of the trained tensors; `matrix` (O, I) is W."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def swap_start(self) -> None:
        """Start A at zero and B at random, as embeddings do: elsewhere a word that never came would learn nothing."""
        self.swapped = True
        nn.init.zeros_(self.lora_A)
        nn.init.normal_(self.lora_B)

    @property
    def rank(self) -> int:
        """R."""
        return self.lora_A.shape[0]

    @property
    def scale(self) -> float:
        """The scale s that applies now."""
        return self.whole_scale

    @property
    def zero_factor(self) -> nn.Parameter:
        """The one of A and B that starts at zero."""
        return self.lora_A if self.swapped else self.lora_B

    def factors(self) -> tuple[Tensor, Tensor]:
        """A and B as they apply now: (R, I) and (O, R)."""
        return self.lora_A, self.lora_B

    def factor_pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The factors of every change that the update stands for, by the ending of its name: one, without an ending."""
        return {"": self.factors()}

    def foldable_factors(self) -> tuple[Tensor, Tensor]:
        """A and B (detached) of the change to the *original* base: what was taken out of W at the start is added."""
        down, up = (tensor.detach() for tensor in self.factors())
        if self.start_A is not None and self.start_B is not None:
            down, up = torch.cat([down, self.start_A]), torch.cat([up, -self.start_B], 1)
        return down, up

    @final
    def delta(self) -> Tensor:
        """s·BA, shaped like the matrix: (O, I)."""
        down, up = self.factors()
        return self.scale * (up @ down)

    def output_scaling(self, matrix: Tensor) -> Tensor | None:
        """Return the factor of each output of W + s·BA (O), or None if the variant has none."""
        return None

    @property
    def scales_outputs(self) -> bool:
        """True if outputs are multiplied by `output_scaling`."""
        return type(self).output_scaling is not LowRankUpdate.output_scaling

    @final
    def merged_weight(self, matrix: Tensor) -> Tensor:
        """The matrix that the update makes of W: W + s·BA, each output scaled where the variant does so."""
        whole = matrix + self.delta()
        scaling = self.output_scaling(matrix)
        return whole if scaling is None else scaling[:, None] * whole

    def start_from(self, matrix: Tensor, down: Tensor, up: Tensor) -> None:
        """Start from this A and B; W, the `matrix` (O, I), stays as it is."""
        with torch.no_grad():
            self.lora_A.copy_(down)
            self.lora_B.copy_(up)

    def split_off(self, matrix: Tensor, down: Tensor, up: Tensor) -> None:
        """Start from this A and B, and subtract s·BA from W in place, so that the sum is as before."""
        LowRankUpdate.start_from(self, matrix, down, up)
        with torch.no_grad():
            matrix -= self.scale * (self.lora_B @ self.lora_A)
        self.start_A, self.start_B = self.lora_A.detach().clone(), self.lora_B.detach().clone()


class ScaledUpdate(LowRankUpdate):
    """The change of W to c·(W + s·B·A) with fixed factors c (O): what is read back of outputs that a variant scaled."""

    @override
    def reset(self, matrix: Tensor) -> None:
        super().reset(matrix)
        self.lora_c = nn.Parameter(matrix.new_ones(len(matrix)), requires_grad=False)

    @override
    def output_scaling(self, matrix: Tensor) -> Tensor:
        return self.lora_c
