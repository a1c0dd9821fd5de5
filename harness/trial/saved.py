"""A saved adapter over any base: found, put into a network, and what the outputs of its head stand for."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness import record
from harness.config import Config, ConfigError
from harness.lora import SpecError, adapted_layers, import_adapter, named_updates
from harness.lora.adapter_config import PREFIX, peft_names, read_config, read_tensors
from harness.model import Network, base_file, build_model, model_tokens
from harness.record import Data, Record, trial_path
from harness.system.assets import AssetError
from harness.system.hub_models import adapter_folder, weight_files
from harness.system.paths import listed
from harness.system.study_files import CONFIG, HEAD
from harness.task import Task
from harness.task.intake.labels import label_key
from harness.trial.inputs import base_identity
from harness.trial.trained import load_base, trained_of

TEMPLATE = "chat_template.jinja"
"""The chat template beside an adapter, by transformers' name."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """A saved network in a folder: the class for each output number of its head, and the unit of a number.

    `classes` is empty where nothing says them. `unit` is deviation and mean of what a number is standardised by, None
    where it is in the unit of the data. `entry` is the record, of a trial, and `data` the file that it was trained on.
    """

    address: str
    folder: Path
    classes: tuple[str, ...] = ()
    unit: tuple[float, float] | None = None
    entry: Record | None = None
    data: str | None = None

    def notes(self, config: Config) -> list[str]:
        """Differences from the base that it was trained over that are easily overlooked."""
        if self.entry is None:
            return self._named_base(config)
        said, then, now = [], self.entry.base, base_identity(config)
        if then.sha256 != now["sha256"]:
            said.append(f"it was trained over {then.address}, other weights than {now['address']}")
        if then.quantization != config.model.quantized:
            bits = [each or "floats" for each in (then.quantization, config.model.quantized)]
            said.append(f"it was trained over weights held as {bits[0]}; here they are {bits[1]}")
        elif then.quantization_skip != config.model.unquantized:
            kept = [", ".join(each) or "none" for each in (then.quantization_skip, config.model.unquantized)]
            said.append(f"it was trained with model.quantization_skip of {kept[0]}; here it is {kept[1]}")
        return said

    def _named_base(self, config: Config) -> list[str]:
        named, asset, file = _base_name(self.folder), config.model.weights, base_file(config.model)
        if not named or asset is None or file is None:
            return []
        folder = file if file.is_dir() else file.parent
        if named in (asset.address.removeprefix("hub:").partition("@")[0], str(folder.absolute())):
            return []
        return [f"adapter_config.json names the base {named}; here it is {asset.address}"]


def find_saved(address: str) -> Saved:
    """The adapter at FOLDER, path:FOLDER or hub:owner/name@revision: of a trial, an export, or PEFT's.

    Raises ConfigError where there is none, AssetError where the hub does not give it.
    """
    if address.startswith("hub:"):
        folder, address = adapter_folder(address)
    else:
        folder = Path(address.removeprefix("path:")).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"adapter={address}: no such folder")
    folder = folder.resolve()  # a link, or a name such as ".", lies in its trial's folder, too
    if (folder.parent / CONFIG).is_file() and folder.parent.parent.name == "trials":
        return _of_trial(address, folder)
    if not (folder / "adapter_config.json").is_file():
        raise ConfigError(f"adapter={address}: no adapter_config.json in it{_elsewhere(folder)}")
    return Saved(address, folder, _names(folder))


def _elsewhere(folder: Path) -> str:
    """Say where an adapter in a subfolder is, as in a trainer's checkpoint; or what is there in its place."""
    if inner := sorted(path.parent.name for path in folder.glob("*/adapter_config.json")):
        return f"; {listed(inner)} in it has one"
    if (folder / "config.json").is_file() and weight_files(path.name for path in folder.iterdir()):
        return f"; it is a whole model, which model=hf model.address=path:{folder} takes as a base"
    return ""


def _of_trial(address: str, folder: Path) -> Saved:
    """Read a trial's saved network, with its record."""
    study, name = folder.parent.parent.parent, f"trials/{folder.parent.name}"
    entry = next((each for each in record.read(study) if trial_path(each.trial) == name), None)
    if entry is None:
        raise ConfigError(f"adapter={address}: {study} has no record of {name}")
    trained = trained_of(entry, study)
    return Saved(address, folder, trained.classes, trained.unit, entry, vars(trained.config.task).get("data"))


def template_notes(saved: Saved, config: Config, task: Task) -> list[str]:
    """Return a note if conversations use another chat template than in training."""
    known, tokens = _template(saved), model_tokens(config.model)
    if not known or tokens is None or tokens.tokenizer is None:
        return []
    digests = task.input_digests(tokens)
    here = digests.get("template", "").rpartition(" ")[2]
    given = digests.get("template_arguments", "{}")
    trained = given if saved.entry is None else saved.entry.provenance.inputs.get("template_arguments", "{}")
    if here == known and given != trained:
        return [f"it was trained with task.template_arguments={trained}; here they are {given}"]
    if here in ("", known):
        return []
    return [f"it was trained with the chat template of SHA-256 {known[:16]}; here it is {here[:16]}, task.template"]


def training_notes(saved: Saved, config: Config) -> list[str]:
    """Return a note if all rows of a file are scored, some of which were trained on."""
    data = vars(config.task).get("data")
    if not data or not saved.data or Path(data).expanduser().resolve() != Path(saved.data).expanduser().resolve():
        return []
    return [f"it was trained on rows of {data}: what it scores on all of them says nothing of new ones"]


def layer_notes(saved: Saved, network: Network) -> list[str]:
    """Return a note if an adapter changes nothing of the base, or nothing in layers that its configuration names."""
    form = network.transformers_form()
    base = network.base if form is None else form.model
    updates = list(named_updates(base))
    if updates and not any(update.lora_B.any() or hasattr(update, "lora_m") for _, update in updates):
        return ["the adapter changes nothing: all of its B are zero, as before any training"]
    if not (saved.folder / "adapter_config.json").is_file():
        return []
    left = _left_alone(base, read_config(saved.folder))
    return (
        [f"the file has no A and B for {len(left)} layers that target_modules names ({listed(left)})"] if left else []
    )


def _left_alone(base: nn.Module, said: Mapping[str, Any]) -> list[str]:
    """The layers that PEFT would adapt, as it does those of their name in other blocks, and that are plain."""
    targets, narrower = said.get("target_modules"), ("layers_to_transform", "exclude_modules", "target_parameters")
    if said.get("peft_type") != "LORA" or not isinstance(targets, list | str) or any(map(said.get, narrower)):
        return []
    adapted = {name for name, _ in adapted_layers(base)}
    alike = {re.sub(r"\d+", "#", name) for name in adapted}
    plain = [name for name, _ in base.named_modules() if name not in adapted and re.sub(r"\d+", "#", name) in alike]
    if isinstance(targets, str):
        return [name for name in plain if re.fullmatch(targets, name)]
    return [name for name in plain if any(f".{name}".endswith(f".{target}") for target in targets)]


def _template(saved: Saved) -> str:
    """The digest of the chat template of training; empty where nothing says it."""
    if saved.entry is not None:
        return saved.entry.provenance.inputs.get("template", "").rpartition(" ")[2]
    kept = saved.folder / TEMPLATE
    return hashlib.sha256(kept.read_bytes()).hexdigest() if kept.is_file() else ""


def _base_name(folder: Path) -> str:
    try:
        return str(read_config(folder).get("base_model_name_or_path") or "")
    except SpecError:  # loading it says so
        return ""


def _names(folder: Path) -> tuple[str, ...]:
    """The classes that the config.json beside an adapter names; those that transformers numbers are none."""
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("id2label") or {}
    except (OSError, ValueError, AttributeError):
        return ()
    names = tuple(str(name) for _, name in sorted(found.items(), key=lambda each: int(each[0])))
    return () if names == tuple(f"LABEL_{number}" for number in range(len(names))) else names


def load_saved(saved: Saved, config: Config, task: Task) -> tuple[Network, "OutputMapping"]:
    """The base of the configuration with the adapter in it, and its head, in evaluation mode; and how that is read.

    Raises ConfigError where it does not fit the base or the task, or has no head.
    """
    mapping = _output_mapping(saved, task)
    network = build_model(config.model, task.outputs)
    try:
        heads = _put_in(network, saved.folder)
    except (SpecError, AssetError) as error:
        raise ConfigError(f"adapter={saved.address}: {' '.join(str(error).split())[:300]}") from None
    if not heads and network.head.state_dict():
        if not (saved.folder / HEAD).is_file() and vars(config.model).get("head") == "stored":
            network.take_classes(task.classes)
            return network.eval(), OutputMapping()
        _load_head(network.head, saved)
        if not config.task.marks_answers:
            _check_unit(saved, task)
    return network.eval(), mapping


def _put_in(network: Network, folder: Path) -> list[str]:
    """Load what a folder holds of the base; returns the heads that were in it too.

    Names are those of the base alone, as trials write them, or of the whole model of transformers around it.
    """
    if not (folder / "adapter_config.json").is_file():
        load_base(network, folder)
        return []
    said, form = read_config(folder), network.transformers_form()
    heads = [str(name) for name in said.get("modules_to_save") or ()]
    if form is not None and form.model is not network.base and (heads or not _names_base(network.base, folder)):
        import_adapter(form.model, folder)
        return heads
    load_base(network, folder)
    return heads


def _names_base(base: nn.Module, folder: Path) -> bool:
    """Return whether the first adapted module of a PEFT file is one of the base itself."""
    modules = {name for name, _ in base.named_modules()}
    adapted = (name.partition(".lora_")[0] for name in peft_names(read_tensors(folder)) if ".lora_" in name)
    first = next(adapted, None)
    return first is None or first.removeprefix(PREFIX).removesuffix(".base_layer") in modules


def _check_unit(saved: Saved, task: Task) -> None:
    """Refuse a head that gives a number in the unit of data that nothing describes: a trial's outside its study."""
    if task.outputs and not task.classes and saved.entry is None and not (saved.folder / "config.json").is_file():
        raise ConfigError(
            f"adapter={saved.address}: nothing says in which unit its {HEAD} gives a number; "
            "name the adapter's folder in its study, or what run=export wrote"
        )


def _load_head(head: nn.Module, saved: Saved) -> None:
    if not (saved.folder / HEAD).is_file():
        raise ConfigError(
            f"adapter={saved.address}: it has no head, in modules_to_save or {HEAD}; model.head=stored takes the base's"
        )
    stored, own = load_file(saved.folder / HEAD), head.state_dict()
    for name in stored.keys() & own.keys():
        if stored[name].shape != own[name].shape:
            sizes = f"{tuple(stored[name].shape)}, that of the task is {tuple(own[name].shape)}"
            rule = "it answers another question than task.answer or the classes of the data say"
            raise ConfigError(f"adapter={saved.address}: {HEAD}: {name} is {sizes}; {rule}")
    try:
        head.load_state_dict(stored)
    except RuntimeError as error:
        raise ConfigError(f"adapter={saved.address}: {HEAD}: {' '.join(str(error).split())[:300]}") from None


@dataclasses.dataclass(frozen=True)
class OutputMapping:
    """The mapping from a saved head's outputs to a task's: classes in its order, numbers in its units."""

    order: tuple[int, ...] = ()
    factor: float = 1.0
    shift: float = 0.0

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (…, C), or numbers (B, 1)."""
        if self.order:
            return logits[..., torch.tensor(self.order, device=logits.device)]
        return logits if (self.factor, self.shift) == (1.0, 0.0) else logits * self.factor + self.shift


def _output_mapping(saved: Saved, task: Task) -> OutputMapping:
    """The mapping from a saved head's classes or unit to those of a task. Raises ConfigError where classes differ."""
    if task.outputs == 0:
        return OutputMapping()
    if not task.classes:
        data = Data.of(task.describe())
        deviation, mean = data.sd or 1.0, float(data.details.get("mean", 0.0))
        from_sd, from_mean = saved.unit or (1.0, 0.0)
        return OutputMapping(factor=from_sd / deviation, shift=(from_mean - mean) / deviation)
    if not saved.classes:
        return OutputMapping()
    numbers = {name: number for number, name in enumerate(saved.classes)}
    if numbers.keys() != set(task.classes):
        numbers = {name: numbers[own] for name, own in _classes_alike(saved, task).items()}
    return OutputMapping(order=tuple(numbers[name] for name in task.classes))


def _classes_alike(saved: Saved, task: Task) -> dict[str, str]:
    """Map each class of a task to one of a saved head, by names that differ in blanks, case or number format.

    Raises ConfigError where they are others.
    """
    own = {label_key(name): name for name in saved.classes}
    found = {name: own[label_key(name)] for name in task.classes if label_key(name) in own}
    if not len(own) == len(set(found.values())) == len(task.classes):
        ours, theirs = ", ".join(task.classes[:6]), ", ".join(saved.classes[:6])
        said = f"its classes are {theirs}; those of task={task.name} are {ours}"
        raise ConfigError(f"adapter={saved.address}: {said}; write the labels of the data as its classes are named")
    return found


def class_notes(saved: Saved, task: Task) -> list[str]:
    """Return a note if the head's classes have no names, or other names than the labels of the data."""
    if not task.classes:
        return []
    if not saved.classes:
        taken = ", ".join(task.classes[:6])
        return [f"nothing names the classes of its head; they are taken as {taken}, in order"]
    pairs = _classes_alike(saved, task) if set(saved.classes) != set(task.classes) else {}
    other = [f"{name} as {own}" for name, own in pairs.items() if name != own]
    return [f"labels are taken for its classes: {listed(other)}"] if other else []
