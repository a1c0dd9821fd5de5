"""Evaluate a trained network on a split without training: the scores that a trial would record, with intervals."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.config import Config, ConfigError
from harness.devices import resolve_device, resolve_precision
from harness.model import Network
from harness.record import Data, bounds, within
from harness.report.statistics import ratio_interval, wilson_interval
from harness.system.paths import listed
from harness.task import SPLITS, Inputs, ScoredTexts, Task, build_task
from harness.task.build import read_task
from harness.task.intake.scored import read_to_score
from harness.task.measures import without_value
from harness.task.metrics import Metrics
from harness.task.summary import rows_left_out
from harness.training import autocast, generate_texts, scored_texts
from harness.trial.answers import Answers, Table, answer_table, named_items
from harness.trial.inputs import base_identity, evaluation_size, loader, read_inputs
from harness.trial.passes import on_device
from harness.trial.predict import write_table
from harness.trial.saved import (
    OutputMapping,
    Saved,
    class_notes,
    layer_notes,
    load_saved,
    template_notes,
    training_notes,
)
from harness.trial.single import metrics_of
from harness.trial.trained import Trained, load_trained

_LABELLED = ("label", "predicted")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores by name, with the 95 % interval over items of those that are means of them, and a row for each item; which
    measures have no value on these rows, and why.
    """

    splits: tuple[str, ...]
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    items: list[tuple[int, list[float]]]
    table: Table
    without_value: dict[str, str]
    notes: list[str]

    def write_items(self, path: Path) -> None:
        """Write a CSV file like a trial's answers.csv, with the rows of the splits one after another."""
        write_table(path, *self.table)


@dataclasses.dataclass(frozen=True)
class _Written:
    """Texts that were written for the first rows of a split, what they score, and the right ones."""

    scored: ScoredTexts
    texts: Sequence[str]
    references: Sequence[str]


def evaluate_trial(trained: Trained, split: str) -> tuple[Evaluation, dict[str, Any]]:
    """The scores of a trial's network on its own data, and what base and data those are.

    Raises ConfigError where the data are others now.
    """
    config, entry = trained.config, trained.entry
    task = build_task(config.task)
    if entry.data.sha256 and task.sha256 != entry.data.sha256:
        raise ConfigError(
            f"trial={entry.trial}: the data of task={entry.task} have changed since it was trained, SHA-256 "
            f"{entry.data.sha256[:16]} then and {task.sha256[:16]} now; adapter=FOLDER scores it on changed data"
        )
    splits = _splits(split)
    found = _evaluate(load_trained(trained), task, config, splits, OutputMapping())
    notes = [*_rows_of_training(task, splits), *rows_left_out(task)]
    return found, {**_facts(config, task, split, splits), "notes": notes}


def _rows_of_training(task: Task, splits: Sequence[str]) -> list[str]:
    """Return a warning if a trial is scored on rows that it was trained on, among others."""
    rows = Data.of(task.describe()).rows
    if len(splits) < 2:
        return []
    whole = sum(rows[name] for name in splits)
    return [f"{rows['train']:,} of these {whole:,} rows are of training; split=test has none of them"]


def evaluate_saved(saved: Saved, config: Config, split: str) -> tuple[Evaluation, dict[str, Any]]:
    """The scores of an adapter over the base of a configuration on its task, and what base and data that were.

    Raises ConfigError where the adapter does not fit.
    """
    if config.task.parts:
        raise ConfigError(f"run=evaluate: task={config.task.name} is several tasks; name one of them")
    uncut = config.task.uncut() if split == "all" else None
    with read_to_score(saved.classes, whole=uncut is not None) as read:
        task = read_task(uncut or config.task)
    network, mapping = load_saved(saved, config, task)
    notes = [*saved.notes(config), *layer_notes(saved, network), *template_notes(saved, config, task)]
    notes += [*rows_left_out(task), *(training_notes(saved, config) if split == "all" else ())]
    notes += class_notes(saved, task)
    columns = config.task.label_columns
    if len(columns) > 1 and (absent := [name for name in saved.classes or () if name not in columns]):
        notes.append(f"no column of task.label is {listed(absent)}: in every row that counts as not so")
    splits = _splits(split, read.uncut)
    found = _evaluate(network, task, config, splits, mapping)
    return found, {**_facts(config, task, split, splits), "notes": [*notes, *found.notes]}


def _splits(split: str, uncut: Collection[str] = ()) -> tuple[str, ...]:
    """The splits to score, each row once: splits that are `uncut` have the rows of training."""
    if split != "all":
        return (split,)
    return tuple(name for name in SPLITS if name not in uncut) if len(uncut) < 2 else ("test",)


def _facts(config: Config, task: Task, split: str, splits: Sequence[str]) -> dict[str, Any]:
    """Return what was scored, on what, and in which precision; if all rows are scored, without the cut of splits."""
    rows, device = Data.of(task.describe()).rows, resolve_device(config.trainer.accelerator, 1)
    return {
        "base": base_identity(config),
        "data": {
            "sha256": task.sha256,
            "rows": {"all": sum(rows[name] for name in splits)} if split == "all" else rows,
        },
        "precision": resolve_precision(config.trainer.precision, device, config.model.base_dtype),
    }


def _evaluate(
    network: Network, task: Task, config: Config, splits: tuple[str, ...], mapping: OutputMapping
) -> Evaluation:
    device = resolve_device(config.trainer.accelerator, 1)
    precision = resolve_precision(config.trainer.precision, device, config.model.base_dtype)
    network.to(device)
    metrics = metrics_of(task, config.trainer).to(device)
    size = evaluation_size(config, task)
    found = dict[str, Answers]()
    for name in splits:
        inputs = read_inputs(config, task, name)
        found[name] = _score_rows(
            network, inputs, metrics, config=config, size=size, device=device, precision=precision, mapping=mapping
        )
    items = [list(item) for answers in found.values() for item in answers.items]
    labels = [int(item[0]) if task.classes else item[0] for item in items] if metrics.columns[:2] == _LABELLED else []
    missing = without_value(metrics.names, labels, task.classes) if labels else {}
    metrics.leave_out(missing)
    scores = {name: score for name, score in metrics.compute_and_reset().items() if name not in missing}
    intervals = _intervals(task, metrics.columns, scores, items)
    alone = len(splits) == 1
    written = _written(network, inputs, task, config=config, split=splits[0], device=device) if alone else None
    if written is not None:
        scores |= written.scored.scores
        intervals |= {name: ratio_interval(*sums) for name, sums in written.scored.ratios.items()}
    intervals = {name: within(interval, bounds(name)) for name, interval in intervals.items()}
    table, notes = _table(task, found, written), _of_one_class(labels, task.classes)
    return Evaluation(splits, scores, intervals, list(enumerate(items)), table, missing, notes)


def _of_one_class(labels: Sequence[float], classes: Sequence[str]) -> list[str]:
    """Return a note on the scores of rows that are all of one class."""
    there = set(labels)
    if not classes or len(there) != 1:
        return []
    name = classes[int(there.pop())]
    return [f"all {len(labels)} rows are of {name!r}: accuracy is its recall, and 1 where all is taken for it"]


def _table(task: Task, found: Mapping[str, Answers], written: _Written | None) -> Table:
    """Return the answers to the rows of splits, with the name of its split before each if there are several."""
    tables = {split: _named(task, split, answers, written) for split, answers in found.items()}
    if len(tables) == 1:
        return next(iter(tables.values()))
    head = next(iter(tables.values()))[0]
    return ["split", *head], [[split, *row] for split, (_, rows) in tables.items() for row in rows]


def _named(task: Task, split: str, answers: Answers, written: _Written | None) -> Table:
    """Return the answers by name; otherwise the result of each row, and for generated texts those."""
    if (table := answer_table(task, split, answers)) is not None:
        return table
    names = named_items(task, split, len(answers.items))
    head = ["item", *answers.columns]
    rows: list[list[Any]] = [[name, *item] for name, item in zip(names, answers.items, strict=True)]
    if written is None:
        return head, rows
    scored = [name for name in written.scored.columns if name not in head]
    places = [written.scored.columns.index(name) for name in scored]
    cells = [
        [*(item[place] for place in places), text, wanted]
        for item, text, wanted in zip(written.scored.items, written.texts, written.references, strict=True)
    ]
    cells += [[""] * (len(scored) + 2)] * (len(rows) - len(cells))
    return [*head, *scored, "written", "wanted"], [row + more for row, more in zip(rows, cells, strict=True)]


@torch.no_grad()
def _score_rows(
    network: Network,
    inputs: Inputs,
    metrics: Metrics,
    *,
    config: Config,
    size: int,
    device: torch.device,
    precision: str,
    mapping: OutputMapping,
) -> Answers:
    """Score the rows of a split; returns what each of them came to, in order."""
    rows, found, shares, tags = list[Tensor](), list[Tensor](), list[Tensor](), dict[int, list[int]]()
    for batch in loader(inputs, size, config.seed, training=False, tokens=config.trainer.batch_tokens):
        there = on_device(batch, device)
        with autocast(precision, device):
            logits = mapping(network(there))
            found.append(metrics.update(logits, there).cpu())
        if (of_classes := metrics.shares(logits)) is not None:
            shares.append(of_classes.cpu())
        tags.update(zip(batch["rows"].tolist(), metrics.tags(logits, there), strict=False))
        rows.append(batch["rows"])
    order = torch.cat(rows).argsort()
    items: list[list[float]] = torch.cat(found)[order].tolist()
    return Answers(metrics.columns, items, torch.cat(shares)[order] if shares else None, tags)


def _written(
    network: Network, inputs: Inputs, task: Task, *, config: Config, split: str, device: torch.device
) -> _Written | None:
    """The texts that are written for the first rows, scored, where the answer is a text."""
    generation = task.generation_of(split)
    if generation is None:
        return None
    references = inputs.wanted_texts(generation.references)
    texts = generate_texts(network, inputs, len(references), generation.longest, device)
    return _Written(scored_texts(generation, texts, references, config.trainer.text_measures), texts, references)


def _intervals(
    task: Task, columns: tuple[str, ...], scores: dict[str, float], values: list[list[float]]
) -> dict[str, tuple[float, float]]:
    answered = columns[:2] == _LABELLED
    shares = {"accuracy", "accuracy_norm"} if answered else set[str]()
    found = {name: wilson_interval(scores[name], len(values)) for name in scores if name in shares}
    if "group" in columns:
        groups = {item[columns.index("group")] for item in values}
        found["group_exact"] = wilson_interval(scores["group_exact"], len(groups))
    for name in (name for name in scores if name in columns and name != "loss"):  # means over items
        of_items = [item[columns.index(name)] for item in values]
        share = set(of_items) <= {0.0, 1.0}
        count = len(of_items)
        found[name] = wilson_interval(scores[name], count) if share else ratio_interval(of_items, [1.0] * count)
    if "loss" in columns and "tokens" in columns:
        losses, tokens = ([item[columns.index(name)] for item in values] for name in ("loss", "tokens"))
        nats = [loss * count for loss, count in zip(losses, tokens, strict=True)]
        return found | {"loss": ratio_interval(nats, tokens)}
    if columns == _LABELLED and not found:  # numbers, whose loss is of standardised answers
        deviation = Data.of(task.describe()).sd or 1.0
        squares = [((label - predicted) / deviation) ** 2 for label, predicted in values]
        return {"loss": ratio_interval(squares, [1.0] * len(squares))}
    return found
