"""Questions and their contexts as windows of a model's own tokens, with the answer's first and last token in each.

Shapes: B questions in a batch, N windows of all of them, L tokens of the longest window.
"""

import dataclasses
import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from harness.config import ConfigError, Tokens
from harness.system import assets
from harness.system.paths import listed
from harness.task.base import LOST, UNANSWERABLE, Inputs
from harness.task.ignored import IGNORED
from harness.task.ragged import cached, padded, starts_of
from harness.task.sampling import LengthBatches
from harness.task.tokenizers import FastTokenizer

_FEWEST = 2  # tokens of the context that a question has to leave room for
_BATCH = 1000
_UNSEEN = ("Cf", "Cc")  # categories of characters without a glyph: marks of direction, joiners, soft hyphens


@dataclasses.dataclass(frozen=True)
class Question:
    """A question, what it is asked about, and the right answers there: each as its text and where it begins.

    Without any it has no answer there. `name` is its place in its file, or its own id.
    """

    name: str
    text: str
    context: str
    answers: tuple[tuple[str, int], ...]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The texts of the right answers."""
        return tuple(text for text, _ in self.answers)


@dataclasses.dataclass(frozen=True)
class QaInputs(Inputs):
    """Windows end to end, where each starts, and the first one of each question.

    `spans` (tokens, 2) are the characters of the context that a token stands for, equal where it stands for none;
    `labels` (windows, 2) the first and the last token of an answer, 0 where it has none, −100 where it is not learned
    from. `cut` counts the questions whose answer or context is not read as a whole, by what is cut.
    """

    ids: np.ndarray
    types: np.ndarray
    spans: np.ndarray
    starts: np.ndarray
    firsts: np.ndarray
    labels: np.ndarray
    split: int
    pad_id: int
    cut: Mapping[str, int]
    tokenizer: Path

    @property
    def lengths(self) -> np.ndarray:
        """The tokens of all windows of a question, padding among them."""
        longest: np.ndarray = np.maximum.reduceat(np.diff(self.starts), self.firsts[:-1])
        return longest * np.diff(self.firsts)

    @property
    def padding(self) -> Mapping[str, int]:
        return {"ids": self.pad_id}

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return all windows: ids, mask, types and `context` (N, L), which tokens stand for characters of the context;
        `spans` (N, L, 2), these; labels (N, 2), and the place of their question in the batch (`question`, N). `rows`
        (B), and the number of the `split` (B) that they are of.
        """
        windows = [range(self.firsts[row], self.firsts[row + 1]) for row in rows]
        chosen = [window for each in windows for window in each]
        ids, mask = padded(self.ids, self.starts, chosen, self.pad_id)
        types, _ = padded(self.types, self.starts, chosen, 0)
        spans, _ = padded(self.spans, self.starts, chosen, 0)
        context = spans[..., 0] < spans[..., 1]
        found = {"ids": ids, "mask": mask, "types": types, "context": context, "spans": spans}
        return {name: torch.from_numpy(values.astype(np.int64)) for name, values in found.items()} | {
            "labels": torch.from_numpy(self.labels[chosen]),
            "question": torch.tensor(np.repeat(np.arange(len(windows)), list(map(len, windows)))),
            "rows": torch.tensor(list(rows)),
            "split": torch.full((len(windows),), self.split),
        }

    def batches(
        self, size: int, seed: int, *, shuffle: bool, process_index: int, world: int, rows: int | None
    ) -> Sampler[list[int]]:
        """In an evaluation by one process, as many questions as have `size` windows, one at least."""
        lengths = self.lengths[:rows]
        found = LengthBatches(lengths, size, seed, shuffle=shuffle, process_index=process_index, world=world)
        return found if shuffle or world > 1 else _Pieces(found, np.diff(self.firsts), size)

    def truncated(self) -> dict[str, int]:
        return dict(self.cut)

    def token_rows(self) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        return ((self.ids, self.starts[self.firsts]),)

    def shown(self) -> list[str]:
        """The first question with an answer as it is read, in the first window that holds that."""
        window = int(np.argmax(self.labels[:, 0] > 0))
        row = int(np.searchsorted(self.firsts, window, side="right")) - 1
        count = int(self.firsts[row + 1] - self.firsts[row])
        tokenizer, (first, last) = FastTokenizer(self.tokenizer), self.labels[window]
        pieces = [tokenizer.shown(index) for index in self.ids[self.starts[window] : self.starts[window + 1]].tolist()]
        if first > 0:
            pieces[first] = f"[[{pieces[first]}"
            pieces[last] = f"{pieces[last]}]]"  # which may be the same
        told = f"{count} windows" if count > 1 else "1 window"
        said = f"the first question with an answer, {told}, tokens parted by |, the answer in [[ ]]:"
        return [said, "", "|".join(pieces)]


class _Pieces(Sampler[list[int]]):
    """The batches of another sampler, parted so that each has so many windows at most."""

    def __init__(self, batches: LengthBatches, windows: np.ndarray, most: int) -> None:
        self.pieces = [piece for batch in batches for piece in _parted(batch, windows, most)]

    def __len__(self) -> int:
        return len(self.pieces)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.pieces)


def _parted(rows: Sequence[int], windows: np.ndarray, most: int) -> list[list[int]]:
    pieces: list[list[int]] = []
    room = 0
    for row in rows:
        room -= int(windows[row])
        if room < 0 or not pieces:
            pieces.append([])
            room = most - int(windows[row])
        pieces[-1].append(row)
    return pieces


def encode_questions(
    questions: Sequence[Question],
    tokens: Tokens,
    *,
    max_length: int,
    stride: int | None,
    lost: str,
    where: str,
    longest: int,
    split: int = 0,
) -> QaInputs:
    """Windows of questions and contexts, from the cache where they lie under the digest of all that shapes them.

    What is counted as cut has the questions none of whose answers has `longest` tokens or fewer.

    Raises ConfigError, which begins with `where`, with the rows, for questions that leave no room, and for answers
    that are whole in no window unless `lost` leaves them out.
    """
    assert tokens.tokenizer is not None
    key = hashlib.sha256(b"questions 3\0")
    read = [(question.text, question.context) for question in questions]
    for part in (assets.sha256_of(tokens.tokenizer), repr((max_length, stride)), repr(read)):
        key.update(part.encode() + b"\0")
    arrays = cached("tokens", key.hexdigest(), partial(_windows, read, tokens.tokenizer, max_length, stride))
    _refuse_long(questions, arrays["crowded"], where, max_length, stride)
    starts, firsts, spans = arrays["starts"], arrays["firsts"], arrays["spans"]
    labels = np.zeros((len(starts) - 1, 2), dtype=np.int64)
    unread, beyond = [], 0
    for row, question in enumerate(questions):
        mine = range(firsts[row], firsts[row + 1])
        for window in mine:
            labels[window] = _place(question.answers, spans[starts[window] : starts[window + 1]])
        of_mine = [spans[starts[window] : starts[window + 1]] for window in mine]
        is_read = bool(labels[mine.start : mine.stop].any())
        beyond += is_read and _shortest(question.answers, of_mine) > longest
        if question.answers and not labels[mine.start : mine.stop].any():
            labels[mine.start : mine.stop] = IGNORED
            unread.append(question.name)
    if unread and lost == "refuse":
        rule = (
            "task.max_length, or task.stride, has longer windows, or windows that share more"
            if stride is not None
            else "task.stride=128 reads on in further windows"
        )
        said = f"{len(unread)} answers are whole in no window of task.max_length={max_length} (rows {listed(unread)})"
        raise ConfigError(f"{where}: {said}; {rule}; task.lost=leave_out does not train on these rows")
    cut = {"context": int(arrays["cut"]), LOST: len(unread), UNANSWERABLE: int(beyond)}
    return QaInputs(
        ids=arrays["ids"],
        types=arrays["types"],
        spans=spans,
        starts=starts,
        firsts=firsts,
        labels=labels,
        split=split,
        pad_id=tokens.pad,
        cut={what: count for what, count in cut.items() if count},
        tokenizer=tokens.tokenizer,
    )


def _refuse_long(
    questions: Sequence[Question], crowded: np.ndarray, where: str, max_length: int, stride: int | None
) -> None:
    """Raise ConfigError for questions beside which a window has no room to move on."""
    if long := [question.name for question, is_long in zip(questions, crowded.tolist(), strict=True) if is_long]:
        beside = "" if stride is None else f" beside task.stride={stride}"
        said = f"{len(long)} questions leave fewer than {_FEWEST} tokens of their context{beside} (rows {listed(long)})"
        raise ConfigError(f"{where}: {said}; task.max_length={max_length} is too short for them")


def _place(answers: Sequence[tuple[str, int]], spans_L2: np.ndarray) -> tuple[int, int]:
    """The first and the last token of the first answer that a window holds whole; 0 and 0 where it holds none."""
    places = np.flatnonzero(spans_L2[:, 0] < spans_L2[:, 1])
    if not len(places):
        return 0, 0
    begins, ends = spans_L2[places, 0], spans_L2[places, 1]
    for text, begin in answers:
        end = begin + len(text)
        if end > ends[-1]:
            end = begin + _seen(text)
        first = int(np.searchsorted(ends, begin, side="right"))
        last = int(np.searchsorted(begins, end, side="left")) - 1
        if begins[0] <= begin and end <= ends[-1] and first <= last:  # characters may have no token at all
            return int(places[first]), int(places[last])
    return 0, 0


def _shortest(answers: Sequence[tuple[str, int]], windows: Sequence[np.ndarray]) -> int:
    """The tokens of the shortest answer that a window holds."""
    found = (_place([answer], spans_L2) for answer in answers for spans_L2 in windows)
    return min((last - first + 1 for first, last in found if first), default=0)


def _seen(text: str) -> int:
    """The length of a text without what has no glyph at its end, which tokenizers strip."""
    return max((at for at, each in enumerate(text, 1) if unicodedata.category(each) not in _UNSEEN), default=0)


def _windows(
    read: Sequence[tuple[str, str]], tokenizer_file: Path, max_length: int, stride: int | None
) -> dict[str, np.ndarray]:
    """All windows, and for each question whether its context takes several that have no room to move on."""
    from tokenizers import Tokenizer  # imported where it is needed: a cached split needs no tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    pieces: dict[str, list[np.ndarray]] = {"ids": [], "types": [], "spans": []}
    counts, crowded, cut = [], [], 0
    least = _FEWEST if stride is None else stride + _FEWEST
    for at in range(0, len(read), _BATCH):
        for found, (_, context) in zip(tokenizer.encode_batch(read[at : at + _BATCH]), read[at:], strict=False):
            own = np.flatnonzero([number == 1 for number in found.sequence_ids])
            begin, end = (int(own[0]), int(own[-1]) + 1) if len(own) else (len(found.ids), len(found.ids))
            there = max_length - (len(found.ids) - (end - begin))
            crowded.append(there < min(least, end - begin))
            size = max(there, (stride or 0) + 1)  # what has too little room is refused when all is counted
            parts = list(_parts(end - begin, size, stride))
            cut += stride is None and end - begin > size
            counts.append(len(parts))
            spans = _spans(found, context)
            whole = {"ids": np.array(found.ids), "types": np.array(found.type_ids), "spans": spans}
            for first, last in parts:
                kept = np.r_[0:begin, begin + first : begin + last, end : len(found.ids)]
                for name, values in whole.items():
                    pieces[name].append(values[kept])
    return {
        "ids": np.concatenate(pieces["ids"]).astype(np.int32),
        "types": np.concatenate(pieces["types"]).astype(np.int8),
        "spans": np.concatenate(pieces["spans"]).astype(np.int32),
        "starts": starts_of(pieces["ids"]),
        "firsts": np.cumsum([0, *counts]),
        "crowded": np.array(crowded, dtype=bool),
        "cut": np.array(cut),
    }


def _parts(count: int, size: int, stride: int | None) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of windows of `size` tokens, each but the first `stride` tokens before the end of the
    one before; without it the first alone.
    """
    begin = 0
    while True:
        end = min(begin + size, count)
        yield begin, end
        if stride is None or end == count:
            return
        begin = end - stride


def _spans(found: Any, context: str) -> np.ndarray:
    """The characters of the context that each token stands for, without the blanks before them; of others none.

    Marks that a tokenizer strips are of the token before them.
    """
    covered = np.zeros(len(context) + 1, dtype=bool)
    for number, (begin, end) in zip(found.sequence_ids, found.offsets, strict=True):
        covered[begin:end] |= number == 1
    spans = np.zeros((len(found.ids), 2), dtype=np.int64)
    for place, (number, (begin, end)) in enumerate(zip(found.sequence_ids, found.offsets, strict=True)):
        if number != 1:
            continue
        while begin < end and context[begin].isspace():  # some pieces hold the blank before them
            begin += 1
        if begin < end:
            spans[place] = begin, _with_marks(context, end, covered)
    return spans


def _with_marks(context: str, end: int, covered: np.ndarray) -> int:
    """Return the end of a token with the following marks that no token has, also after characters without a glyph."""
    at = end
    while at < len(context) and not covered[at] and not context[at].isspace():
        kind = unicodedata.category(context[at])
        at += 1
        if kind in ("Mn", "Mc", "Me"):
            end = at
        elif kind not in _UNSEEN:
            break
    return end
