"""The files that a trial leaves beside its record: adapter or changed weights, head, predictions."""

import csv
import dataclasses
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.config import Config
from harness.model import Network
from harness.record import Adapter, trial_path
from harness.system import assets
from harness.system.study_files import ANSWERS, CONFUSION, HEAD, PREDICTIONS, TAGGED, TAGS, WRITTEN
from harness.task import Generation, Inputs, Task, build_task
from harness.task.answers import are_right
from harness.task.tags import by_type, scheme_of
from harness.training import TrialModule, generate_texts, scored_texts
from harness.trial.answers import Answers, answer_table
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
        task = build_task(config.task)
        _save_answers(task, module, folder)
        _save_tags(task, module, folder)


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


def _items(module: TrialModule) -> list[tuple[int, list[float]]]:
    """The number of each row, and what it came to."""
    rows = torch.cat([rows for rows, _ in module.predictions]).tolist()
    return sorted(zip(rows, torch.cat([items for _, items in module.predictions]).tolist(), strict=True))


def _save_predictions(module: TrialModule, path: Path) -> None:
    lines = [",".join(map(str, (row, *item))) for row, item in _items(module)]
    path.write_text("\n".join([",".join(("row", *module.metrics.columns)), *lines]) + "\n")


def _save_answers(task: Task, module: TrialModule, folder: Path) -> None:
    """Save the answer to each test item, with the names of items and classes, and the confusion matrix. This needs one
    process that has seen all of them.
    """
    items = _items(module)
    found = Answers(module.metrics.columns, [item for _, item in items], _shares(module), {})
    if (table := answer_table(task, "test", found)) is None:
        return
    _write_table(folder / ANSWERS, *table)
    if found.shares is not None and found.columns[:2] == ("label", "predicted"):
        counts = [[0] * len(task.classes) for _ in task.classes]
        for right, said, *_ in found.items:
            counts[int(right)][int(said)] += 1
        of_each = [[name, *counts[label]] for label, name in enumerate(task.classes)]
        _write_table(folder / CONFUSION, ["label, taken for", *task.classes], of_each)


def _shares(module: TrialModule) -> Tensor | None:
    """The probabilities of classes (N, C) in the order of the rows; None where one process has not seen all of them."""
    rows = torch.cat([rows for rows, _ in module.predictions])
    if not module.shares or len(rows) != sum(map(len, module.shares)):
        return None
    return torch.cat(module.shares)[rows.argsort()]


def _save_tags(task: Task, module: TrialModule, folder: Path) -> None:
    """Save the predicted tag of each token of the test rows, and the scores of each type of span.

    Only where one process has seen all rows.
    """
    rows = task.tagged("test")
    if not module.tags or len(module.tags) != len(rows):
        return
    predicted = [[task.classes[tag] for tag in module.tags[row]] for row in range(len(rows))]
    names = task.names("test")
    with open(folder / TAGGED, "w", encoding="utf-8") as file:
        for name, (tokens, tags), said in zip(names, rows, predicted, strict=True):
            found = {"row": name, "tokens": list(tokens), "tags": list(tags), "predicted": said}
            file.write(json.dumps(found, ensure_ascii=False) + "\n")
    if "f1" in module.metrics.names:
        lines = by_type([tags for _, tags in rows], predicted, scheme_of(task.classes) or "bio")
        _write_table(folder / TAGS, ["type", "there", "found", "right", "precision", "recall", "f1"], lines)


def _write_table(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_texts(
    generation: Generation | None,
    model: Network,
    inputs: Inputs,
    *,
    device: torch.device,
    folder: Path,
    further: Collection[str] = (),
    recordings: Sequence[str] = (),
) -> dict[str, float]:
    """The scores, with `further` ones, of the texts that a model generates for the first test rows; else nothing.

    A table of the texts is written beside, with the names of `recordings` that they are of.
    """
    if generation is None:
        return {}
    references = inputs.wanted_texts(generation.references)
    written = generate_texts(model.to(device), inputs, len(references), generation.longest, device)
    found = scored_texts(generation, written, references, further)
    items = dict(zip(found.columns, zip(*found.items, strict=True), strict=True))
    named = {"recording": recordings[: len(references)]} if recordings else {}
    columns = {"row": range(len(references)), **named, **items, "written": written, "wanted": references}
    if (extract := generation.extract) is not None:
        columns |= {"answer": list(map(extract, written)), "wanted_answer": list(map(extract, references))}
        columns["right"] = list(map(int, are_right(written, references, extract)))
    _write_table(folder / WRITTEN, list(columns), [list(row) for row in zip(*columns.values(), strict=True)])
    return found.scores


def cut_rows(splits: dict[str, Inputs]) -> dict[str, Any]:
    """Count the sources and targets of each split that were cut at their maximum; empty if no row can be."""
    return {name: cut for name, inputs in splits.items() if (cut := inputs.truncated())}
