"""The heads of transformers' own classifiers: their output layers, and the classes that a stored one is of."""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, WhisperForAudioClassification

from harness.config import ConfigError


def inner_name(whole: PreTrainedModel) -> str:
    """Return the name of the base within a transformers classifier; empty if none is apart from its head.

    The prefix of some, as of CLIP and SigLIP, is that of a larger network: they hold one of its parts.
    """
    if isinstance(whole, WhisperForAudioClassification):  # its prefix is that of the encoder with a decoder
        return "encoder"
    if whole.base_model is not whole:
        return whole.base_model_prefix
    parts = [name for name, part in whole.named_children() if isinstance(part, PreTrainedModel)]
    return parts[0] if len(parts) == 1 and type(whole).__name__.endswith("Classification") else ""


def output_layers(head: nn.Module, outputs: int) -> list[nn.Linear]:
    """The linear layers that give the `outputs` of a head: the last one of each of its parts that ends in so many.

    DeiT, taught by a teacher, has two.
    """
    found = []
    for part in head.children() if isinstance(head, nn.ModuleDict) else [head]:
        linear = [module for module in part.modules() if isinstance(module, nn.Linear)]
        if linear and linear[-1].out_features == outputs:
            found.append(linear[-1])
    return found


def names_of(made: PreTrainedConfig) -> list[str]:
    """The names of the classes that a config.json has, by number."""
    return [str(name) for _, name in sorted((made.id2label or {}).items())]


def order_of(classes: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the number in a stored head of each class of the task. Raises ConfigError if the names do not match."""
    if names == [f"LABEL_{number}" for number in range(len(names))]:
        return list(range(len(names)))
    numbers = {name.casefold(): number for number, name in enumerate(names)}
    if len(numbers) == len(classes) and numbers.keys() == {name.casefold() for name in classes}:
        return [numbers[name.casefold()] for name in classes]
    raise ConfigError(
        f"model.head=stored: its classes are {_listed(names)}, the task's are {_listed(classes)}; give the classes of "
        "the data these names, or id2label of config.json those of the data"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
