"""Configurations in files of studies and trials, also those written when keys had other values."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from harness.config.lora import LoraConfig
from harness.config.models import MODELS
from harness.config.multitask import MtlLoraConfig
from harness.config.schema import OptimizerConfig, SweepConfig, TrackingConfig, TrainerConfig
from harness.config.tasks import FORMER_READERS, TASKS
from harness.config.tree import OF_COMMANDS, Tree
from harness.system.study_files import CONFIG

_RENAMED = {former: now for now, former in FORMER_READERS.items()}

_BEFORE: Mapping[str, Tree] = {
    "trainer": {"round_up": True, "cuda_graphs": False},
    "sweep": {"test": True, "confirm": None},
}
"""What was done before there was a key for it, where its default is another."""

_MODELS: Mapping[str, Tree] = {"hf": {"dtype": "float32"}}
"""Former defaults of a model's keys, by its kind."""

_KINDS: Mapping[str, type[Any]] = {
    "optimizer": OptimizerConfig,
    "trainer": TrainerConfig,
    "tracking": TrackingConfig,
    "sweep": SweepConfig,
}

_ADAPTERS: Mapping[str, type[Any]] = {"lora": LoraConfig, "mtl_lora": MtlLoraConfig}
"""The kinds of `lora` that have been given keys since."""


def read_stored(path: Path) -> Tree:
    """The tree of a `config.yaml`, as it would be written today."""
    tree: Tree = yaml.safe_load(path.read_text()) or {}
    if isinstance(task := tree.get("task"), dict):
        tree["task"] = _with_later_keys(_with_new_names(task))
    if isinstance(model := tree.get("model"), dict):
        before = _MODELS.get(str(model.get("kind")), {}) | model
        tree["model"] = before | _later(before, MODELS.get(str(model.get("kind"))))
    if isinstance(lora := tree.get("lora"), dict):
        forks = _with_forks(lora)
        tree["lora"] = forks | _later(forks, _ADAPTERS.get(str(forks.get("name"))))
    if isinstance(sweep := tree.get("sweep"), dict):
        tree["sweep"] = _with_kinds(sweep)
    for section, kind in _KINDS.items():
        if isinstance(found := tree.get(section), dict):
            before = _BEFORE.get(section, {}) | found
            tree[section] = before | _later(before, kind)
    for key in OF_COMMANDS:  # of other commands: they were passed over
        tree.pop(key, None)
    if tree.get("claims", "") is None:  # was a key of every configuration
        del tree["claims"]
    return tree


def stored_sweep(folder: Path) -> Tree:
    """The sweep that the study in a folder was begun with; empty where the folder holds no study."""
    path = folder / CONFIG
    return (read_stored(path).get("sweep") if path.exists() else None) or {}


def _with_kinds(sweep: Tree) -> Tree:
    """The ranges of a sweep from before some were of integers."""
    arms = (sweep.get("baselines") or {}).items()
    baselines = {
        name: arm | {"nuisance": _of_floats(arm["nuisance"]), "set": _setting_forks(arm["set"])} for name, arm in arms
    }
    return sweep | {"nuisance": _of_floats(sweep.get("nuisance") or {}), "baselines": baselines}


def _of_floats(space: Tree) -> Tree:
    return {key: {"integer": False} | bounds if "low" in bounds else bounds for key, bounds in space.items()}


def _with_new_names(task: dict[str, Any]) -> dict[str, Any]:
    reader = task.get("reader")
    if reader not in _RENAMED:
        return task
    name = _RENAMED[reader] if task.get("name") == reader else task.get("name")
    return task | {"reader": _RENAMED[reader], "name": name}


def _setting_forks(settings: Tree) -> Tree:
    lora = settings.get("lora")
    return settings | {"lora": _with_forks(lora)} if isinstance(lora, dict) else settings


def _with_forks(lora: Tree) -> Tree:
    """Rename what was called mtlora before the published method, and has the key `blocks`, to task_fork."""
    if isinstance(match := lora.get("match"), dict):
        lora = lora | {"match": _with_forks(match)}
    is_fork = lora.get("name") == "mtlora" and "blocks" in lora
    return lora | {"name": "task_fork"} if is_fork else lora


def _with_later_keys(task: dict[str, Any]) -> dict[str, Any]:
    """With the keys that its reader has been given since, at the values that change nothing."""
    later = _later(task, TASKS.get(str(task.get("reader"))))
    parts = task.get("tasks")
    inner = {name: _with_later_keys(part) for name, part in parts.items()} if isinstance(parts, dict) else None
    return task | later | ({"tasks": inner} if inner is not None else {})


def _later(tree: Tree, kind: type[Any] | None) -> Tree:
    """Return the keys of its configuration class that a tree lacks, at their defaults."""
    found: Tree = {}
    for field in dataclasses.fields(kind) if kind is not None else ():
        default, own = _default_of(field), tree.get(field.name)
        if isinstance(default, dict) and isinstance(own, dict):
            found[field.name] = default | own
        elif field.name not in tree and default is not dataclasses.MISSING:
            found[field.name] = default
    return found


def _default_of(field: "dataclasses.Field[Any]") -> Any:
    """The plain value of a field's default; MISSING where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return TypeAdapter(Any).dump_python(field.default) if field.default is not dataclasses.MISSING else field.default
