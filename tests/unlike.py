"""Files of unlike tasks in the words of the tiny encoder: pairs, several labels, tags; no text is in two of them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny import BAD, FILLER, GOOD

WORDS = (*GOOD, *BAD, *FILLER)


def write_pairs(folder: Path, rows: int = 120) -> Path:
    """Two texts of seven words; whether both have a good word."""
    texts = _texts(2 * rows, 7)
    lines = [
        {"text": " ".join(one), "text_pair": " ".join(other), "label": int(_has(GOOD, one) and _has(GOOD, other))}
        for one, other in zip(texts[:rows], texts[rows:], strict=True)
    ]
    return _written(folder / "pairs.jsonl", lines)


def write_sets(folder: Path, rows: int = 120) -> Path:
    """Texts of six words; whether they have a good word, and a bad one."""
    lines = [
        {"text": " ".join(text), "good": int(_has(GOOD, text)), "bad": int(_has(BAD, text))} for text in _texts(rows, 6)
    ]
    return _written(folder / "sets.jsonl", lines)


def write_tags(folder: Path, rows: int = 120) -> Path:
    """Good words are names, with the bad word behind them where there is one."""
    lines = []
    for number in range(rows):
        name = [GOOD[number % 6], BAD[number // 6 % 6]][: 1 + number % 2]
        tokens = [FILLER[number % 11], FILLER[number // 11 % 11], *name, FILLER[number // 5 % 11], "town"]
        lines.append({"tokens": tokens, "tags": ["O", "O", *["B-NAME", "I-NAME"][: len(name)], "O", "O"]})
    return _written(folder / "tags.jsonl", lines)


def unlike_tasks(tree: Callable[..., dict[str, Any]], numbers: Path, folder: Path) -> dict[str, Any]:
    """The trees of tasks of classes, numbers, pairs, several labels and tags."""
    words = ["task.cut=drawn", "task.split_seed=0"]
    files = [f"task.data={make(folder)}" for make in (write_pairs, write_sets, write_tags)]
    return {
        "good": tree()["task"],
        "size": tree(*words, f"task.data={numbers}", "task.answer=number")["task"],
        "both": tree(*words, files[0], "task.text_pair=text_pair")["task"],
        "kinds": tree(*words, files[1], "task.answer=labels", "task.label=[good,bad]")["task"],
        "names": tree("task=token_labels", files[2], "task.duplicates=first")["task"],
    }


def _texts(count: int, length: int) -> list[list[str]]:
    draw, found = random.Random(length), dict[str, list[str]]()
    while len(found) < count:
        words = draw.sample(WORDS, length)
        found.setdefault(" ".join(words), words)
    return list(found.values())


def _has(kind: tuple[str, ...], text: list[str]) -> bool:
    return any(word in kind for word in text)


def _written(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
