"""AdaLoRA: s·B·diag(E)·A, its triplets ranked by importance and masked down to a budget (Zhang et al., 2023)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from harness.lora.adapted import named_updates, updates_of
from harness.lora.update import LowRankUpdate
from harness.lora.variants.base import RankSchedule, Setting, Settings, Variant


class AdaLoraUpdate(LowRankUpdate):
    """The change s·B·diag(E)·A (Zhang et al., 2023, equation 3); E (R) starts at zero."""

    @override
    def reset(self, matrix: Tensor) -> None:
        nn.init.normal_(self.lora_A, std=0.02)
        nn.init.normal_(self.lora_B, std=0.02)
        self.lora_E = nn.Parameter(matrix.new_zeros(self.rank))

    def swap_start(self) -> None:
        """E is what starts at zero, here as elsewhere."""

    def factors(self) -> tuple[Tensor, Tensor]:
        """A with E folded in, and B: (R, I) and (O, R)."""
        return self.lora_A * self.lora_E[:, None], self.lora_B

    def foldable_factors(self) -> tuple[Tensor, Tensor]:
        """The factors without the masked triplets."""
        down, up = super().foldable_factors()
        kept = self.lora_E.detach() != 0
        return down[kept], up[:, kept]


def first_rank(rank: int, final: int, settings: Settings) -> int:
    """The rank of a layer at the start: `final` times the share by which the whole budget shrinks.

    `initial_rank` is the rank at which a layer of the common `rank` starts; by default 1.5 times it, as in the paper.
    """
    return math.ceil(final * (settings["initial_rank"] or math.ceil(1.5 * rank)) / rank)


ORTHOGONALITY = 0.5
"""Weight of the orthogonality penalty beside the loss, γ in the AdaLoRA paper; PEFT's default."""

_BETA = 0.85  # of both moving averages; PEFT's default
_WARM, _FINAL = 0.1, 0.3  # shares of all steps: before the budget shrinks, and after it has
_PRUNINGS = 50  # about this many times the budget is enforced on the way


def orthogonality(network: nn.Module) -> Tensor:
    """The mean of ‖AAᵀ − I‖ and ‖BᵀB − I‖ over all updates.

    Zhang et al., 2023, equation 4, whose norms are squared; as in PEFT they are not.
    """
    terms = []
    for update in updates_of(network):
        eye = torch.eye(update.rank, device=update.lora_A.device, dtype=update.lora_A.dtype)
        terms += [(update.lora_A @ update.lora_A.t() - eye).norm(), (update.lora_B.t() @ update.lora_B - eye).norm()]
    return torch.stack(terms).mean()


def penalty(network: nn.Module) -> Tensor:
    """Return the term that is added to the loss: γ times the orthogonality."""
    return ORTHOGONALITY * orthogonality(network)


class AdaLoraSchedule(RankSchedule):
    """AdaLoRA's allocation: triplets are ranked by smoothed sensitivity × uncertainty, the least are set to zero.

    The sum of ranks falls from what the network has to `final` on a cubic schedule (Zhang et al., 2023, equation 12).
    A triplet that is set to zero may come back while the budget is still falling.
    """

    def __init__(self, network: nn.Module, final: int, steps: int) -> None:
        self.updates = adalora_updates(network)
        self.first, self.final = sum(update.rank for update in self.updates), final
        self.warm, self.settled = round(_WARM * steps), steps - round(_FINAL * steps)
        self.every = max(1, (self.settled - self.warm) // _PRUNINGS)
        self.sensitivity: dict[int, Tensor] = {}
        self.uncertainty: dict[int, Tensor] = {}
        self.kept: list[Tensor] = []

    @override
    def after_step(self, step: int) -> None:
        if step <= self.settled:
            self._look()
        falling = self.warm < step <= self.settled and (step - self.warm) % self.every == 0
        if falling or step == self.settled or (step > self.settled and not self.kept):
            self.kept = self._choose(self.budget(step))
        if step >= self.settled or falling:
            self._mask()

    @override
    def state(self) -> dict[str, Any]:
        """Both moving averages and the last choice, in the order of the tensors."""
        return {
            "sensitivity": [self.sensitivity[key] for key in self._keys() if key in self.sensitivity],
            "uncertainty": [self.uncertainty[key] for key in self._keys() if key in self.uncertainty],
            "kept": self.kept,
        }

    @override
    def load(self, state: dict[str, Any]) -> None:
        device = self.updates[0].lora_A.device
        sensitivity, uncertainty, self.kept = (
            [tensor.to(device) for tensor in state[name]] for name in ("sensitivity", "uncertainty", "kept")
        )
        self.sensitivity = dict(zip(self._keys(), sensitivity, strict=False))  # empty before the first step
        self.uncertainty = dict(zip(self._keys(), uncertainty, strict=False))

    def _keys(self) -> list[int]:
        return [id(tensor) for update in self.updates for tensor in (update.lora_A, update.lora_B, update.lora_E)]

    def budget(self, step: int) -> int:
        """Return how many triplets may stay after a step."""
        if step <= self.warm:
            return self.first
        if step >= self.settled:
            return self.final
        left = 1 - (step - self.warm) / (self.settled - self.warm)
        return int(self.final + (self.first - self.final) * left**3)

    def _look(self) -> None:
        for update in self.updates:
            for tensor in (update.lora_A, update.lora_B, update.lora_E):
                if tensor.grad is None:
                    continue
                now = (tensor.detach() * tensor.grad).abs()
                mean = self.sensitivity.get(id(tensor), torch.zeros_like(now))
                spread = self.uncertainty.get(id(tensor), torch.zeros_like(now))
                # Mixed precision skips a step that is not finite. The answer stays on the GPU, which is not waited for.
                made = torch.isfinite(tensor.grad).all()
                moved = _BETA * mean + (1 - _BETA) * now
                self.sensitivity[id(tensor)] = torch.where(made, moved, mean)
                self.uncertainty[id(tensor)] = torch.where(
                    made, _BETA * spread + (1 - _BETA) * (now - moved).abs(), spread
                )

    def scores(self) -> list[Tensor]:
        """The importance of each triplet, by update: of E's entry, plus the means over A's row and B's column.

        Zhang et al., 2023, equations 7, 9 and 11.
        """
        return [
            self._score(update.lora_E) + self._score(update.lora_A).mean(1) + self._score(update.lora_B).mean(0)
            for update in self.updates
        ]

    def _score(self, tensor: nn.Parameter) -> Tensor:
        return self.sensitivity[id(tensor)] * self.uncertainty[id(tensor)]

    def _choose(self, budget: int) -> list[Tensor]:
        scores = self.scores()
        order = torch.cat(scores).argsort(descending=True, stable=True)
        chosen = torch.zeros(len(order), dtype=torch.bool, device=order.device)
        chosen[order[:budget]] = True
        return list(chosen.split([len(score) for score in scores]))

    @torch.no_grad()
    def _mask(self) -> None:
        for update, kept in zip(self.updates, self.kept, strict=True):
            update.lora_E.masked_fill_(~kept, 0.0)


def final_budget(network: nn.Module, final_rank_at: Callable[[str], int]) -> int:
    """Return how many triplets AdaLoRA leaves in the whole network."""
    return sum(final_rank_at(name) for name, _ in named_updates(network))


def schedule(network: nn.Module, final_rank_at: Callable[[str], int], steps: int, _: int) -> AdaLoraSchedule:
    """The budget from what the network has to the sum of its final ranks."""
    return AdaLoraSchedule(network, final_budget(network, final_rank_at), steps)


def adalora_updates(network: nn.Module) -> list[AdaLoraUpdate]:
    """Every update of AdaLoRA's form, in the network's order."""
    return [update for update in updates_of(network) if isinstance(update, AdaLoraUpdate)]


def kept_ranks(network: nn.Module) -> dict[str, int]:
    """{target: how many triplets AdaLoRA left}: an allocation that `lora.ranks` takes."""
    return {
        name: int(update.lora_E.count_nonzero())
        for name, update in named_updates(network)
        if isinstance(update, AdaLoraUpdate)
    }


VARIANT = Variant(
    "AdaLoRA",
    "Zhang et al., 2023",
    form=AdaLoraUpdate,
    settings={"initial_rank": Setting(int, None, "at least rank", lambda value, rank: value >= rank)},
    first_rank=first_rank,
    penalty=penalty,
    schedule=schedule,
    whole_weights=True,
    note=lambda _: "AdaLoRA's ranks at its start; in training they are masked, which frees no memory",
)
