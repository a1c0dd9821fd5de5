"""Finished trials on one base as one network: a mixed batch in, for each row its own trial's logits out.

Shapes: B rows, H features, C classes of the trial that has the most.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.config import Config, ConfigError, check, read_stored, to_dict
from harness.lora import SpecError, TaskRouter, import_adapter, pack, task_adapters
from harness.model import Network, build_model
from harness.system.study_files import ADAPTER, CONFIG, HEAD
from harness.trial.inputs import base_identity

_ADAPTER_CONFIG = "adapter_config.json"


class MultiAdapterModel(nn.Module):
    """A network beside which the adapters of several trials lie, and a head for each; `names` are theirs."""

    def __init__(
        self, network: Network, heads: Sequence[nn.Module], route: TaskRouter, widest: int, names: Sequence[str]
    ) -> None:
        super().__init__()
        self.network, self.route, self.names = network, route, tuple(names)
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


@dataclasses.dataclass(frozen=True)
class _Member:
    """One adapter and its head: a trial's, or of a trial of several tasks one task's."""

    folder: Path
    config: Config
    adapter: Path
    task: str | None = None

    @property
    def name(self) -> str:
        return self.folder.name if self.task is None else f"{self.folder.name}/{self.task}"

    @functools.cached_property
    def head(self) -> dict[str, Tensor]:
        """The tensors of its head by their names in it. Raises ConfigError where no head of ours is stored."""
        tensors, heads = load_file(self.adapter / HEAD), self.config.task.head_names
        if heads:
            start = f"{self.task}."
            tensors = {name.removeprefix(start): one for name, one in tensors.items() if name.startswith(start)}
        of_tokens = self.config.task.tags_tokens or self.config.task.marks_answers
        if (self.config.model.described_by_files or of_tokens) and "weight" not in tensors:
            rule = "its head is the architecture's own; model.pooling=mean has one for many adapters"
            raise ConfigError(f"{self.folder}: {rule}")
        return tensors


def load_multi_adapter(folders: Sequence[Path]) -> MultiAdapterModel:
    """The trials of several folders, as results/STUDY/trials/0003, as one network in evaluation mode.

    A row's number is its trial's place in the order; a trial of several tasks, with an adapter or a head for each, has
    one for each of its tasks, in their order. `names` of the network has them by number. Raises ConfigError where a
    trial left no adapter that can lie beside others, or where their bases differ.
    """
    members = [member for folder in folders for member in _members(folder)]
    _check_bases(members)
    network, route = build_model(members[0].config.model, _outputs(members[0].head)), TaskRouter()
    try:
        if len(folders) == 1 and members[0].config.lora.stands_alone:
            route = _alone(network, members[0].adapter)
        else:
            pack(network.base, [each.adapter for each in members], route, [each.task for each in members])
    except SpecError as error:
        raise ConfigError(str(error)) from None
    heads = [_head(each.config, each.head) for each in members]
    widest = max(_outputs(each.head) for each in members)
    return MultiAdapterModel(network, heads, route, widest, [each.name for each in members]).eval()


def _alone(network: Network, adapter: Path) -> TaskRouter:
    """Put an adapter of several tasks into the network; returns its own route."""
    import_adapter(network.base, adapter)
    plan = task_adapters(network.base)
    assert plan is not None, "it is an adapter of several tasks"
    return plan.route


def _members(folder: Path) -> list[_Member]:
    config, kept = check(read_stored(folder / CONFIG)), folder / ADAPTER
    if config.task.rows_of_all_tasks:
        raise ConfigError(f"{folder}: each row has an answer of every task; run=predict gives them")
    if tagging := [name for name in config.task.head_names if config.task.parts[name].tags_tokens]:
        rule = "of several adapters a row has one answer; a trial of the others (task.only)"
        raise ConfigError(f"{folder}: {', '.join(tagging)} has a tag for each token, and {rule}")
    tasks = config.task.head_names or config.task.learned_in_turn
    if all((kept / task / _ADAPTER_CONFIG).exists() for task in tasks) and tasks:
        return [_Member(folder, config, kept / task, task) for task in tasks]
    if not (kept / _ADAPTER_CONFIG).exists():
        raise ConfigError(f"{folder}: no trial that left an adapter")
    heads = config.task.head_names
    return [_Member(folder, config, kept, task) for task in heads] if heads else [_Member(folder, config, kept)]


def _check_bases(members: Sequence[_Member]) -> None:
    first = _base(members[0].config)
    for member in members:
        mine = _base(member.config)
        for key, value in mine.items():
            if value != first[key]:
                other = members[0].folder
                raise ConfigError(f"{member.folder}: another base than {other}'s, {key} {value} and not {first[key]}")


def _base(config: Config) -> dict[str, Any]:
    """Return the settings that identify a base and its inputs: head and dropout are the trial's own."""
    tree = {key: value for key, value in to_dict(config.model).items() if key not in ("name", "head", "dropout")}
    return tree | {"weights": base_identity(config)["sha256"]}


def _head(config: Config, tensors: dict[str, Tensor]) -> nn.Module:
    head: nn.Module = build_model(config.model, _outputs(tensors), weights=False).head
    head.to_empty(device="cpu").load_state_dict(tensors)
    return head


def _outputs(head: dict[str, Tensor]) -> int:
    """The classes of a stored head: the rows of its last matrix."""
    return len(head["out.weight" if "out.weight" in head else "weight"])
