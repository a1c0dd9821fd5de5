"""A finished trial's network again: its base, what was trained of it, and its head."""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file

from harness import record
from harness.config import Config, ConfigError
from harness.lora import SpecError, import_adapter
from harness.lora.adapter_config import read_config
from harness.lora.peft_methods import load_peft
from harness.model import Network, build_model
from harness.record import Record, best_on_validation, trial_path
from harness.system.study_files import ADAPTER, HEAD, WEIGHTS
from harness.trial.weights import BASE, trial_config


@dataclasses.dataclass(frozen=True)
class Trained:
    """A complete trial: its record, its configuration, the folder of its files, and the answers by number.

    `classes` is empty where the answer is a number, or a text.
    """

    entry: Record
    config: Config
    folder: Path
    classes: tuple[str, ...]


def find_trained(results: str, study: str, trial: int | str | None) -> Trained:
    """The complete trial of a number, or that of the best validation score. Raises ConfigError where there is none."""
    place = Path(results) / study
    entries = record.read(place)
    complete = {entry.trial: entry for entry in entries if entry.state == "complete"}
    if not complete:
        raise ConfigError(f"study={study}: no complete trial in {place}")
    chosen = best_on_validation(list(complete.values())) if trial in (None, "best") else complete.get(int(str(trial)))
    if chosen is None:
        valid = ", ".join(map(str, sorted(complete)))
        raise ConfigError(f"trial={trial}: study={study} has no complete trial of it; valid: {valid}")
    folder = place / trial_path(chosen.trial)
    config = trial_config(folder)
    if config.task.parts:
        raise ConfigError(
            f"trial={chosen.trial}: task={config.task.name} is several tasks; a trial of one can be read back"
        )
    return Trained(chosen, config, folder, tuple(map(str, chosen.data.details.get("classes", ()))))


def load_trained(trained: Trained) -> Network:
    """The network as the trial left it, in evaluation mode. Raises ConfigError where its files cannot be read back."""
    network = untrained(trained)
    try:
        _load_base(network, _kept(trained))
    except SpecError as error:
        raise ConfigError(f"trial={trained.entry.trial}: {error}") from None
    return network.eval()


def untrained(trained: Trained) -> Network:
    """The base as it was before the trial, under the head that the trial trained, in evaluation mode."""
    known = trained.config.task.known_outputs
    network = build_model(trained.config.model, len(trained.classes) or (known if isinstance(known, int) else 1))
    if (file := _kept(trained) / HEAD).is_file():
        network.head.load_state_dict(load_file(file), strict=False)
    return network.eval()


def _kept(trained: Trained) -> Path:
    return trained.folder / (ADAPTER if (trained.folder / ADAPTER).is_dir() else WEIGHTS)


def _load_base(network: Network, kept: Path) -> None:
    if (kept / "adapter_config.json").is_file():
        if read_config(kept).get("peft_type") in _OURS:
            import_adapter(network.base, kept)
        else:
            network.base = load_peft(network.base, kept)
    elif (kept / BASE).is_file():
        _copy(network.base, load_file(kept / BASE))
    elif (kept / "model.safetensors").is_file():
        network.load_whole(load_file(kept / "model.safetensors"))


_OURS = ("LORA", "ADALORA", "lora-harness")


@torch.no_grad()
def _copy(base: torch.nn.Module, stored: dict[str, torch.Tensor]) -> None:
    own = base.state_dict()
    for name, tensor in stored.items():
        own[name].copy_(tensor)
