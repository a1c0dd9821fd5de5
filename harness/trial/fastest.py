"""Settles trainer.precision=fastest: which precision and attention a trial, or all trials of a study, compute in."""

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from harness.config import Config, read_stored, to_dict
from harness.config.processes import trains_remotely
from harness.config.tree import leaves
from harness.devices import resolve_device, resolve_half
from harness.system import assets
from harness.system.jsonl import replace_text
from harness.system.study_files import CONFIG
from harness.trial.provenance import environment

_OF_THE_CODE = ("origin", "revision", "dirty", "code")

log = logging.getLogger(__name__)


def settled(config: Config) -> Config:
    """The configuration with the fastest precision and attention in place; as it is where another is asked for.

    A study, or a trial, that was begun keeps what it was begun with; else what was measured on this machine before
    counts, or a few steps are measured now. `trainer.settled` says what was found. Where several devices train, or
    others than this machine's, nothing is measured: it is auto.
    """
    if config.trainer.precision != "fastest":
        return config
    if unmeasured := _unmeasured(config):
        log.info("trainer.precision=fastest: auto: %s", unmeasured)
        return replace(config, trainer=replace(config.trainer, precision="auto"))
    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    key = _key(config, device)
    found = _begun(Path(config.results) / config.study, key) or _on_this_machine(config, device, key)
    log.info("trainer.precision=fastest: %s", found["why"])
    model = config.model
    if model.attends == "auto" and found["attention"] == "eager":
        model = replace(cast(Any, model), attention="eager")
    made = _fused(config) if found["precision"] == "bf16-mixed" else config
    return replace(made, trainer=replace(config.trainer, precision=found["precision"], settled=found), model=model)


def _unmeasured(config: Config) -> str:
    """Return why no steps like those of the trials can be measured here; empty if they can."""
    if trains_remotely(config):
        return f"steps are measured here, and launch={config.launch.name} trains elsewhere"
    devices = config.trainer.devices
    return f"steps are measured on one device, and there are {devices}" if devices > 1 else ""


def _fused(config: Config) -> Config:
    """With the fused AdamW under clipping, too, which float32 has anyway; with any other optimiser as it is."""
    searched = leaves(to_dict(config.sweep)) if config.sweep is not None else {}
    own = any(f"optimizer.{name}" in key for key in searched for name in ("name", "arguments"))
    if own or config.optimizer.name != "AdamW" or config.optimizer.arguments is not None:
        return config
    return replace(config, optimizer=replace(config.optimizer, arguments={"fused": True}))


def _key(config: Config, device: torch.device) -> str:
    """Return the key of a choice: the same data, base, adaptation and batch; learning rates and seeds do not matter."""
    asked = {
        "task": config.task.hashed(),
        "model": config.model.hashed() | {"attention": config.model.attends},
        "lora": config.lora.identity(),
        "batch_size": config.trainer.batch_size,
        "device": device.type,
    } | ({"pack_sequences": True} if config.trainer.pack_sequences else {})
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _begun(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the choice that a study or a trial in a folder was begun with; None if none has the same key."""
    for path in (folder / CONFIG, *sorted(folder.glob(f"trials/*/{CONFIG}"))):
        try:
            found = read_stored(path)["trainer"]["settled"]
        except (OSError, KeyError, TypeError, yaml.YAMLError):
            continue
        if found and found.get("of") == key:
            return dict(found)
    return None


def _on_this_machine(config: Config, device: torch.device, key: str) -> dict[str, Any]:
    """Return this machine's cached choice, or measure it now; processes that begin at once find the same."""
    here = {name: value for name, value in environment(device, 1).items() if name not in _OF_THE_CODE}
    digest = hashlib.sha256(json.dumps([key, here], sort_keys=True, default=str).encode()).hexdigest()[:16]
    place = assets.cache_folder() / "precision" / f"{digest}.json"
    with _alone(place):
        if place.is_file():
            known: dict[str, Any] = json.loads(place.read_text())
            return known
        from harness.trial.step_timing import fastest_steps  # it brings the trainer

        found = {"of": key} | fastest_steps(_fused(config) if resolve_half(device) == "bf16-mixed" else config, device)
        replace_text(place, json.dumps(found))
    return found


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_suffix(".lock"), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
