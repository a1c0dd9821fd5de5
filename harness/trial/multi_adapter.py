"""Finished trials on one base as one network: a mixed batch in, for each row its own trial's logits out.

Shapes: B rows, H features, C classes of the trial that has the most.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.config import Config, ConfigError, check, read_stored, to_dict
from harness.lora import SpecError, TaskRouter, pack
from harness.model import Network, build_model
from harness.system.study_files import ADAPTER, CONFIG, HEAD
from harness.trial.inputs import base_identity


class MultiAdapterModel(nn.Module):
    """A network beside which the adapters of several trials lie, and a head for each."""

    def __init__(self, network: Network, heads: Sequence[nn.Module], route: TaskRouter, widest: int) -> None:
        super().__init__()
        self.network, self.route = network, route
        network.head = RowHeads(heads, route, widest)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C) of a batch with `adapters` (B), the number of each row's trial; -inf past a trial's classes.

        Where a trial answers with a number it is the first, standardised as its labels were.
        """
        self.route.set(batch["adapters"])
        logits: Tensor = self.network(batch)
        return logits


class RowHeads(nn.Module):
    """The head of each row's own trial; `widest` is the number of outputs of the widest."""

    def __init__(self, heads: Sequence[nn.Module], route: TaskRouter, widest: int) -> None:
        super().__init__()
        self.heads, self.route, self.widest = nn.ModuleList(heads), route, widest

    def forward(self, x_BH: Tensor) -> Tensor:
        """Logits (B, C)."""
        rows = self.route.rows
        if isinstance(rows, int):
            rows = torch.full((len(x_BH),), rows, device=x_BH.device)
        parts: dict[int, Tensor] = {
            number: self.heads[number](x_BH[rows == number]) for number in rows.unique().tolist()
        }
        some = next(iter(parts.values()))
        logits = some.new_full((len(x_BH), self.widest), -torch.inf)
        for number, part in parts.items():
            logits[rows == number, : part.shape[1]] = part
        return logits


def load_multi_adapter(folders: Sequence[Path]) -> MultiAdapterModel:
    """The trials of several folders, as results/STUDY/trials/0003, as one network in evaluation mode.

    A row's number is its trial's place in the order. Raises ConfigError where a trial left no adapter that can lie
    beside others, or where their bases differ.
    """
    configs = [_config(folder) for folder in folders]
    _check_bases(folders, configs)
    stored = [_stored_head(folder, config) for folder, config in zip(folders, configs, strict=True)]
    network = build_model(configs[0].model, _outputs(stored[0]))
    route = TaskRouter()
    try:
        pack(network.base, [folder / ADAPTER for folder in folders], route)
    except SpecError as error:
        raise ConfigError(str(error)) from None
    heads = [_head(config, tensors) for config, tensors in zip(configs, stored, strict=True)]
    return MultiAdapterModel(network, heads, route, max(map(_outputs, stored))).eval()


def _config(folder: Path) -> Config:
    if not (folder / ADAPTER / "adapter_config.json").exists():
        raise ConfigError(f"{folder}: no trial that left an adapter")
    return check(read_stored(folder / CONFIG))


def _check_bases(folders: Sequence[Path], configs: Sequence[Config]) -> None:
    first = _base(configs[0])
    for folder, config in zip(folders, configs, strict=True):
        mine = _base(config)
        for key, value in mine.items():
            if value != first[key]:
                raise ConfigError(f"{folder}: another base than {folders[0]}'s, {key} {value} and not {first[key]}")


def _base(config: Config) -> dict[str, Any]:
    """What makes a base, and what is read from it, the same: head and dropout are the trial's own."""
    tree = {key: value for key, value in to_dict(config.model).items() if key not in ("name", "head", "dropout")}
    return tree | {"weights": base_identity(config)["sha256"]}


def _stored_head(folder: Path, config: Config) -> dict[str, Tensor]:
    tensors = load_file(folder / ADAPTER / HEAD)
    of_tokens = config.task.tags_tokens or config.task.marks_answers
    if (config.model.described_by_files or of_tokens) and "weight" not in tensors:
        raise ConfigError(f"{folder}: its head is the architecture's own; model.pooling=mean has one for many adapters")
    if not config.task.head_names:
        return tensors
    if len(config.task.head_names) > 1:
        raise ConfigError(f"{folder}: a trial of several tasks, with a head for each; trials of one are put together")
    (task,) = config.task.head_names
    return {name.removeprefix(f"{task}."): tensor for name, tensor in tensors.items()}


def _head(config: Config, tensors: dict[str, Tensor]) -> nn.Module:
    head: nn.Module = build_model(config.model, _outputs(tensors), weights=False).head
    head.to_empty(device="cpu").load_state_dict(tensors)
    return head


def _outputs(head: dict[str, Tensor]) -> int:
    """The classes of a stored head: the rows of its last matrix."""
    return len(head["out.weight" if "out.weight" in head else "weight"])
