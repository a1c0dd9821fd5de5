"""Predictions of a token-tagging trial for rows of no split."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.config import ConfigError
from harness.devices import resolve_device
from harness.model import model_tokens
from harness.task.intake.asked import asked_lines, asked_table, decoded, refuse_gaps
from harness.task.intake.token_cells import is_text, sentences
from harness.task.intake.tokens import CONLLU, has_lines, list_of_tokens, read_lines
from harness.task.intake.word_columns import Rows, place_of_words
from harness.task.token_inputs import encode_tokens
from harness.trial.predict import tell_unread
from harness.trial.trained import Trained, load_trained

_BATCH = 64


def read_rows(trained: Trained, path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """The rows of a file by name: lists of tokens of a table, tokens of a file of one a line, or of a .txt the words of
    each line, parted by blanks, unless the trial's own data were a .txt of a token a line.

    Raises ConfigError where it has none, and where it cannot be read.
    """
    task = vars(trained.config.task)
    encoding, kind = task.get("encoding"), path.suffix.lower()
    if kind == ".txt" and Path(task.get("data") or "").suffix.lower() != ".txt":
        rows = [(str(number), tuple(line.split())) for number, line in asked_lines(path, encoding).items()]
    elif has_lines(path, (name := str(task.get("tokens", "tokens")),)):
        found, _ = read_lines("input", path, decoded(path, encoding)[1])
        words = 0 if kind == CONLLU else _place_of_words(path, found, str(task.get("tokens", "tokens")))
        rows = [(name, tuple(line.cells[words] for line in lines)) for name, lines in found]
    else:
        rows = _of_table(task, path, name)
    if not rows:
        raise ConfigError(f"input={path}: no tokens in it")
    refuse_gaps(path, {row: "no tokens" for row, tokens in rows if not tokens})
    return rows


def _of_table(task: Mapping[str, Any], path: Path, name: str) -> list[tuple[str, tuple[str, ...]]]:
    """Lists of a column, its texts parted at blanks; or sentences, as in the trial's own data."""
    sentence, where = task.get("sentence"), f"input={path}"
    wanted = (name,) if sentence is None else (name, sentence)
    table = asked_table(
        path, wanted, encoding=task.get("encoding"), separator=task.get("separator"), columns=task.get("columns")
    )
    cells = list(table.column("task.tokens", name).items())
    if sentence is not None:
        parts = sentences(where, table, sentence, task.get("group"))
        cells = [(cells[places[0]][0], [cells[place][1] for place in places]) for places in parts]
    parted = [(row, cell.split() if is_text(cell) else cell) for row, cell in cells]
    return [(str(row), list_of_tokens(cell, f"{where}: row {row}", name)) for row, cell in parted]


def _place_of_words(path: Path, rows: Rows, asked: str) -> int:
    """Return the position of the word in a line, found as in the trial's own files; a line may have no tag."""
    if all(len(line.cells) == 1 for _, lines in rows for line in lines):
        return 0
    return place_of_words(f"input={path}", rows, asked, tagged=False)


@torch.no_grad()
def predict_tags(
    trained: Trained, rows: Sequence[Sequence[str]], names: Sequence[str] = ()
) -> list[list[tuple[str, float | None]]]:
    """The tag of each token of each row and its probability; of tokens that are not read the usual tag, and None.

    A warning lists rows that the tokenizer does not know by their `names`, or numbered from 1.
    """
    tokens = model_tokens(trained.config.model)
    assert tokens is not None
    assert tokens.tokenizer is not None
    device = resolve_device(trained.config.trainer.accelerator, 1)
    network = load_trained(trained).to(device)
    always = trained.entry.data.details.get("majority", {})
    usual = always.get("class", trained.classes[0]) if isinstance(always, dict) else trained.classes[0]
    length = vars(trained.config.task)["max_length"]
    inputs = encode_tokens(rows, [[0] * len(row) for row in rows], tokens.tokenizer, length, tokens.pad)
    tell_unread(inputs, tokens, names)
    order = sorted(range(len(rows)), key=lambda row: int(inputs.lengths[row]))
    found: dict[int, list[tuple[str, float | None]]] = {}
    for start in range(0, len(order), _BATCH):
        batch = inputs.batch(order[start : start + _BATCH])
        shares = network({name: tensor.to(device) for name, tensor in batch.items()}).float().softmax(-1).cpu()
        for row, places, share_LC in zip(batch["rows"].tolist(), batch["places"].tolist(), shares, strict=True):
            best = share_LC.max(-1)
            found[row] = [
                (trained.classes[int(best.indices[place])], float(best.values[place])) if place >= 0 else (usual, None)
                for place in places
                if place > -2
            ]
    return [found[row] for row in range(len(rows))]


def write_tags(trained: Trained, source: Path, target: Path) -> None:
    """A CSV file with a line for each token: item (its row), token, the predicted tag and its probability."""
    rows = read_rows(trained, source)
    said = predict_tags(trained, [tokens for _, tokens in rows], [name for name, _ in rows])
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.part")
    with open(scratch, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["item", "token", "predicted", "p"])
        for (name, tokens), tags in zip(rows, said, strict=True):
            for token, (tag, share) in zip(tokens, tags, strict=True):
                table.writerow([name, token, tag, "" if share is None else f"{share:.6f}"])
    scratch.replace(target)
