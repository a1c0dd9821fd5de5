"""Predictions of a multiple-choice trial for the questions of a file, with the probability of each option."""

from pathlib import Path
from typing import Any, cast

import torch

from harness.config import ChoiceTaskConfig, ConfigError, with_breaks
from harness.devices import resolve_device
from harness.model import model_tokens
from harness.task.choice_inputs import ChoiceSplit, encode_choices
from harness.task.choice_metrics import ChoiceMetrics
from harness.task.intake.asked import asked_table, refuse_gaps
from harness.task.own_choices import gap_in, questions
from harness.trial.answers import option_cells, option_columns
from harness.trial.passes import on_device
from harness.trial.predict import tell_unread, write_table
from harness.trial.trained import Trained, load_trained

_BATCH = 16


def write_choices(trained: Trained, source: Path, target: Path) -> None:
    """A CSV file with each question and its row, the option that is likeliest, that by normalised likelihood, and the
    probability of each option by its place. Raises ConfigError for what cannot be read.
    """
    split = read_questions(cast(ChoiceTaskConfig, trained.config.task), source)
    most = max(map(len, split.options))
    rows = [
        [name, text, *option_cells(options, item)[1:]]  # which of them is right is not known
        for name, text, options, item in zip(
            split.names, split.questions, split.options, choose(trained, split), strict=True
        )
    ]
    write_table(target, ["item", "question", *option_columns(most)], rows)


def read_questions(config: ChoiceTaskConfig, path: Path) -> ChoiceSplit:
    """The questions of a file, as the task reads them; it needs no labels. Raises ConfigError where there are none."""
    where = f"input={path}"
    table = asked_table(path, encoding=config.encoding, separator=config.separator, columns=config.columns)
    found = questions(config, where, table, labelled=False)
    gaps = {row: gap_in(question, labelled=False) for row, question in found.items()}
    refuse_gaps(path, {row: gap for row, gap in gaps.items() if gap})
    if not found:
        raise ConfigError(f"{where}: no questions in it")
    texts, options = zip(*((each.text, each.options.texts) for each in found.values()), strict=True)
    return ChoiceSplit(texts, options, (0,) * len(found), tuple(map(str, found)))


@torch.no_grad()
def choose(trained: Trained, split: ChoiceSplit) -> list[list[Any]]:
    """Return the columns of ChoiceMetrics for each question. Raises ConfigError if the tokenizer was learned."""
    config, tokens = trained.config, model_tokens(trained.config.model)
    task = cast(ChoiceTaskConfig, config.task)
    if tokens is None or tokens.tokenizer is None:
        raise ConfigError(f"study={trained.entry.study}: task={task.name}: its tokenizer was learned")
    inputs = encode_choices(
        split, tokens, delimiter=with_breaks(task.delimiter), normalise_by=task.normalise_by, max_length=task.max_length
    )
    tell_unread(inputs, tokens, split.names)
    device = resolve_device(config.trainer.accelerator, 1)
    network, metrics = load_trained(trained).to(device), ChoiceMetrics(max(map(len, split.options))).to(device)
    rows: list[list[Any]] = []
    for start in range(0, len(split), _BATCH):
        batch = on_device(inputs.batch(range(start, min(start + _BATCH, len(split)))), device)
        rows += metrics.update(network(batch), batch).tolist()
    return rows
