"""LoRA-GA: A and B start from the singular vectors of the loss's first gradient (Wang et al., 2024)."""

import torch
from torch import nn

from harness.lora.adapted import layer_updates
from harness.lora.errors import InitialisationError, SpecError
from harness.lora.variants.base import Feed, PlannedUpdate, Settings, Variant

GAMMA = 16.0
"""LoRA-GA's γ: the start's size is the fourth root of O over √γ (Wang et al., 2024)."""


def initialise(base: nn.Module, settings: Settings, feed: Feed) -> None:
    """A and B are singular vectors 1…R and R+1…2R of the loss's first gradient.

    As in the paper; PEFT's form of it multiplies B by the singular values too. Raises InitialisationError for a layer
    that gets no gradient.
    """
    weights = {
        id(weight): weight
        for layer, update in layer_updates(base)
        for weight in [layer.base.get_parameter(update.where.weight)]
    }
    for weight in weights.values():
        weight.requires_grad_(True)
    feed(True)
    for layer, update in layer_updates(base):
        gradient = layer.base.get_parameter(update.where.weight).grad
        if gradient is None:
            raise InitialisationError("lora_ga: a targeted layer gets no gradient")
        u, _, vh = torch.linalg.svd(update.where.of(gradient).float(), full_matrices=False)
        size = len(u) ** 0.25 / GAMMA**0.5
        rank = update.rank
        update.split_off(layer.matrix(update), size * vh[:rank], size * u[:, rank : 2 * rank])
    for weight in weights.values():
        weight.requires_grad_(False)
        weight.grad = None
    base.zero_grad()


def check(planned: PlannedUpdate) -> None:
    """Refuse a rank for which the gradient has too few singular vectors."""
    if 2 * planned.rank > planned.highest:
        raise SpecError(
            f"rank {planned.rank}: LoRA-GA needs 2·rank singular vectors, {planned.name} has {planned.highest}"
        )


VARIANT = Variant("LoRA-GA", "Wang et al., 2024", initialise=initialise, whole_weights=True, checks=(check,))
