"""A tokenizer's reading of a task's texts: unknown tokens, and rows that become identical for a model."""

import dataclasses
import functools
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.config import ConfigError, Tokens
from harness.system.paths import listed
from harness.task.base import Inputs, Task
from harness.task.error_rates import is_said
from harness.task.intake.duplicates import contradictions
from harness.task.intake.held import shortened
from harness.task.tokenizers import tokenizer_files

_RULE = "task.unknown_tokens=allow trains on them all the same"  # of the user's own data
_LONG_WORD = 100  # letters, of which WordPiece reads no more
_UNREADABLE = 0.5  # of the tokens of a text, and of the texts of a split
_OFTEN = 0.1  # of the rows of a split that lose their ends
_LONGER = {
    "text": "task.max_length",
    "context": "task.max_length, or task.stride,",
    "source": "task.max_source",
    "target": "task.max_target",
    "question": "task.max_length",
    "answers": "task.max_length",
}
"""What reads more of a row, by what of it is cut."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """The share of each split's tokens that are unknown to the tokenizer, if any, and the warnings about rows."""

    unknown: Mapping[str, float]
    told: Sequence[str]

    def described(self) -> dict[str, object]:
        """Return the record's entry; empty if all tokens are known and all rows differ."""
        found = {"unknown_tokens": dict(self.unknown), "read": list(self.told)}
        return {name: value for name, value in found.items() if value}


@dataclasses.dataclass(frozen=True)
class _Counts:
    """The token counts of each row of a split, without special ones, and its unknown tokens."""

    own: np.ndarray
    unknown: np.ndarray

    @property
    def unknown_share(self) -> float:
        return float(self.unknown.sum() / max(1, self.own.sum()))

    @property
    def unreadable(self) -> np.ndarray:
        found: np.ndarray = self.unknown > _UNREADABLE * self.own
        return found


def read_by_tokenizer(
    task: Task, splits: Mapping[str, Inputs], tokens: Tokens | None, *, allow: bool = False
) -> Reading:
    """Read a task's texts with the model's tokenizer. Raises ConfigError if most texts of a split are unknown to it,
    unless the task's configuration is to `allow` it.
    """
    texts = {split: found for split, inputs in splits.items() if (found := inputs.token_rows())}
    told = [_replaced(tokens)] if tokens is not None and tokens.replaced else []
    told += _not_compared(task) if tokens is not None and tokens.of_training else []
    told += [said for split, inputs in splits.items() for said in _often_cut(split, inputs)]
    if tokens is None or tokens.tokenizer is None or not texts:
        return Reading({}, told)
    shares = dict[str, float]()
    for split, sides in texts.items():
        shares[split], unread, empty = _unread(sides, tokens)
        said = _said(split, shares[split], _named(task, split, unread), _named(task, split, empty))
        if not allow and (unread | empty).sum() > _UNREADABLE * len(unread):
            where = f"task={task.name} ({task.describe().get('source', '')})"
            raise ConfigError(f"{where}: {'; '.join(said)}; {_way(list(task.texts(split)))}; {_RULE}")
        told += said
    known = {split: share for split, share in shares.items() if share}
    return Reading(known, [*told, *_read_alike(task, splits)])


def _way(texts: Sequence[str]) -> str:
    """Return the setting for unknown texts: a word of over 100 letters is one unknown token, in any case."""
    long = sum(len(text) > _LONG_WORD and not re.search(r"\s", text.strip()) for text in texts)
    if 2 * long > len(texts):
        return f"these are words of over {_LONG_WORD} letters, as sequences are; part their letters by blanks"
    return "it takes a model of their language and script"


def _replaced(tokens: Tokens) -> str:
    how = "model.head=stored keeps it"
    return f"the base's own trained head of {tokens.replaced} characters is replaced by one of training's; {how}"


def _not_compared(task: Task) -> list[str]:
    """Return warnings about characters that a fresh head learns, and that are not compared: punctuation, and case."""
    described = task.describe()
    alphabet, normalise = str(described.get("alphabet", "")), described.get("normalise", "none")
    cases = "".join(one + one.lower() for one in alphabet if one != one.lower() and one.lower() in alphabet)
    marks = "".join(one for one in alphabet if one != "'" and not is_said(one, 0))
    if normalise == "none" or not (cases or marks):
        return []
    said = " and ".join(f"{what} ({found})" for what, found in (("both cases", cases), ("punctuation", marks)) if found)
    rule = f"task.normalise={normalise} ignores that; write transcripts in one case without punctuation"
    return [f"a fresh head learns {said} as characters of their own, and {rule}"]


def _often_cut(split: str, inputs: Inputs) -> list[str]:
    """Return warnings about rows that are longer than what is read of them, if these are more than a few."""
    cut = {kind: count for kind, count in inputs.truncated().items() if kind in _LONGER}
    return [
        f"{split}: {count} of {len(inputs)} rows are cut ({kind}); {_LONGER[kind]} reads more of them"
        for kind, count in cut.items()
        if count > _OFTEN * len(inputs)
    ]


def read_of_texts(inputs: Inputs, tokens: Tokens, names: Sequence[str] = ()) -> list[str]:
    """Return warnings about texts to be answered, by their names or numbered from 1."""
    if tokens.tokenizer is None or not (sides := inputs.token_rows()):
        return []
    share, unread, empty = _unread(sides, tokens)
    named = names or list(map(str, range(1, len(unread) + 1)))
    rows = [[named[row] for row in np.flatnonzero(chosen).tolist()] for chosen in (unread, empty)]
    return _said("input", share, *rows)


def _unread(sides: Sequence[tuple[np.ndarray, np.ndarray]], tokens: Tokens) -> tuple[float, np.ndarray, np.ndarray]:
    """The share of unknown tokens on the side that has most; of each row whether more than half are, or none there."""
    assert tokens.tokenizer is not None
    marks = _marks(tokens, *(path.stat().st_mtime_ns for path in tokenizer_files(tokens.tokenizer)))
    counts = [_counted(*side, *marks) for side in sides]
    unread = np.any([each.unreadable for each in counts], axis=0)
    return max(each.unknown_share for each in counts), unread, counts[0].own == 0


def _said(split: str, share: float, unread: Sequence[str], empty: Sequence[str]) -> list[str]:
    texts = f"; in {len(unread)} texts more than half (rows {listed(unread)})" if unread else ""
    lines = [f"{split}: {_percent(share)} of the tokens are unknown to the model's tokenizer{texts}"] if share else []
    return lines + (
        [f"{split}: {len(empty)} texts have no token for the model to read (rows {listed(empty)})"] if empty else []
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def _named(task: Task, split: str, chosen: np.ndarray) -> list[str]:
    """Return the names of rows: their place in a user's own file, else their name in tables, or their place in the
    split.
    """
    names = task.findings().kept.get(split) or task.names(split) or range(1, len(chosen) + 1)
    return [shortened(str(names[row])) for row in np.flatnonzero(chosen).tolist()]


def _counted(ids: np.ndarray, starts: np.ndarray, unknown: int | None, special: Sequence[int]) -> _Counts:
    found = [~np.isin(ids, special), ids == (-1 if unknown is None else unknown)]
    sums = [np.concatenate([[0], np.cumsum(each)]) for each in found]
    return _Counts(*(np.diff(each[starts]) for each in sums))


def _read_alike(task: Task, splits: Mapping[str, Inputs]) -> list[str]:
    """Return warnings about rows with different labels that are the same to a model: unknown words, or cut off."""
    keys, labels, names = list[Hashable](), list[Hashable](), list[str]()
    for split, inputs in splits.items():
        if mine := inputs.row_labels():
            labels += mine
            sides = [(ids, starts.tolist()) for ids, starts in inputs.token_rows()]
            keys += [
                tuple(ids[starts[row] : starts[row + 1]].tobytes() for ids, starts in sides) for row in range(len(mine))
            ]
            names += [f"{split} {name}" for name in _named(task, split, np.ones(len(mine), dtype=bool))]
    if not (found := contradictions(keys, labels)):
        return []
    said = listed(" and ".join(names[place] for place in places[:4]) for places in found.values())
    count = sum(map(len, found.values()))
    return [f"{count} rows with different labels are the same as the tokenizer reads them, {len(found)} times ({said})"]


@functools.lru_cache
def _marks(tokens: Tokens, *_: int) -> tuple[int | None, list[int]]:
    """The id of what a tokenizer does not know, None where it knows all or has another use for it; and special ids."""
    assert tokens.tokenizer is not None
    ours = {number for number in (tokens.pad, tokens.end, tokens.decoder_start, tokens.begin) if number is not None}
    unknown, special = _written(tokenizer_files(tokens.tokenizer))
    return None if unknown in ours else unknown, sorted((special | ours) - {unknown})


def _written(files: Sequence[Path]) -> tuple[int | None, set[int]]:
    """The id of unknown tokens and the ids of special ones, from the tokenizer's files."""
    found = json.loads(files[-1].read_text(encoding="utf-8"))
    if files[-1].name == "vocab.json":  # Marian's
        return found.get("<unk>"), set()
    added, model = found.get("added_tokens") or [], found["model"]
    special = {token["id"] for token in added if token.get("special")}
    if "unk_id" in model:
        return model["unk_id"], special
    ids = {token["content"]: token["id"] for token in added} | dict(model["vocab"])
    return ids.get(model.get("unk_token")), special
