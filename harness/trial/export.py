"""A trial in the form that transformers and PEFT load: the adapter, or the whole model with it merged, and a card."""

import json
import logging
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, GenerationMixin

from harness.base_layers.quantized import dequantize
from harness.config import ConfigError
from harness.lora import export_adapter, merge
from harness.lora.adapter_config import TENSORS, read_config
from harness.lora.peft_format import FORMAT
from harness.lora.peft_methods import wrapped_by_peft
from harness.model import Network, TransformersForm, base_file, model_tokens
from harness.model.hf_audio import audio_input
from harness.model.hf_files import TERMS
from harness.model.hf_heads import output_layers
from harness.model.hf_images import image_input
from harness.model.hf_tokens import copy_tokenizer, end_ids
from harness.system.study_files import ADAPTER, HEAD
from harness.task.chat_inputs import end_of_turn
from harness.trial.model_card import is_card_of, model_card
from harness.trial.predict_chats import trained_template
from harness.trial.saved import TEMPLATE
from harness.trial.trained import Trained, load_trained

log = logging.getLogger(__name__)

_PREFIX = "base_model.model."
_LOOSE = "%s: transformers has no class of %s with this head, which is in %s; what loads the folder gives features"


def export_trial(trained: Trained, folder: Path, *, merged: bool) -> None:
    """Write a trial into a new folder. Raises ConfigError where it has no such form; the folder is then not there."""
    network = load_trained(trained)
    form = network.transformers_form()
    model = trained.config.model.name
    if form is None:
        raise ConfigError(
            f"trial={trained.entry.trial}: model={model} is no model of transformers; none of its tools loads it"
        )
    if folder.exists():
        raise _is_there(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as place:
        scratch = Path(place) / "made"
        scratch.mkdir()
        name_answers(form.model, trained)
        in_unit_of_data(network.head, trained)
        if trained.config.task.holds_chats:
            end_with_answers(form.model, trained)
        if merged:
            merged_network(network, trained)
            form.model.save_pretrained(scratch)  # type: ignore[operator]
        else:
            _write_adapter(network, form, trained, scratch)
            form.model.config.save_pretrained(scratch)  # type: ignore[union-attr, operator]
        if form.loose_head:
            log.warning(_LOOSE, f"output={folder}", type(form.model).__name__, HEAD)
            save_file({name: tensor.contiguous() for name, tensor in network.head.state_dict().items()}, scratch / HEAD)
        _copy_processors(trained, form, scratch, merged=merged)
        (scratch / "README.md").write_text(
            model_card(trained, form, _keys(trained, form), merged=merged), encoding="utf-8"
        )
        scratch.rename(folder)


def is_exported(trained: Trained, folder: Path, *, merged: bool) -> bool:
    """Return whether a folder holds this export already. Raises ConfigError if it holds something else."""
    if not folder.exists():
        return False
    card = folder / "README.md"
    if not card.is_file() or not is_card_of(card.read_text(encoding="utf-8"), trained.entry, merged=merged):
        raise _is_there(folder)
    return True


def _is_there(folder: Path) -> ConfigError:
    return ConfigError(f"output={folder}: is there already; name a new folder")


def name_answers(model: Any, trained: Trained) -> None:
    """Write the classes' names into the configuration of a model of transformers."""
    if trained.classes:
        model.config.id2label = dict(enumerate(trained.classes))
        model.config.label2id = {name: number for number, name in enumerate(trained.classes)}
    if trained.config.task.tags_tokens:
        return
    if trained.classes:
        kind = "multi_label" if trained.several_labels else "single_label"
        model.config.problem_type = f"{kind}_classification"
    elif trained.unit is not None:
        model.config.problem_type = "regression"


def end_with_answers(model: Any, trained: Trained) -> None:
    """Let what is generated end where the chat template ends an answer, too."""
    template, tokens = trained_template(trained)
    model.generation_config.eos_token_id = end_ids(model.config.eos_token_id, tokens.end, end_of_turn(template))
    model.generation_config.pad_token_id = tokens.pad


@torch.no_grad()
def in_unit_of_data(head: nn.Module, trained: Trained) -> None:
    """Let a head that gives a number in standardised units give it in the unit of the data: y·sd + mean."""
    if trained.unit is None:
        return
    sd, mean = trained.unit
    (layer,) = output_layers(head, 1)
    if layer.bias is None and mean:
        raise ConfigError(
            f"trial={trained.entry.trial}: its output layer has no bias that could add the mean of the data, "
            f"{mean:.6g}; model.pooling=last trains one that has"
        )
    layer.weight.mul_(sd)
    if layer.bias is not None:
        layer.bias.mul_(sd).add_(mean)


@torch.no_grad()
def merged_network(network: Network, trained: Trained) -> None:
    """Replace every adapted layer by its own layer with the merged weights, and those of few bits by ones of floats."""
    if wrapped_by_peft(network.base):
        try:
            network.base = network.base.merge_and_unload()  # type: ignore[operator]
        except (NotImplementedError, AttributeError, ValueError):
            method = read_config(trained.folder / ADAPTER).get("peft_type")
            raise ConfigError(f"format=merged: PEFT's {method} cannot be merged; format=adapter") from None
        network.transformers_form()  # which puts the base into its place
        return
    merge(network.base)
    dequantize(network.base)


def _write_adapter(network: Network, form: TransformersForm, trained: Trained, folder: Path) -> None:
    kept = trained.folder / ADAPTER
    if not (kept / "adapter_config.json").is_file():
        raise ConfigError(f"format=adapter: lora={trained.config.lora.name} leaves no adapter; format=merged")
    if wrapped_by_peft(network.base):
        _rename_peft(kept, _inner_prefix(network, form), folder)
    else:
        export_adapter(form.model, "", folder)
    config = read_config(folder)
    if config["peft_type"] == FORMAT:
        raise ConfigError(
            f"format=adapter: PEFT has no adapter for lora={trained.config.lora.name} here; format=merged"
        )
    address, revision = base_name(trained)
    config |= {"base_model_name_or_path": address, "revision": revision, "task_type": form.task_type}
    if form.task_type is None:
        kind = type(form.model)
        config["auto_mapping"] = {"base_model_class": kind.__name__, "parent_library": kind.__module__}
    else:
        config.pop("auto_mapping", None)
    tensors = load_file(folder / TENSORS)
    if form.heads:
        config["modules_to_save"] = list(form.heads)
        tensors |= {f"{_PREFIX}{name}": tensor for name, tensor in network.head.state_dict().items()}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / TENSORS, {"format": "pt"})


def _inner_prefix(network: Network, form: TransformersForm) -> str:
    """Return the prefix of a base's names in the whole model."""
    name = next(name for name, part in form.model.named_modules() if part is network.base)
    return f"{name}." if name else ""


def _rename_peft(kept: Path, prefix: str, folder: Path) -> None:
    """PEFT's own adapter of the base as one of the model that the base is a part of."""
    config, tensors = read_config(kept), load_file(kept / TENSORS)
    if isinstance(pattern := config.get("target_modules"), str):
        config["target_modules"] = f"{re.escape(prefix)}(?:{pattern})"
    renamed: dict[str, Tensor] = {
        name.replace(_PREFIX, f"{_PREFIX}{prefix}", 1): tensor for name, tensor in tensors.items()
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(renamed, folder / TENSORS)


def base_name(trained: Trained) -> tuple[str, str | None]:
    """The base as transformers takes it, and its revision: a repository of the hub, else the folder on this machine."""
    address = trained.entry.base.address
    if address.startswith("hub:"):
        name, _, revision = address[4:].partition("@")
        return name, revision or None
    return str(_source(trained).absolute()), None


def _source(trained: Trained) -> Path:
    found = base_file(trained.config.model)
    assert found is not None
    return found if found.is_dir() else found.parent


def _copy_processors(trained: Trained, form: TransformersForm, folder: Path, *, merged: bool) -> None:
    """The tokenizer, or how images or recordings are read; and the terms that the base is under."""
    task = trained.config.task
    for terms in _source(trained).glob(f"{TERMS}*"):
        shutil.copyfile(terms, folder / terms.name)
    tokens = model_tokens(trained.config.model, trained.outputs)
    if tokens is not None and tokens.tokenizer is not None:
        copy_tokenizer(tokens.tokenizer, folder)
        if form.auto_class == "AutoModelForCTC" and not merged:
            # Beside it PEFT would look for embeddings of tokens, which a base that hears has not.
            (folder / "tokenizer_config.json").unlink(missing_ok=True)
    if task.transcribes and isinstance(form.model, GenerationMixin):
        form.model.generation_config.save_pretrained(folder)
    if task.holds_chats:  # over the tokenizer's own, which transformers reads only where this is not
        (folder / TEMPLATE).write_text(trained_template(trained)[0].jinja, encoding="utf-8")
        form.model.generation_config.save_pretrained(folder)  # type: ignore[union-attr, operator]
    size = vars(trained.config.task).get("image_size")
    if size is not None:
        source = _source(trained)
        facts = image_input(source, _stored_config(trained).model_type).settings(size)
        (folder / "preprocessor_config.json").write_text(json.dumps(facts, indent=2) + "\n")
    reads = form.reads
    if reads is not None and task.transcribes and not merged:  # the base that carries the adapter has its own window
        reads = audio_input(_source(trained), _stored_config(trained), None).settings()
    if reads is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(reads, indent=2) + "\n")


def _keys(trained: Trained, form: TransformersForm) -> dict[str, object]:
    """Return the settings that the adapter needs and the base's own config.json lacks."""
    if not form.heads:
        return {}
    made: Any = form.model.config
    if trained.config.task.transcribes:
        return {"vocab_size": made.vocab_size, "pad_token_id": made.pad_token_id, "ignore_mismatched_sizes": True}
    keys: dict[str, object] = {"num_labels": trained.outputs}
    if trained.classes:
        keys["id2label"] = dict(enumerate(trained.classes))
    pad, stored = (getattr(each.get_text_config(), "pad_token_id", None) for each in (made, _stored_config(trained)))
    if pad != stored:
        keys["pad_token_id"] = pad
    return keys | {"ignore_mismatched_sizes": True}  # the base's own head may be of another size


def _stored_config(trained: Trained) -> Any:
    return AutoConfig.from_pretrained(_source(trained), trust_remote_code=False, local_files_only=True)
