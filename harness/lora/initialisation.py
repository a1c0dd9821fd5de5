"""The start of an adapted network, for the variants that look at the weights, the inputs or the gradients first."""

from torch import nn

from harness.lora.adapted import named_updates
from harness.lora.spec import LoraSpec
from harness.lora.variants import Feed


def initialise(base: nn.Module, spec: LoraSpec, feed: Feed) -> dict[str, int]:
    """Give every update of an adapted network the start of its variant; the network's output stays as it was
    (LoftQ's moves towards that of the weights before they were quantised).

    Returns {target: rank} where ranks have moved between layers, else nothing. Raises InitialisationError where the
    data do not carry the start.
    """
    before = {name: update.rank for name, update in named_updates(base)}
    if (start := spec.method.initialise) is not None:
        start(base, spec.own, feed)
    after = {name: update.rank for name, update in named_updates(base)}
    return after if after != before else {}
