"""A network's answers to the rows of a split, with the names of rows and classes: the tables that trials leave."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from harness.task import Task

Table = tuple[list[str], list[list[Any]]]
"""The names of columns, and rows of cells."""

_LABELLED = ("label", "predicted")


@dataclasses.dataclass(frozen=True)
class Answers:
    """The results for the rows of a split, in order: the `columns` of the metrics, the probabilities of classes (N, C)
    if all rows have them, and the tags of each row by its number.
    """

    columns: tuple[str, ...]
    items: Sequence[Sequence[float]]
    shares: Tensor | None
    tags: Mapping[int, Sequence[int]]


def answer_table(task: Task, split: str, found: Answers) -> Table | None:
    """Item, label, what was predicted and the probability of each class, or what else is answered; None where the
    answer is neither a class, nor several of them, nor a number, nor a span, nor tags, nor an option.
    """
    for table in (_classes, _label_sets, _numbers, _spans, _tags, _options):
        if (made := table(task, split, found)) is not None:
            return made
    return None


def class_columns(classes: Sequence[str]) -> list[str]:
    """The columns of what was predicted and of the probabilities of classes."""
    return ["predicted", *(f"p({name})" for name in classes)]


def option_columns(most: int) -> list[str]:
    """The columns of what was taken of options, `most` of them, and of the probability of each by its place."""
    return ["predicted", "predicted_norm", *(f"p({place})" for place in range(1, most + 1))]


def option_cells(options: Sequence[str], item: Sequence[float]) -> list[str]:
    """The right one, and these columns, of what ChoiceMetrics has of a question."""
    label, predicted, normed, _, _, *shares = item
    taken = [options[int(number) - 1] for number in (label, predicted, normed)]
    there = list(map(probability, shares[: len(options)]))
    return [*taken, *there, *[""] * (len(shares) - len(options))]


def named_items(task: Task, split: str, rows: int) -> Sequence[str]:
    """The names of a split's rows: texts or files, their numbers from 0 where they have none."""
    return task.names(split) or list(map(str, range(rows)))


def set_cell(names: Sequence[str]) -> str:
    """Several classes, or none, in a cell: a JSON list."""
    return json.dumps(list(names), ensure_ascii=False)


def above_half(classes: Sequence[str], shares: Sequence[float]) -> list[str]:
    """The classes whose probability is above a half."""
    return [name for name, share in zip(classes, shares, strict=True) if share > 0.5]


def probability(value: float) -> str:
    """A probability with as many digits as float32 has."""
    return f"{value:.9g}"


def _classes(task: Task, split: str, found: Answers) -> Table | None:
    if found.shares is None or found.columns[:2] != _LABELLED:
        return None
    lines = []
    names = named_items(task, split, len(found.items))
    for name, item, row in zip(names, found.items, found.shares.tolist(), strict=True):
        lines.append([name, *(task.classes[int(answer)] for answer in item[:2]), *map(probability, row)])
    return ["item", "label", *class_columns(task.classes)], lines


def _label_sets(task: Task, split: str, found: Answers) -> Table | None:
    sets = task.label_sets(split)
    if found.shares is None or not sets or len(sets) != len(found.shares):
        return None
    lines = []
    for name, wanted, row in zip(named_items(task, split, len(sets)), sets, found.shares.tolist(), strict=True):
        lines.append([name, set_cell(wanted), set_cell(above_half(task.classes, row)), *map(probability, row)])
    return ["item", "label", *class_columns(task.classes)], lines


def _numbers(task: Task, split: str, found: Answers) -> Table | None:
    """In the labels' own unit; what was predicted as float32 has it."""
    values = task.values(split) or ([] if task.classes else [item[0] for item in found.items])
    if found.columns != _LABELLED or len(values) != len(found.items):
        return None
    lines = [
        [name, f"{value:.15g}", f"{item[1]:.7g}"]
        for name, value, item in zip(named_items(task, split, len(values)), values, found.items, strict=True)
    ]
    return ["item", *_LABELLED], lines


def _spans(task: Task, split: str, found: Answers) -> Table | None:
    """Return the answer to each question in its context, and the right one."""
    asked = task.asked(split)
    if not asked or len(asked) != len(found.items):
        return None
    lines = []
    for question, item in zip(asked, found.items, strict=True):
        of = dict(zip(found.columns, item, strict=True))
        begin, end = int(of["begin"]), int(of["end"])
        said = question.context[begin:end] if begin >= 0 else ""
        scores = [f"{of[name]:.6f}" for name in ("f1", "exact")]
        place = [begin, end] if begin >= 0 else ["", ""]
        lines.append([question.name, question.text, set_cell(question.wanted), said, f"{of['p']:.6f}", *place, *scores])
    return ["item", "question", "right", "answer", "p", "begin", "end", "f1", "exact"], lines


def _tags(task: Task, split: str, found: Answers) -> Table | None:
    """Lists of tokens and tags, as tagged.jsonl has them."""
    if not (rows := task.tagged(split)) or len(found.tags) != len(rows):
        return None
    lines = []
    for row, (name, (tokens, tags)) in enumerate(zip(named_items(task, split, len(rows)), rows, strict=True)):
        said = [task.classes[tag] for tag in found.tags[row]]
        lines.append([name, *map(set_cell, (tokens, tags, said))])
    return ["item", "tokens", "tags", "predicted"], lines


def _options(task: Task, split: str, found: Answers) -> Table | None:
    offered = task.offered(split)
    if not offered or len(offered) != len(found.items):
        return None
    names = named_items(task, split, len(offered))
    lines = [
        [name, question, *option_cells(options, item)]
        for name, (question, options), item in zip(names, offered, found.items, strict=True)
    ]
    most = sum(column.startswith("p_") for column in found.columns)
    return ["item", "question", "label", *option_columns(most)], lines
