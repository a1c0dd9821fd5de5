"""The changes of experts as PEFT writes them: LoRA on a parameter, `target_parameters` in its configuration.

Shapes: E experts, I inputs, O outputs, R rank. PEFT stacks the experts' A to (E·R, I) and interleaves their B to
(O, R·E). It wraps a module once for each of its parameters, the first one innermost.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.lora.errors import SpecError
from harness.lora.update import LowRankUpdate
from harness.lora.weight_space_layers import LoraExperts, expert_weights


def has_peft_form(layer: LoraExperts) -> bool:
    """Return whether all experts of a weight have one rank and one scale, and nothing beside A and B."""
    for weight, updates in _by_weight(layer).items():
        sizes = {(len(update.foldable_factors()[0]), update.scale) for update in updates}
        if len(sizes) > 1 or len(updates) < len(layer.base.get_parameter(weight)):
            return False
    return not any(update.scales_outputs for _, update in layer.low_rank())


def peft_factors(layer: LoraExperts) -> Iterator[tuple[str, str, Tensor, Tensor, float]]:
    """Yield for each weight its name, its wrapper's path in the module, A (E·R, I), B (O, R·E) and the scale."""
    by_weight = _by_weight(layer)
    for weight, place in wrappers(list(by_weight)):
        factors = [update.foldable_factors() for update in by_weight[weight]]
        up = torch.stack([up for _, up in factors], -1)
        yield weight, place, torch.cat([down for down, _ in factors]), up.flatten(1), by_weight[weight][0].scale


def experts_factors(down: Tensor, up: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """A (R, I) and B (O, R) of each of so many experts, from PEFT's."""
    if len(down) % count or up.shape[1] % count:
        raise SpecError(f"the adapter's {tuple(up.shape)} and {tuple(down.shape)} do not fit {count} experts")
    return list(zip(down.unflatten(0, (count, -1)), up.unflatten(1, (-1, count)).unbind(-1), strict=True))


def wrappers(weights: Sequence[str]) -> list[tuple[str, str]]:
    """Return the paths of PEFT's wrappers for each weight of a module: the last of them outermost."""
    return [(weight, ".base_layer" * (len(weights) - 1 - number)) for number, weight in enumerate(weights)]


def parameters_named(base: nn.Module, targets: Sequence[str]) -> Mapping[str, list[str]]:
    """The weights of experts that `target_parameters` name, in full or by their end, by module.

    Raises SpecError for a name of anything else.
    """
    found: dict[str, list[str]] = {}
    left = set(targets)
    for module, layer in base.named_modules():
        for weight in expert_weights(layer):
            named = {target for target in targets if f".{module}.{weight}".endswith(f".{target}")}
            left -= named
            if named:
                found.setdefault(module, []).append(weight)
    if left:
        raise SpecError(f"target_parameters: {', '.join(sorted(left))}: the network has no experts with such a weight")
    return found


def _by_weight(layer: LoraExperts) -> dict[str, list[LowRankUpdate]]:
    """The updates of each weight, both in the order of the layer."""
    found: dict[str, list[LowRankUpdate]] = {weight: [] for weight in expert_weights(layer.base)}
    for _, update in sorted(layer.low_rank(), key=lambda each: each[1].where.expert or 0):
        found[update.where.weight].append(update)
    return {weight: updates for weight, updates in found.items() if updates}
