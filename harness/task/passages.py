"""General text as passages of equal length, and the tokens of them that are hidden from a masked language model.

Shapes: N passages, L tokens in each, M masked tokens in each.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import ConfigError
from harness.system import assets
from harness.task.ragged import cached

Passages = dict[str, np.ndarray]  # train and held_out, (N, L) each

_SHORTEST = 100  # characters; what is shorter in a JSON file is a name, not a document


def read_documents(path: Path) -> tuple[str, ...]:
    """The documents of a file: every long string of a JSON file in its order, or what blank lines part in a text."""
    content = path.read_text(encoding="utf-8")
    found = _strings(json.loads(content)) if path.suffix == ".json" else iter(content.split("\n\n"))
    return tuple(" ".join(text.split()) for text in found if len(text) >= _SHORTEST)


def _strings(node: Any) -> Iterator[str]:
    match node:
        case str():
            yield node
        case list():
            for item in node:
                yield from _strings(item)
        case dict():
            for item in node.values():
                yield from _strings(item)


def cut_passages(
    documents: Sequence[str], tokenizer_file: Path, special: tuple[str, str], *, length: int, share: float, seed: int
) -> Passages:
    """Passages of exactly `length` tokens, the `special` tokens at both ends; what a document has left over is dropped.

    A special token that is empty stands nowhere. Whole documents are held out, at random by `seed`, `share` of them;
    passages are shuffled. Raises ConfigError where there are too few.
    """
    key = hashlib.sha256()
    for part in (assets.sha256_of(tokenizer_file), repr((documents, special, length, share, seed))):
        key.update(part.encode() + b"\0")
    arrays = cached(
        "passages",
        key.hexdigest(),
        partial(_cut, documents, tokenizer_file, special, length=length, share=share, seed=seed),
    )
    if short := [name for name, rows in arrays.items() if not len(rows)]:
        raise ConfigError(
            f"probe.length={length}: the text has no passage of that many tokens for {' and '.join(short)}"
        )
    return arrays


def _cut(
    documents: Sequence[str], tokenizer_file: Path, special: tuple[str, str], *, length: int, share: float, seed: int
) -> Passages:
    from tokenizers import Tokenizer  # imported where it is needed: cached passages need no tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    first, last = ([tokenizer.get_vocab()[token]] if token else [] for token in special)
    draw = np.random.default_rng(seed)
    held = set(draw.permutation(len(documents))[: max(1, round(share * len(documents)))].tolist())
    rows: dict[str, list[list[int]]] = {"train": [], "held_out": []}
    for index, item in enumerate(tokenizer.encode_batch(list(documents), add_special_tokens=False)):
        inner = length - len(first) - len(last)
        pieces = [item.ids[at : at + inner] for at in range(0, len(item.ids) - inner + 1, inner)]
        rows["held_out" if index in held else "train"] += [[*first, *piece, *last] for piece in pieces]
    arrays = {name: np.array(found, dtype=np.int64).reshape(-1, length) for name, found in rows.items()}
    return {name: array[draw.permutation(len(array))] for name, array in arrays.items()}


def hidden_places(passages_NL: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Positions of the hidden tokens of each passage (N, M), drawn without replacement; never those at both ends."""
    count, inner = len(passages_NL), passages_NL.shape[1] - 2
    draw = np.random.default_rng(seed).random((count, inner))
    places: np.ndarray = 1 + np.argsort(draw, axis=1)[:, : max(1, round(share * inner))]
    return places
