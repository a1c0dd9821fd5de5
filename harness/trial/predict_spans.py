"""Predictions of an extractive question answering trial for the questions of a file."""

from pathlib import Path
from typing import Any, cast

import torch

from harness.config import ConfigError, ExtractiveQaConfig
from harness.devices import resolve_device
from harness.model import model_tokens
from harness.task.answer_spans import find_spans
from harness.task.intake.asked import asked_table, refuse_gaps, tell_gap_words
from harness.task.intake.quoted import in_rows
from harness.task.own_qa import gap_in, read_asked
from harness.task.qa_inputs import Question, encode_questions
from harness.task.qa_metrics import characters
from harness.trial.inputs import loader
from harness.trial.passes import on_device
from harness.trial.predict import tell_unread, write_table
from harness.trial.trained import Trained, load_trained

_BATCH = 32


def write_spans(trained: Trained, source: Path, target: Path) -> None:
    """A CSV file: item (the row, or the question's own id), the question, its answer, the probability of that, the
    first character of it and the one after its last, and, where a question may have none, the probability of no answer.

    Raises ConfigError for what cannot be read.
    """
    questions = read_questions(cast(ExtractiveQaConfig, trained.config.task), source)
    answers = answer(trained, questions, f"input={source}")
    columns = ["item", "question", "answer", "p", "begin", "end", *(["p_none"] if may_be_none(trained) else [])]
    rows = [[question.name, question.text, *said] for question, said in zip(questions, answers, strict=True)]
    write_table(target, columns, rows)


def may_be_none(trained: Trained) -> bool:
    """Return whether questions of its training split had no answer."""
    counts = trained.entry.data.details.get("unanswerable")
    return isinstance(counts, dict) and bool(counts.get("train"))


def read_questions(config: ExtractiveQaConfig, path: Path) -> list[Question]:
    """The questions of a file, as the task reads them; it needs no answers. Raises ConfigError where there are none."""
    where = f"input={path}"
    table = in_rows(
        where, asked_table(path, encoding=config.encoding, separator=config.separator, columns=config.columns)
    )
    asked = read_asked(config, where, table, answered=False)
    gaps = {row.name: gap_in(row, answered=False) for row in asked}
    refuse_gaps(path, {name: gap for name, gap in gaps.items() if gap})
    tell_gap_words(path, [(row.name, text) for row in asked for text in (row.text, row.context)])
    if not asked:
        raise ConfigError(f"{where}: no questions in it")
    return [Question(row.id or row.name, row.text, row.context, ()) for row in asked]


@torch.no_grad()
def answer(trained: Trained, questions: list[Question], where: str) -> list[list[Any]]:
    """Return, for each question, its answer, the probability, start and end, and the probability of no answer if that
    is possible.

    The text and the place of no answer are empty.
    """
    tokens, task = model_tokens(trained.config.model), cast(ExtractiveQaConfig, trained.config.task)
    if tokens is None or tokens.tokenizer is None:
        raise ConfigError(f"study={trained.entry.study}: task={task.name}: its tokenizer was learned")
    inputs = encode_questions(
        questions,
        tokens,
        max_length=task.max_length,
        stride=task.stride,
        lost=task.lost,
        where=where,
        longest=task.max_answer,
    )
    tell_unread(inputs, tokens, [question.name for question in questions])
    device, none = resolve_device(trained.config.trainer.accelerator, 1), may_be_none(trained)
    network = load_trained(trained).to(device)
    said: dict[int, list[Any]] = {}
    for batch in loader(inputs, _BATCH, 0, training=False):
        there = on_device(batch, device)
        found = find_spans(network(there), there, task.max_answer, may_be_none=none)
        figures = zip(
            characters(found, there).tolist(), found.probability.tolist(), found.nothing.tolist(), strict=True
        )
        for row, ((begin, end), share, nothing) in zip(batch["rows"].tolist(), figures, strict=True):
            text = questions[row].context[begin:end] if begin >= 0 else ""
            place = [begin, end] if begin >= 0 else ["", ""]
            said[row] = [text, f"{share:.6f}", *place, *([f"{nothing:.6f}"] if none else [])]
    return [said[row] for row in range(len(questions))]
