"""Ranks that are decided in training: AdaLoRA's budget, DyLoRA's prefixes; and the rank that a change really has."""

import math

import torch
from torch import Tensor, nn

from harness.lora.inject import named_updates, updates_of
from harness.lora.spec import LoraSpec
from harness.lora.update import LowRankUpdate

ORTHOGONALITY = 0.5
"""Weight of the orthogonality penalty beside the loss, γ in the AdaLoRA paper; PEFT's default."""

_BETA = 0.85  # of both moving averages; PEFT's default
_WARM, _FINAL = 0.1, 0.3  # shares of all steps: before the budget shrinks, and after it has
_PRUNINGS = 50  # about this many times the budget is enforced on the way


def orthogonality(network: nn.Module) -> Tensor:
    """The mean of ‖AAᵀ − I‖ and ‖BᵀB − I‖ over all pairs.

    Zhang et al., 2023, equation 4, whose norms are squared; as in PEFT they are not.
    """
    terms = []
    for pair in updates_of(network):
        eye = torch.eye(pair.rank, device=pair.lora_A.device, dtype=pair.lora_A.dtype)
        terms += [(pair.lora_A @ pair.lora_A.t() - eye).norm(), (pair.lora_B.t() @ pair.lora_B - eye).norm()]
    return torch.stack(terms).mean()


class Budget:
    """AdaLoRA's allocation: triplets are ranked by smoothed sensitivity × uncertainty, the least are set to zero.

    The sum of ranks falls from what the network has to `final` on a cubic schedule (Zhang et al., 2023, equation 12).
    A triplet that is set to zero may come back while the budget is still falling.
    """

    def __init__(self, network: nn.Module, final: int, steps: int) -> None:
        self.pairs = list(updates_of(network))
        self.first, self.final = sum(pair.rank for pair in self.pairs), final
        self.warm, self.last = round(_WARM * steps), steps - round(_FINAL * steps)
        self.every = max(1, (self.last - self.warm) // _PRUNINGS)
        self.sensitivity: dict[int, Tensor] = {}
        self.uncertainty: dict[int, Tensor] = {}
        self.kept: list[Tensor] = []

    def after_step(self, step: int) -> None:
        """Called after optimiser step number `step`, counted from 1, while the gradients are still there."""
        if step <= self.last:
            self._look()
        falling = self.warm < step <= self.last and (step - self.warm) % self.every == 0
        if falling or step == self.last or (step > self.last and not self.kept):
            self.kept = self._choose(self.budget(step))
        if step >= self.last or falling:
            self._mask()

    def state(self) -> dict[str, list[Tensor]]:
        """Both moving averages and the last choice, in the order of the tensors."""
        return {
            "sensitivity": [self.sensitivity[key] for key in self._keys() if key in self.sensitivity],
            "uncertainty": [self.uncertainty[key] for key in self._keys() if key in self.uncertainty],
            "kept": self.kept,
        }

    def load(self, state: dict[str, list[Tensor]]) -> None:
        """Take up what `state` gave, on the device of the pairs."""
        device = self.pairs[0].lora_A.device
        sensitivity, uncertainty, self.kept = (
            [tensor.to(device) for tensor in state[name]] for name in ("sensitivity", "uncertainty", "kept")
        )
        self.sensitivity = dict(zip(self._keys(), sensitivity, strict=False))  # empty before the first step
        self.uncertainty = dict(zip(self._keys(), uncertainty, strict=False))

    def _keys(self) -> list[int]:
        return [id(tensor) for pair in self.pairs for tensor in (pair.lora_A, pair.lora_B, pair.lora_E)]

    def budget(self, step: int) -> int:
        """How many triplets may stay after a step."""
        if step <= self.warm:
            return self.first
        if step >= self.last:
            return self.final
        left = 1 - (step - self.warm) / (self.last - self.warm)
        return int(self.final + (self.first - self.final) * left**3)

    def _look(self) -> None:
        for pair in self.pairs:
            for tensor in (pair.lora_A, pair.lora_B, pair.lora_E):
                if tensor.grad is None or not torch.isfinite(tensor.grad).all():
                    continue  # a step that mixed precision skips
                now = (tensor.detach() * tensor.grad).abs()
                mean = self.sensitivity.get(id(tensor), torch.zeros_like(now))
                spread = self.uncertainty.get(id(tensor), torch.zeros_like(now))
                mean = _BETA * mean + (1 - _BETA) * now
                self.sensitivity[id(tensor)] = mean
                self.uncertainty[id(tensor)] = _BETA * spread + (1 - _BETA) * (now - mean).abs()

    def scores(self) -> list[Tensor]:
        """The importance of each triplet, by pair: of E's entry, plus the means over A's row and B's column.

        Zhang et al., 2023, equations 7, 9 and 11.
        """
        return [
            self._score(pair.lora_E) + self._score(pair.lora_A).mean(1) + self._score(pair.lora_B).mean(0)
            for pair in self.pairs
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
        for pair, kept in zip(self.pairs, self.kept, strict=True):
            pair.lora_E.masked_fill_(~kept, 0.0)


def final_budget(network: nn.Module, spec: LoraSpec) -> int:
    """How many triplets AdaLoRA leaves in the whole network."""
    return sum(spec.final_rank_at(name) for name, _ in named_updates(network))


def kept_ranks(network: nn.Module) -> dict[str, int]:
    """{site: how many triplets AdaLoRA left}: an allocation that `lora.ranks` takes."""
    return {name: int(pair.lora_E.count_nonzero()) for name, pair in named_updates(network) if pair.form == "adalora"}


def effective_ranks(network: nn.Module) -> dict[str, float]:
    """{site: effective rank of s·BA}, e to the entropy of its singular values' shares (Roy and Vetterli, 2007).

    0 where nothing was learned; of a mixture one for each task.
    """
    return {
        name + ending: effective_rank(pair, *factors)
        for name, pair in named_updates(network)
        for ending, factors in pair.changes().items()
    }


@torch.no_grad()
def effective_rank(pair: LowRankUpdate, down: Tensor, up: Tensor) -> float:
    """The effective rank of what a pair has learned: BA, less the B and A it started from where W gave them away."""
    down, up = down.double(), up.double()
    if pair.start_A is not None and pair.start_B is not None:
        down, up = torch.cat([down, pair.start_A.double()]), torch.cat([up, -pair.start_B.double()], 1)
    values = torch.linalg.svdvals(torch.linalg.qr(up).R @ torch.linalg.qr(down.t()).R.t())
    values = values[values > 1e-12 * max(float(values.max()), 1e-300)] if len(values) else values
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return math.exp(float(-(shares * shares.log()).sum()))


def set_active(network: nn.Module, rank: int) -> None:
    """DyLoRA: let only the first `rank` ranks of every pair count (all of those that have fewer)."""
    for pair in updates_of(network):
        if pair.form == "dylora":
            pair.active = min(rank, pair.rank)


def highest_rank(network: nn.Module) -> int:
    """The highest rank among the pairs."""
    return max(pair.rank for pair in updates_of(network))
