"""The card of an exported trial: what it is, what it scored, and how it is loaded."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from harness.lora.layers import Adapted
from harness.model import TransformersForm
from harness.record import Record
from harness.trial.trained import Trained

_PIPELINES = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModelForImageClassification": "image-classification",
    "AutoModelForAudioClassification": "audio-classification",
    "AutoModelForSpeechSeq2Seq": "automatic-speech-recognition",
    "AutoModelForCTC": "automatic-speech-recognition",
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForSeq2SeqLM": "text2text-generation",
    "AutoModel": "feature-extraction",
}


def model_card(trained: Trained, form: TransformersForm, keys: Mapping[str, object], *, merged: bool) -> str:
    """Markdown with the hub's own header. `keys` are what the base has to be loaded with to carry the adapter."""
    entry = trained.entry
    header = ["---", _library(merged)]
    if entry.base.address.startswith("hub:"):
        header.append(f"base_model: {entry.base.address[4:].partition('@')[0]}")
    header += [f"pipeline_tag: {_PIPELINES[form.auto_class]}", "---"]
    title = f"# {entry.task}, {entry.arm}"
    parts = [header, [title, ""], _facts(trained), [""], _scores(entry), [""], _use(trained, form, keys, merged)]
    return "\n".join(line for part in parts for line in part) + "\n"


def is_card(text: str) -> bool:
    """Return whether a README.md is the model card of an export of any trial."""
    return re.search(r"^- Trial \d+ of the study .+, fingerprint \w*$", text, flags=re.MULTILINE) is not None


def is_card_of(text: str, entry: Record, *, merged: bool) -> bool:
    """Return whether a README.md is the card of a trial's export in this form, ignoring the commands in it."""
    lines = text.splitlines()
    return {_library(merged), _named(entry)} <= set(lines) and not any(line.startswith("- Made by") for line in lines)


def _library(merged: bool) -> str:
    return f"library_name: {'transformers' if merged else 'peft'}"


def _named(entry: Record) -> str:
    return f"- Trial {entry.trial} of the study {entry.study}, fingerprint {entry.fingerprint}"


def _unit(trained: Trained) -> list[str]:
    if trained.unit is None:
        return []
    sd, mean = trained.unit
    return [f"- Answers are in the unit of the data: the head holds its mean {mean:.6g} and its deviation {sd:.6g}"]


def _terms(trained: Trained) -> list[str]:
    terms = trained.config.model.use_terms
    return [] if terms is None else [f"- Provided under and subject to the {terms}; their text is beside this file"]


def _bits(quantization: str | None) -> list[str]:
    held = f"- Trained over weights held as {quantization}, dequantised for every product"
    return [] if quantization is None else [held]


def _facts(trained: Trained) -> list[str]:
    entry = trained.entry
    rank = f", rank {entry.lora.rank}" if entry.lora.rank else ""
    base = entry.base.name if entry.base.address.startswith("path:") else entry.base.address
    targets = f" on {', '.join(entry.lora.targets)}" if entry.lora.targets else ""
    parameters, rows = entry.parameters.trainable, entry.data.rows.get("train", 0)
    return [
        f"- Base: `{base}` (SHA-256 of its files {entry.base.sha256[:16]})",
        *_terms(trained),
        *_bits(entry.base.quantization),
        f"- Method: {entry.lora.variant or entry.lora.name}{rank}{targets}; {parameters:,} trained parameters",
        f"- Data: {entry.data.name}, {rows:,} training rows (SHA-256 {entry.data.sha256[:16]})",
        *_unit(trained),
        _named(entry),
    ]


def _scores(entry: Record) -> list[str]:
    names = list(dict.fromkeys(name for scores in entry.scores.values() for name in scores))
    rows = [
        f"| {split} | {' | '.join(_shown(scores.get(name)) for name in names)} |"
        for split, scores in entry.scores.items()
    ]
    return [f"| split | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|", *rows]


def _shown(score: float | None) -> str:
    return "–" if score is None else f"{score:.4g}"


_QUANTIZED = {
    "int8": "load_in_8bit=True",
    "nf4": 'load_in_4bit=True, bnb_4bit_quant_type="nf4"',
    "nf4-double": 'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True',
}
"""The same weights by transformers' BitsAndBytesConfig."""


def _in_floats(model: nn.Module) -> list[str]:
    """The linear layers that are not quantised, as they are called without an adapter.

    All of them: where some are named, transformers no longer leaves out the head by itself.
    """
    held: list[str] = []
    for name, layer in model.named_modules():
        plain = layer.base if isinstance(layer, Adapted) else layer
        if type(plain) is nn.Linear:
            held.append(name)
    inside = {f"{name}.base" for name in held}
    return [name for name in held if name not in inside]


_CHAT = (
    "",
    "from transformers import AutoTokenizer, GenerationConfig",
    "",
    'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
    'ends = GenerationConfig.from_pretrained("FOLDER", max_new_tokens=256)',
    'chat = [{"role": "user", "content": "…"}]',
    'form = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}',
    "prompt = tokenizer.apply_chat_template(chat, **form)",
    "answer = model.generate(**prompt, generation_config=ends)[0, prompt.input_ids.shape[1] :]",
    "print(tokenizer.decode(answer))",
)
"""How an answer is generated with the chat template that was trained with."""


def _use(trained: Trained, form: TransformersForm, keys: Mapping[str, object], merged: bool) -> list[str]:
    quantization = trained.entry.base.quantization
    auto = form.auto_class if merged else form.auto_class.replace("AutoModel", "AutoPeftModel")
    if not merged and form.auto_class == "AutoModel":
        auto = "AutoPeftModelForFeatureExtraction"
    if not merged and form.task_type is None:
        auto = "AutoPeftModel"
    words = "" if merged else "".join(f", {key}={value!r}" for key, value in keys.items())
    imports = [f"from {'transformers' if merged else 'peft'} import {auto}"]
    if quantization is not None and not merged:
        imports.append("from transformers import BitsAndBytesConfig")
        bits = _QUANTIZED[quantization]
        if trained.config.model.unquantized:
            bits += f", llm_int8_skip_modules={_in_floats(form.model)!r}"
        words += f", quantization_config=BitsAndBytesConfig({bits})"
    lines = [
        *imports,
        "",
        f'model = {auto}.from_pretrained("FOLDER"{words})',
    ]
    if trained.config.task.holds_chats:
        arguments: Mapping[str, Any] = vars(trained.config.task)["template_arguments"] or {}
        given = "".join(f', "{name}": {value!r}' for name, value in arguments.items())
        lines += [line.replace('"return_tensors": "pt"', f'"return_tensors": "pt"{given}') for line in _CHAT]
    note = ["", "The head is in `head.safetensors`: no class of transformers has it."] if form.loose_head else []
    return ["```python", *lines, "```", *note]
