"""InfLoRA: a task's update reads directions that earlier tasks' inputs left free (Liang and Li, 2024).

A (R, I) is computed before a task is learned and fixed, B alone is trained. A layer's gradient lies in the span of its
inputs, so what A cannot read is not changed. H (I, N) are the layer's inputs at N positions of the task's rows, and
M (I, K) is an orthonormal basis of what was kept of earlier tasks' inputs:

    Ĥ = H − M Mᵀ H,  Ĥ Ĥᵀ = U diag(σ²) Uᵀ,  Aᵀ = the first R columns of U

When task t of T (from 0) has been learned, H is taken again, and M gets the fewest columns k of U for which

    ‖M Mᵀ H‖²_F + σ²_1 + … + σ²_k ≥ ε_t · ‖H‖²_F,  ε_t = ε + (1 − ε) · t/T

The paper's A is our B and the other way round. It keeps M or its complement, whichever is smaller (DualGPM): the
projection is the same. All of it follows from H Hᵀ (I, I), which is added up over batches in float64.
"""

from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from harness.lora.adapted import adapted_layers

Moments = Mapping[str, Tensor]
"""H Hᵀ (I, I) of each adapted layer, by its name."""


class InputMoments:
    """Adds up H Hᵀ of what each adapted layer of linear ones is fed inside the context.

    `mask` (B, L) is of the batch that comes next: positions with 0 are padding, which no gradient comes from.
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = dict(adapted_layers(network))
        self.mask: Tensor | None = None
        self.found: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> "InputMoments":
        self._hooks = [layer.register_forward_pre_hook(partial(self._add, name)) for name, layer in self.layers.items()]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def _add(self, name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        x: Tensor = inputs[0]
        masked = self.mask is not None and self.mask.shape == x.shape[:-1]
        rows_NI = (x[self.mask.bool()] if masked and self.mask is not None else x.flatten(0, -2)).double()
        moment = rows_NI.t() @ rows_NI
        self.found[name] = self.found[name] + moment if name in self.found else moment


@torch.no_grad()
def design_a(network: nn.Module, moments: Moments, memory: Mapping[str, Tensor]) -> None:
    """Give the A of every update whose B is trained the leading directions of its layer's inputs that M leaves free.

    Where fewer than R are left, the other rows of A are zero: any direction would disturb an earlier task.
    """
    for name, layer in adapted_layers(network):
        _, vectors_IK = _free_directions(moments[name], memory.get(name))
        for _, update in layer.low_rank():
            if update.lora_B.requires_grad:
                chosen = vectors_IK[:, : update.rank].t()
                update.lora_A.zero_()
                update.lora_A[: len(chosen)] = chosen.to(update.lora_A.dtype)


def with_inputs(memory: Mapping[str, Tensor], moments: Moments, share: float) -> dict[str, Tensor]:
    """M of every layer with what a task's inputs add to it: at least `share` of their squares is in its span then."""
    found = {}
    for name, moment in moments.items():
        squares_K, vectors_IK = _free_directions(moment, memory.get(name))
        whole = moment.trace()
        covered_K = whole - squares_K.sum() + torch.cat([squares_K.new_zeros(1), squares_K.cumsum(0)])
        count = int((covered_K < share * whole).sum())
        known = [memory[name]] if name in memory else []
        found[name] = torch.cat([*known, vectors_IK[:, :count]], 1)
    return found


def _free_directions(moment: Tensor, known_IK: Tensor | None) -> tuple[Tensor, Tensor]:
    """σ² (K) and U (I, K) of Ĥ, the greatest first, without those that are zero but for rounding."""
    residual = moment
    if known_IK is not None:
        residual = residual - known_IK @ (known_IK.t() @ residual)
        residual = residual - (residual @ known_IK) @ known_IK.t()
    squares, vectors = torch.linalg.eigh((residual + residual.t()) / 2)
    least = len(moment) * torch.finfo(moment.dtype).eps * moment.trace()
    kept = (squares > least).flip(0)
    return squares.flip(0)[kept], vectors.flip(1)[:, kept]
