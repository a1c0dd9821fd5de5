"""The change of a weight matrix in training: the spectrum of ΔW, and its relation to W and to other changes.

Shapes: W and ΔW are (O, I), O outputs and I inputs.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

INTRUDER_COSINE = 0.6
INTRUDERS_OF = 10
_NOISE = 1e-5  # of the largest singular value: what differences of float32 weights leave
_DIRECTIONS = 8


@dataclass(frozen=True)
class WeightChange:
    """ΔW in figures.

    `norm` is ‖ΔW‖ (Frobenius), `relative` ‖ΔW‖/‖W‖, `stable_rank` ‖ΔW‖²/σ₁² (Rudelson and Vershynin, 2007),
    `effective_rank` e to the entropy of the singular values' shares (Roy and Vetterli, 2007). `amplification` is
    ‖ΔW‖/‖UᵀWV‖ over the leading directions U, V of ΔW, as many as its effective rank: how many times over W's own part
    in these directions it is (Hu et al., 2022, section 7.3). `intruders` counts, of the first ten left singular vectors
    of W + ΔW, those whose cosine with each one of W's is below 0.6 (Shuttleworth et al., 2024, algorithm 1).
    `outputs` (O, k) and `inputs` (I, k) are ΔW's leading directions.
    """

    norm: float
    relative: float
    stable_rank: float
    effective_rank: float
    amplification: float
    intruders: int
    singular_values: tuple[float, ...]
    outputs: Tensor
    inputs: Tensor


@torch.no_grad()
def weight_change(before: Tensor, after: Tensor) -> WeightChange | None:
    """Compare W (`before`, (O, I)) with W + ΔW (`after`). Return None if nothing was changed."""
    before, after = before.double(), after.double()
    change = after - before
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    values = values[values > _NOISE * values.max()]
    if not len(values):
        return None
    shares = values / values.sum()
    effective = math.exp(float(-(shares * shares.log()).sum()))
    leading = min(len(values), math.ceil(effective - 1e-9))
    part = left[:, :leading].t() @ before @ right[:leading].t()
    norm = float(values.norm())
    return WeightChange(
        norm=norm,
        relative=norm / float(before.norm()),
        stable_rank=float((values / values[0]).square().sum()),
        effective_rank=effective,
        amplification=norm / float(part.norm()),
        intruders=intruders(before, after),
        singular_values=tuple(values.tolist()),
        outputs=left[:, : min(_DIRECTIONS, len(values))],
        inputs=right[: min(_DIRECTIONS, len(values))].t(),
    )


@torch.no_grad()
def intruders(before: Tensor, after: Tensor, first: int = INTRUDERS_OF, cosine: float = INTRUDER_COSINE) -> int:
    """Count the first left singular vectors of `after` (O, I) that resemble none of `before`."""
    old = torch.linalg.svd(before.double(), full_matrices=False).U
    new = torch.linalg.svd(after.double(), full_matrices=False).U[:, :first]
    return int(((old.t() @ new).abs().amax(0) < cosine).sum())


def subspace_similarity(one: Tensor, other: Tensor, directions: int) -> float:
    """φ of two sets of orthonormal columns, of the first so many: 1 for one subspace, 0 for orthogonal ones.

    The mean squared cosine of the principal angles (Hu et al., 2022, section 7.2); of random subspaces of n dimensions
    it is `directions`/n.
    """
    return float((one[:, :directions].t() @ other[:, :directions]).square().sum()) / directions
