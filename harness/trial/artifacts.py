"""What a trial leaves on the disk beside its record: adapter or changed weights, head, predictions."""

import csv
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.config import (
    BaselineConfig,
    Config,
    GeneratorModelConfig,
    LoraConfig,
    MtlLoraConfig,
    MtloraConfig,
    PeftConfig,
    Seq2seqTaskConfig,
)
from harness.lora import export_adapter
from harness.lora.peft_methods import save_peft
from harness.model import Generator, Network, save_generator
from harness.system import assets
from harness.task import Inputs, Seq2seqInputs, build_task
from harness.training import TrialModule, generate_texts, text_scores
from harness.trial.inputs import base_identity, tokenizer_folder


def save_artifacts(config: Config, model: Network, module: TrialModule, folder: Path) -> dict[str, Any]:
    """The adapter (or what was trained of the base), the head and the predictions; their sizes and digests."""
    target = folder / "adapter"
    target.mkdir(exist_ok=True)
    save_trained(config, model, target)
    _save_predictions(module, folder / "predictions.csv")
    return saved_files(folder)


def save_trained(config: Config, model: Network, target: Path) -> None:
    """The adapter, or what was trained of the base, and the head, into a folder."""
    match config.lora:
        case LoraConfig() | MtloraConfig() | MtlLoraConfig():
            export_adapter(model.base, base_identity(config)["address"], target)
        case PeftConfig():
            save_peft(model.base, target)
        case BaselineConfig(name="full") if isinstance(config.model, GeneratorModelConfig):
            save_generator(model.base, tokenizer_folder(config.model, build_task(config.task)), target)
        case BaselineConfig():
            if trained := _trained_part(model.base):
                save_file(trained, target / "base.safetensors")
    if head := {name: tensor.detach().cpu() for name, tensor in model.head.named_parameters()}:
        save_file(head, target / "head.safetensors")


def saved_files(folder: Path) -> dict[str, Any]:
    """Where the saved weights of a trial are, their bytes, and the digest of each file."""
    target = folder / "adapter"
    files = sorted(path for path in target.rglob("*") if path.is_file())
    return {
        "path": f"{folder.parent.name}/{folder.name}/adapter",
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": {file.relative_to(target).as_posix(): assets.sha256_of(file) for file in files},
    }


def _trained_part(base: nn.Module) -> dict[str, Tensor]:
    """The trained weights, and the buffers of their layers, since a norm's running statistics moved with them."""
    found: dict[str, Tensor] = {name: tensor for name, tensor in base.named_parameters() if tensor.requires_grad}
    for name, layer in base.named_modules():
        if any(tensor.requires_grad for tensor in layer.parameters(recurse=False)):
            found |= {f"{name}.{key}": tensor for key, tensor in layer.named_buffers(recurse=False)}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def _save_predictions(module: TrialModule, path: Path) -> None:
    rows = torch.cat([rows for rows, _ in module.predictions]).tolist()
    items = torch.cat([items for _, items in module.predictions]).tolist()
    lines = [",".join(map(str, (row, *item))) for row, item in sorted(zip(rows, items, strict=True))]
    path.write_text("\n".join([",".join(("row", *module.measure.columns)), *lines]) + "\n")


def write_texts(config: Config, model: Network, inputs: Inputs, device: torch.device, folder: Path) -> dict[str, float]:
    """The scores of what a generator writes for the first test rows, and a table of it; nothing for other models."""
    if not isinstance(config.task, Seq2seqTaskConfig) or config.task.generate_rows == 0:
        return {}
    assert isinstance(model, Generator)
    assert isinstance(inputs, Seq2seqInputs)
    rows = min(config.task.generate_rows, len(inputs))
    written = generate_texts(model.to(device), inputs, rows, config.task.max_target, device)
    scores, items = text_scores(written, inputs.references[:rows])
    with open(folder / "written.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["row", "chrf", "written", "wanted"])
        table.writerows(zip(range(rows), items, written, inputs.references[:rows], strict=True))
    return scores


def cut_rows(splits: dict[str, Inputs]) -> dict[str, Any]:
    """How many sources and targets of each split were cut at their longest; nothing where no row can be."""
    counts = {name: inputs.cut for name, inputs in splits.items() if isinstance(inputs, Seq2seqInputs)}
    return {"cut": counts} if counts else {}
