"""Predictions of a trial's network for texts of no split.

Shapes: N texts, C classes.
"""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from harness.config import ConfigError, TaskConfig, Tokens, names_in
from harness.devices import resolve_device
from harness.model import model_tokens
from harness.task.answers import extraction
from harness.task.base import Inputs
from harness.task.batches import Split, encode
from harness.task.intake.asked import asked_lines, asked_table, refuse_gaps, tell_gap_words
from harness.task.intake.labels import is_gap
from harness.task.intake.table import Table
from harness.task.intake.text_lists import joined_lists
from harness.task.own_pairs import filled
from harness.task.reading import read_of_texts
from harness.task.seq2seq_inputs import Seq2seqSplit, SpecialTokens, encode_seq2seq
from harness.training import generate_texts
from harness.trial.answers import above_half, class_columns, set_cell
from harness.trial.trained import Trained, load_trained

_BATCH = 64
_LOG = logging.getLogger(__name__)


def read_texts(trained: Trained, path: Path) -> tuple[list[str], ...]:
    """The texts of a file, and the second texts where the task reads two a row: the columns that the task reads them
    from, else `text` and `text_pair`; of one text a row also the lines of a .txt.

    Raises ConfigError where the file has none.
    """
    names, keys = _columns_of(trained.config.task), vars(trained.config.task)
    encoding = keys.get("encoding")
    if path.suffix.lower() != ".txt":
        wanted = [column for name in names.values() for column in names_in(name)]
        separator, columns = keys.get("separator"), keys.get("columns")
        table = asked_table(path, wanted, encoding=encoding, separator=separator, columns=columns)
        table = joined_lists(table, names.values())
        sides = tuple(_side(table, path, key, name) for key, name in names.items())
    elif len(names) == 1:
        sides = (list(asked_lines(path, encoding).values()),)
    else:
        rule = f"reads two texts a row; a table of {' and '.join(names.values())} is expected"
        raise ConfigError(f"input={path}: task={trained.config.task.name} {rule}")
    if not sides[0]:
        raise ConfigError(f"input={path}: no texts in it")
    return sides


def _columns_of(task: TaskConfig) -> dict[str, str]:
    """The columns, or templates, of each text of a row, by key."""
    keys = vars(task)
    first = "source" if isinstance(keys.get("source"), str) else "text"
    return {key: str(keys.get(key) or key) for key in (first, *(["text_pair"] if task.reads_pairs else []))}


def _side(table: Table, path: Path, key: str, name: str) -> list[str]:
    """A column, or a template. Raises ConfigError for rows that lack it, or more of it than in training."""
    if key != "source" and "{" not in name:  # which training refuses where they are no texts
        for row, cell in table.column(f"task.{key}", name).items():
            if not isinstance(cell, str) and not is_gap(cell):
                said = f"{name} is {str(cell)[:40]!r} ({type(cell).__name__}), no text"
                raise ConfigError(f"input={path}: row {row}: {said}")
    texts = filled(table, f"task.{key}", name, gaps_allowed=key == "source")
    refuse_gaps(
        path, {row: f"no {name}" for row, text in zip(table.frame.index, texts, strict=True) if not text.strip()}
    )
    tell_gap_words(path, zip(table.frame.index, texts, strict=True))
    return texts


def predict(trained: Trained, texts: Sequence[str], pairs: Sequence[str] = ()) -> list[list[Any]]:
    """A row for each text, with its second one where the task reads two: the class and the probability of each, the
    number in the data's unit, or the text written.

    Raises ConfigError for a trial of another kind of task.
    """
    config = trained.config
    tokens = model_tokens(config.model)
    if tokens is None or tokens.tokenizer is None:
        raise ConfigError(
            f"study={trained.entry.study}: task={config.task.name} reads no texts, or its tokenizer was learned"
        )
    device = resolve_device(config.trainer.accelerator, 1)
    network = load_trained(trained).to(device)
    keys = vars(config.task)
    if config.task.known_outputs == 0:
        special = SpecialTokens(tokens.pad, cast(int, tokens.end), tokens.decoder_start, tokens.begin)
        sources = Seq2seqSplit(tuple(texts), tuple("" for _ in texts))
        longest = keys["max_target"]
        inputs = encode_seq2seq(
            sources,
            tokens.tokenizer,
            special,
            separator=tokens.separator,
            max_source=keys["max_source"],
            max_target=longest,
        )
        tell_unread(inputs, tokens)
        written = generate_texts(network, inputs, len(texts), max_new_tokens=longest, device=device)
        return with_answers(trained, written)
    split = Split(tuple(texts), tuple(0 for _ in texts), tuple(pairs))
    rows = encode(split, tokens.tokenizer, keys["max_length"], tokens.pad)
    tell_unread(rows, tokens)
    return answers_of(trained, logits_of(network, rows, len(texts), device))


def answers_of(trained: Trained, logits: Tensor) -> list[list[Any]]:
    """Return, for each row of logits (N, C), the class or the labels with the probability of each, or the number."""
    if trained.unit is not None:
        sd, mean = trained.unit
        return [[value * sd + mean] for value in logits.flatten().tolist()]
    if trained.several_labels:
        return [[set_cell(above_half(trained.classes, row)), *row] for row in logits.sigmoid().tolist()]
    shares = logits.softmax(1)
    return [[trained.classes[int(row.argmax())], *row.tolist()] for row in shares]


def tell_unread(inputs: Inputs, tokens: Tokens, names: Sequence[str] = ()) -> None:
    """Warn of rows, by their names or numbered from 1, that the tokenizer does not know."""
    for line in read_of_texts(inputs, tokens, names):
        _LOG.warning("%s", line)


def with_answers(trained: Trained, written: Sequence[str]) -> list[list[Any]]:
    """A row for each text that was written: itself and, where the task takes one out, the answer in it."""
    extract = extraction(trained.config.task.answer_taken)
    return [[text] if extract is None else [text, extract(text)] for text in written]


def answer_columns(trained: Trained) -> list[str]:
    """The names of these columns."""
    return ["written", *(["answer"] if trained.config.task.answer_taken is not None else [])]


@torch.no_grad()
def logits_of(network: torch.nn.Module, rows: Any, count: int, device: torch.device) -> Tensor:
    """The logits of all rows (N, C), computed in batches of rows of similar length."""
    order = sorted(range(count), key=lambda index: int(rows.lengths[index]))
    parts = []
    for start in range(0, count, _BATCH):
        batch = rows.batch(order[start : start + _BATCH])
        parts.append(network({name: tensor.to(device) for name, tensor in batch.items()}).float().cpu())
    logits = torch.cat(parts)
    found = torch.empty_like(logits)
    found[torch.tensor(order)] = logits
    return found


def write_predictions(
    trained: Trained, texts: Sequence[Sequence[str]], rows: Sequence[Sequence[Any]], path: Path
) -> None:
    """A CSV file: the text as item, or both of two; what was written, or predicted, and of classes each probability."""
    writes = trained.config.task.known_outputs == 0
    answers = answer_columns(trained) if writes else class_columns(trained.classes)
    head = [*(["item"] if len(texts) == 1 else ["text", "text_pair"]), *answers]
    write_table(path, head, [[*read, *row] for *read, row in zip(*texts, rows, strict=True)])


def write_of_texts(trained: Trained, source: Path, target: Path) -> None:
    """The same of the texts of a file."""
    texts = read_texts(trained, source)
    write_predictions(trained, texts, predict(trained, *texts), target)


def write_table(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A CSV file, which is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
    with open(scratch, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(head)
        table.writerows(rows)
    scratch.replace(path)
