"""The layers of a base as lora.targets sees them: module, shape, roles, and the rank that each would be adapted at."""

import dataclasses
import re
from collections.abc import Iterable, Iterator

from torch import nn

from harness.config import Config
from harness.lora import LoraSpec, SpecError
from harness.lora.inject import ALL_LINEAR, find_targets
from harness.model import build_model
from harness.trial.adapt import outputs_of, prepare

_NUMBER = re.compile(r"(?<=[._])\d+(?=\.|$)|^\d+(?=\.)")


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """Layers that are alike but for the numbers in their names, or the first of some that differ in rank from others.

    `ranks` is by part, the whole layer being "", and empty where none is adapted.
    """

    module: str
    kind: str
    shape: tuple[int, ...]
    roles: tuple[str, ...]
    ranks: tuple[tuple[str, int], ...]
    layers: int


def layer_rows(config: Config) -> list[LayerRow]:
    """Every layer that has a low-rank form or a role, in the network's order, from shapes alone."""
    network = build_model(config.model, outputs_of(config), weights=False)
    modules = dict(network.base.named_modules())
    roles = _roles(network.base, network.targets)
    layers = {name: _facts(module) for name, module in modules.items() if name in roles or _is_layer(module)}
    ranks, _ = prepare(network, config)
    own: dict[str, dict[str, int]] = {}
    for target, rank in ranks.items():
        module, _, part = (target, "", "") if target in modules else target.rpartition(".")
        own.setdefault(module, {})[part] = rank
    rows: dict[LayerRow, list[str]] = {}
    for name, (kind, shape) in layers.items():
        alike = _NUMBER.sub("*", name)
        row = LayerRow(alike, kind, shape, roles.get(name, ()), tuple(own.get(name, {}).items()), 1)
        rows.setdefault(row, []).append(name)
    shapes = [row.module for row in rows]
    return [
        dataclasses.replace(row, module=row.module if shapes.count(row.module) == 1 else names[0], layers=len(names))
        for row, names in rows.items()
    ]


def as_text(rows: Iterable[LayerRow]) -> str:
    """The rows as a table of columns for a terminal."""
    cells = [("module", "kind", "shape", "role", "rank", "layers")]
    cells += [
        (row.module, row.kind, "×".join(map(str, row.shape)), ", ".join(row.roles) or "–", _rank(row), str(row.layers))
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _rank(row: LayerRow) -> str:
    return ", ".join(f"{part} {rank}".strip() for part, rank in row.ranks) or "–"


def _roles(base: nn.Module, names: dict[str, str]) -> dict[str, tuple[str, ...]]:
    spec, found = LoraSpec(rank=1, scale=1.0, targets=()), dict[str, tuple[str, ...]]()
    for name in names:
        if name != ALL_LINEAR:
            for module in _modules(base, name, names, spec):
                found[module] = (*found.get(module, ()), name)
    return found


def _modules(base: nn.Module, name: str, names: dict[str, str], spec: LoraSpec) -> Iterator[str]:
    try:
        targets = find_targets(base, [name], names, spec)
    except SpecError:  # a role without a low-rank form in this network
        return
    modules = dict(base.named_modules())
    yield from dict.fromkeys(each.name if each.name in modules else each.module for each in targets)


def _is_layer(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _facts(module: nn.Module) -> tuple[str, tuple[int, ...]]:
    first = module.weight if isinstance(module, nn.Linear) else next(module.parameters(recurse=False), None)
    return type(module).__name__, () if first is None else tuple(first.shape)
