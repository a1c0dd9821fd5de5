"""LoRA-GA: A and B start from the singular vectors of the loss's first gradient (Wang et al., 2024)."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from harness.lora.adapted import adapted_layers, layer_updates, target_name
from harness.lora.errors import InitialisationError, SpecError
from harness.lora.layers import Adapted
from harness.lora.update import LowRankUpdate
from harness.lora.variants.base import Feed, PlannedUpdate, Settings, Variant

GAMMA = 16.0
"""LoRA-GA's γ: the start's size is the fourth root of O over √γ (Wang et al., 2024)."""


def initialise(base: nn.Module, settings: Settings, feed: Feed) -> None:
    """A and B are singular vectors 1…R and R+1…2R of the loss's first gradient.

    As in the paper; PEFT's form of it multiplies B by the singular values too. Raises InitialisationError for a layer
    that gets no gradient.
    """
    gradients = first_gradients(base, feed)
    for name, layer, update in _named(base):
        u, _, vh = torch.linalg.svd(gradients[name].float(), full_matrices=False)
        size = len(u) ** 0.25 / GAMMA**0.5
        rank = update.rank
        update.split_off(layer.matrix(update), size * vh[:rank], size * u[:, rank : 2 * rank])


def first_gradients(base: nn.Module, feed: Feed) -> dict[str, Tensor]:
    """{target: the gradient of the loss in its weight's matrix (O, I)}, of an adapted network that is as it was.

    Raises InitialisationError for a layer that gets none.
    """
    weights = {
        id(weight): weight
        for layer, update in layer_updates(base)
        for weight in [layer.base.get_parameter(update.where.weight)]
    }
    for weight in weights.values():
        weight.requires_grad_(True)
    feed(True)
    found: dict[str, Tensor] = {}
    for name, layer, update in _named(base):
        gradient = layer.base.get_parameter(update.where.weight).grad
        if gradient is None:
            raise InitialisationError("lora_ga: a targeted layer gets no gradient")
        found[name] = update.where.of(gradient)
    for weight in weights.values():
        weight.requires_grad_(False)
        weight.grad = None
    base.zero_grad()
    return found


def _named(base: nn.Module) -> Iterator[tuple[str, Adapted, LowRankUpdate]]:
    for module, layer in adapted_layers(base):
        for key, update in layer.low_rank():
            yield target_name(module, key), layer, update


def check(planned: PlannedUpdate) -> None:
    """Refuse a rank for which the gradient has too few singular vectors."""
    if 2 * planned.rank > planned.highest:
        raise SpecError(
            f"rank {planned.rank}: LoRA-GA needs 2·rank singular vectors, {planned.name} has {planned.highest}"
        )


VARIANT = Variant(
    "LoRA-GA",
    "Wang et al., 2024",
    initialise=initialise,
    whole_weights=True,
    looks_at_batches=True,
    checks=(check,),
)
