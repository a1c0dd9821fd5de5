"""What a trial leaves on the disk beside its record: adapter or changed weights, head, predictions."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from harness.config import Config
from harness.model import Network
from harness.record import Adapter, trial_path
from harness.system import assets
from harness.system.study_files import HEAD, PREDICTIONS
from harness.task import Generation, Inputs, build_task
from harness.training import TrialModule, generate_texts, text_scores
from harness.trial.context import TrialContext
from harness.trial.inputs import base_identity, tokens_for
from harness.trial.methods import Method


def save_artifacts(
    config: Config, model: Network, method: Method, module: TrialModule, folder: Path, *, predicted: bool
) -> None:
    """The adapter (or what was trained of the base), the head and, where test was scored, the predictions."""
    target = folder / method.folder
    target.mkdir(exist_ok=True)
    save_trained(config, model, method, target)
    if predicted:
        _save_predictions(module, folder / PREDICTIONS)


def save_trained(config: Config, model: Network, method: Method, target: Path) -> None:
    """The adapter, or what was trained of the base, and the head, into a folder."""
    if not (method.trains_whole_base and _save_whole(config, model, target)):
        method.save(model, base_identity(config)["address"], target)
    if head := {name: tensor.detach().cpu() for name, tensor in model.head.state_dict().items()}:
        save_file(head, target / HEAD)


def _save_whole(config: Config, model: Network, target: Path) -> bool:
    tokens = tokens_for(config, build_task(config.task))
    return model.save_whole(tokens.tokenizer if tokens is not None else None, target)


def saved_files(adapter: Adapter, context: TrialContext, folder: str) -> Adapter:
    """The adapter with the files of a trial's `folder`: where they are in the end, their bytes, the digest of each."""
    target = context.folder / folder
    files = sorted(path for path in target.rglob("*") if path.is_file())
    return dataclasses.replace(
        adapter,
        path=f"{trial_path(context.number)}/{folder}",
        bytes=sum(file.stat().st_size for file in files),
        sha256={file.relative_to(target).as_posix(): assets.sha256_of(file) for file in files},
    )


def _save_predictions(module: TrialModule, path: Path) -> None:
    rows = torch.cat([rows for rows, _ in module.predictions]).tolist()
    items = torch.cat([items for _, items in module.predictions]).tolist()
    lines = [",".join(map(str, (row, *item))) for row, item in sorted(zip(rows, items, strict=True))]
    path.write_text("\n".join([",".join(("row", *module.metrics.columns)), *lines]) + "\n")


def write_texts(
    generation: Generation | None, model: Network, inputs: Inputs, device: torch.device, folder: Path
) -> dict[str, float]:
    """The scores of the texts that a model generates for the first test rows, and a table of them; else nothing."""
    if generation is None:
        return {}
    references = generation.references
    written = generate_texts(model.to(device), inputs, len(references), generation.longest, device)
    scores, items = text_scores(written, references)
    with open(folder / "written.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["row", "chrf", "written", "wanted"])
        table.writerows(zip(range(len(references)), items, written, references, strict=True))
    return scores


def cut_rows(splits: dict[str, Inputs]) -> dict[str, Any]:
    """How many sources and targets of each split were cut at their longest; nothing where no row can be."""
    return {name: cut for name, inputs in splits.items() if (cut := inputs.truncated())}
