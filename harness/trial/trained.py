"""A finished trial's network again: its base, what was trained of it, and its head."""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file

from harness import record
from harness.config import Config, ConfigError, Outputs, Transcribed, check, read_stored
from harness.lora import SpecError, import_adapter
from harness.lora.adapter_config import read_config
from harness.lora.peft_methods import load_peft
from harness.model import Network, build_model
from harness.record import Record, best_on_validation, trial_path
from harness.system.assets import AssetError, sha256_of
from harness.system.hub_models import weight_files
from harness.system.study_files import ADAPTER, CONFIG, HEAD, WEIGHTS

BASE = "base.safetensors"
"""The base's trained weights, where a trial has no adapter."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A complete trial: its record, its configuration, the folder of its files, and the answers by number.

    `classes` is empty where the answer is a number, or a text.
    """

    entry: Record
    config: Config
    folder: Path
    classes: tuple[str, ...]

    @property
    def several_labels(self) -> bool:
        """True if each class is a separate decision, so that a row may have several."""
        return vars(self.config.task).get("answer") == "labels"

    @property
    def outputs(self) -> Outputs:
        """The outputs of its head."""
        details, task = self.entry.data.details, self.config.task
        if task.transcribes:
            return Transcribed(str(details.get("alphabet", "")))
        known = task.known_outputs
        return task.head_outputs(len(self.classes)) or (known if isinstance(known, int) else 1)

    @property
    def unit(self) -> tuple[float, float] | None:
        """Deviation and mean of the data, where the network's answer is a number in units of them; else None."""
        task = self.config.task
        if self.classes or task.known_outputs == 0 or task.marks_answers:
            return None
        data = self.entry.data
        return data.sd or 1.0, float(data.details.get("mean", 0.0))


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
    trained = trained_of(chosen, place)
    if trained.config.task.parts:
        raise ConfigError(
            f"trial={chosen.trial}: task={trained.config.task.name} is several tasks; a trial of one can be read back"
        )
    return trained


def trained_of(entry: Record, study: Path) -> Trained:
    """The trial of a record, in its study's folder. Raises ConfigError where its configuration cannot be read."""
    folder = study / trial_path(entry.trial)
    return Trained(entry, _config(folder), folder, tuple(map(str, entry.data.details.get("classes", ()))))


def _config(folder: Path) -> Config:
    """The configuration of a trial by its folder. Raises ConfigError where it is not there or not valid any more."""
    path = folder / CONFIG
    if not path.exists():
        raise ConfigError(f"{path}: no such file; the trial's result was looked up, or its folder is gone")
    return check(read_stored(path))


def load_trained(trained: Trained) -> Network:
    """The network as the trial left it, in evaluation mode. Raises ConfigError where its files cannot be read back."""
    network = untrained(trained)
    try:
        load_base(network, _kept(trained))
    except (SpecError, AssetError) as error:
        raise ConfigError(f"trial={trained.entry.trial}: {error}") from None
    return network.eval()


def untrained(trained: Trained) -> Network:
    """The base as it was before the trial, under the head that the trial trained, in evaluation mode."""
    network = build_model(trained.config.model, trained.outputs)
    if network.head.state_dict():
        file = _kept(trained) / HEAD
        if not file.is_file():
            raise ConfigError(f"trial={trained.entry.trial}: {file}: no such file; the trial cannot be read back")
        try:
            network.head.load_state_dict(load_file(file))
        except RuntimeError as error:
            raise ConfigError(f"trial={trained.entry.trial}: {file}: {' '.join(str(error).split())[:300]}") from None
    return network.eval()


def _kept(trained: Trained) -> Path:
    """The folder of what was trained. Raises ConfigError where a file is gone, or is not what the record says."""
    where = f"trial={trained.entry.trial}"
    kept = trained.folder / (ADAPTER if (trained.folder / ADAPTER).is_dir() else WEIGHTS)
    if not kept.is_dir():
        raise ConfigError(f"{where}: {trained.folder} has no {ADAPTER} and no {WEIGHTS}; the trial cannot be read back")
    for name, digest in trained.entry.adapter.sha256.items():
        if not (kept / name).is_file():
            raise ConfigError(f"{where}: {kept / name}: no such file; the trial cannot be read back")
        if sha256_of(kept / name) != digest:
            raise ConfigError(f"{where}: {kept / name}: its SHA-256 is not the one in the record; restore the file")
    return kept


def load_base(network: Network, kept: Path) -> None:
    """Take over what a folder holds of the base: an adapter, or weights. Raises SpecError or AssetError."""
    if (kept / "adapter_config.json").is_file():
        if read_config(kept).get("peft_type") in _OURS:
            import_adapter(network.base, kept)
        else:
            network.base = load_peft(network.base, kept)
    elif (kept / BASE).is_file():
        _copy(network.base, load_file(kept / BASE))
    elif weight_files(file.name for file in kept.iterdir()):
        network.load_whole(kept)


_OURS = ("LORA", "ADALORA", "lora-harness")


@torch.no_grad()
def _copy(base: torch.nn.Module, stored: dict[str, torch.Tensor]) -> None:
    own = base.state_dict()
    for name, tensor in stored.items():
        own[name].copy_(tensor)
