"""Conversations as token ids with the tokens that are trained on, encoded once and cached.

Shapes: B conversations in a batch, L tokens, T trained tokens, S tokens of a prompt.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from harness.config import ConfigError
from harness.system import assets
from harness.system.paths import listed
from harness.task.base import Inputs, Piece
from harness.task.chat_template import EXAMPLE, ChatTemplate, Span, TemplateProblem, not_begun
from harness.task.ignored import IGNORED
from harness.task.intake.chats import Message, as_text
from harness.task.ragged import cached, starts_of
from harness.task.seq2seq_inputs import Ragged, padded_right

_JOINED_ALLOWED = 0.01
_FORM = b"2"  # of what is cached

TrainOn = Literal["assistant", "last", "all"]


@dataclasses.dataclass(frozen=True)
class ChatSplit:
    """Conversations in a fixed order, what the rows are called, and each one's last answer."""

    conversations: tuple[tuple[Message, ...], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.conversations)

    @property
    def answers(self) -> tuple[str, ...]:
        """The last message of the assistant in each conversation."""
        return tuple(messages[-1]["content"] for messages in self.conversations)


@dataclasses.dataclass(frozen=True)
class ChatInputs(Inputs):
    """Conversations as a model reads them. `trained` is 1 at tokens that are trained on, `prompts` are what the last
    answer of each is generated from, `wanted` what follows on them, not cut. `turn_end`, where there is one, ends an
    answer in the template, `end` any text. `warnings` are lines on what should be looked at.
    """

    ids: Ragged
    trained: Ragged
    prompts: Ragged
    wanted: Ragged
    pad: int
    end: int
    turn_end: int | None
    template: ChatTemplate
    cut: dict[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def lengths(self) -> np.ndarray:
        return self.ids.lengths

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The ids and mask (B, L), labels (B, T), IGNORED beyond a row's own, the `places` of their logits among the L;
        prompt_ids (B, S), how many of them are a row's own in `prompt` (B), and `rows` (B).
        """
        ids = [self.ids.row(index) for index in rows]
        places = [np.flatnonzero(self.trained.row(index)) for index in rows]
        prompts = [self.prompts.row(index) for index in rows]
        return {
            "ids": padded_right([row[:-1] for row in ids], self.pad),
            "mask": padded_right([np.ones(len(row) - 1, dtype=np.int64) for row in ids], 0),
            "labels": padded_right([row[at] for row, at in zip(ids, places, strict=True)], IGNORED),
            "places": padded_right([at - 1 for at in places], 0),
            "prompt_ids": padded_right(prompts, self.pad),
            "prompt": torch.tensor([len(prompt) for prompt in prompts]),
            "rows": torch.tensor(list(rows)),
        }

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end an answer."""
        return (self.end,) if self.turn_end in (None, self.end) else (self.end, self.turn_end)

    def truncated(self) -> dict[str, int]:
        return self.cut

    def token_rows(self) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        return ((self.ids.ids, self.ids.starts),)

    def texts(self, written: Tensor) -> list[str]:
        """The texts of rows of generated ids, each up to what ends it."""
        ended = [next((n for n, index in enumerate(row) if index in self.ends), len(row)) for row in written.tolist()]
        return [self.template.tokenizer.decode(row[:end]) for row, end in zip(written.tolist(), ended, strict=True)]

    def wanted_texts(self, answers: Sequence[str]) -> list[str]:
        """Return the answers as the template formats them, which may trim or prefix them: the expected generations."""
        return [self.texts(torch.tensor(self.wanted.row(row))[None])[0] for row in range(len(answers))]

    def example(self, row: int) -> list[Piece]:
        return [("".join(tokens), learned) for tokens, learned in self._runs(row)]

    def shown(self) -> list[str]:
        count, total = int(self.trained.ids.sum()), len(self.trained.ids)
        said = [
            f"chat template: {self.template.description}",
            f"trained on: {count} of {total} tokens ({count / total:.0%})",
        ]
        said += [f"to be looked at: {line}" for line in self.warnings]
        return [*said, "the first conversation, tokens parted by |, what is trained on in [[ ]]:", "", *self._marked(0)]

    def _marked(self, row: int) -> list[str]:
        runs = ((f"[[{'|'.join(tokens)}]]" if learned else "|".join(tokens)) for tokens, learned in self._runs(row))
        return "|".join(runs).split("\n")

    def _runs(self, row: int) -> list[tuple[list[str], bool]]:
        """The tokens of a row one after another, as far as they are learned or not."""
        trained, ids = self.trained.row(row), self.ids.row(row).tolist()
        borders = [0, *(np.flatnonzero(np.diff(trained)) + 1).tolist(), len(trained)]
        shown = self.template.tokenizer.shown
        return [([shown(each) for each in ids[start:end]], bool(trained[start])) for start, end in pairwise(borders)]


def encode_chats(
    split: ChatSplit,
    template: ChatTemplate,
    *,
    pad: int,
    end: int,
    train_on: TrainOn,
    longer: Literal["cut", "refuse"],
    max_length: int,
) -> ChatInputs:
    """Conversations written by the template and tokenised, or read from the cache; `end` ends whatever is written.

    Raises ConfigError, with the rows, where the template cannot write one or its tokens cannot be told apart.
    """
    key = hashlib.sha256(_FORM)
    for part in (assets.sha256_of(template.file), template.jinja, repr(sorted(template.names.items()))):
        key.update(part.encode() + b"\0")
    key.update(repr((split.conversations, train_on, longer, max_length)).encode())
    if template.arguments:
        key.update(repr(sorted(template.arguments.items())).encode())
    arrays = cached("tokens", key.hexdigest(), lambda: _encoded(split, template, train_on, longer, max_length))
    ids, trained, prompts, wanted = (
        Ragged(arrays[name], arrays[f"{starts}starts"])
        for name, starts in (("ids", ""), ("trained", ""), ("prompts", "prompt_"), ("wanted", "wanted_"))
    )
    cut = {name: int(count) for name, count in zip(("turns", "answers"), arrays["cut"], strict=True)}
    turn_end = end_of_turn(template)
    warnings = tuple(_warnings(template, turn_end, *(int(arrays[name]) for name in ("joined", "special"))))
    return ChatInputs(ids, trained, prompts, wanted, pad, end, turn_end, template, cut, warnings)


def _warnings(template: ChatTemplate, turn_end: int | None, joined: int, special: int) -> Iterator[str]:
    if turn_end is None:
        yield "no special token ends an answer: generated answers run to task.max_new_tokens"
    if "strftime_now" in template.jinja:
        yield "the template writes the day's date; task.template=FILE can write a fixed one"
    if joined:
        yield f"the last answers of {joined} conversations follow on other tokens than those they are generated from"
    if special:
        yield f"special tokens of the tokenizer stand in the text of {special} conversations"


def end_of_turn(template: ChatTemplate) -> int | None:
    """The id of the special token that ends the assistant's turns in a template; None where none does."""
    try:
        text, spans = template.spans(EXAMPLE)
    except TemplateProblem:
        return None
    ids, offsets = template.tokenizer.pieces(text)
    inside = np.array(ids)[_inside(offsets, spans)].tolist()
    marks = [index for index in inside if template.tokenizer.token(index) in template.tokenizer.special]
    return marks[-1] if marks else None


def _inside(offsets: Sequence[Span], spans: Sequence[Span]) -> np.ndarray:
    """Return which tokens have characters of the spans."""
    starts, ends = np.array(offsets).reshape(-1, 2).T
    found = np.zeros(len(starts), dtype=bool)
    for first, last in spans:
        found |= (starts < last) & (np.maximum(ends, starts + 1) > first)
    return found


@dataclasses.dataclass(frozen=True)
class _Row:
    """One conversation as tokens, and what was done to it."""

    ids: list[int]
    trained: np.ndarray
    prompt: list[int]
    wanted: list[int]
    turns_left_out: bool
    cut: bool
    joined: bool


class _TooLong(Exception):
    """A conversation does not fit, or nothing that is trained on would be left of it."""


def _encoded(
    split: ChatSplit, template: ChatTemplate, train_on: TrainOn, longer: str, max_length: int
) -> dict[str, np.ndarray]:
    """The arrays of a split. Raises ConfigError with the rows that cannot be written, or do not fit."""
    rows: list[_Row] = []
    problems: dict[str, list[str]] = {}
    for name, messages in zip(split.names, split.conversations, strict=True):
        try:
            rows.append(_row(template, messages, train_on, longer, max_length))
        except TemplateProblem as error:
            problems.setdefault(f"task.template: the chat template, {template.description}: {error}", []).append(name)
        except _TooLong as error:
            problems.setdefault(f"task.max_length={max_length}: {error}", []).append(name)
    joined = [name for name, row in zip(split.names, rows, strict=False) if row.joined]
    if not problems and len(joined) > _JOINED_ALLOWED * len(rows):
        rule = (
            "the tokens before an answer are others once it follows, so that it would be generated from what was not "
            "trained on; a prompt that ends in no blank or line break, or answers that begin with none"
        )
        problems[f"task.template: the chat template, {template.description}: {rule}"] = joined
    if problems:
        raise ConfigError(*(f"{said} ({len(at)} conversations: {listed(at)})" for said, at in problems.items()))
    return {
        "ids": np.concatenate([np.array(row.ids, dtype=np.int32) for row in rows]),
        "trained": np.concatenate([row.trained for row in rows]).astype(np.int8),
        "starts": starts_of([row.ids for row in rows]),
        "prompts": np.concatenate([np.array(row.prompt, dtype=np.int32) for row in rows]),
        "prompt_starts": starts_of([row.prompt for row in rows]),
        "wanted": np.concatenate([np.array(row.wanted, dtype=np.int32) for row in rows]),
        "wanted_starts": starts_of([row.wanted for row in rows]),
        "cut": np.array([sum(row.turns_left_out for row in rows), sum(row.cut for row in rows)]),
        "joined": np.array(len(joined)),
        "special": np.array(sum(template.tokenizer.holds_special(as_text(chat)) for chat in split.conversations)),
    }


def _row(template: ChatTemplate, messages: Sequence[Message], train_on: TrainOn, longer: str, max_length: int) -> _Row:
    kept = messages
    ids, trained, text = _tokens(template, kept, train_on)
    while len(ids) > max_length and longer == "cut" and (shorter := _without_first_exchange(kept)):
        kept = shorter
        ids, trained, text = _tokens(template, kept, train_on)
    if not trained.any():
        if len(kept) < len(messages):
            raise _TooLong("every turn that is left is of weight 0; raise task.max_length")
        raise TemplateProblem("it marks nothing as generated")
    cut = len(ids) > max_length
    if cut and longer == "refuse":
        raise _TooLong("longer conversations; task.longer=cut leaves their first turns out, and cuts what is left")
    asked = template.text(kept[:-1], prompt=True)
    prompt, _ = template.tokenizer.pieces(asked)
    if cut and (len(prompt) >= max_length or not trained[:max_length].any()):
        raise _TooLong("no token of the last answer fits behind what stands before it; raise task.max_length")
    if not text.startswith(asked):
        raise TemplateProblem(f"the last turn {not_begun(asked, text)}")
    joined = ids[: len(prompt)] != prompt
    wanted = template.tokenizer.pieces(text[len(asked) :])[0] if joined else ids[len(prompt) :]
    return _Row(ids[:max_length], trained[:max_length], prompt, wanted, len(kept) < len(messages), cut, joined)


def _tokens(
    template: ChatTemplate, messages: Sequence[Message], train_on: TrainOn
) -> tuple[list[int], np.ndarray, str]:
    """The ids of a conversation, which are trained on, and its text."""
    if train_on == "all":
        template.check_end()
        text = template.text(messages)
        ids, _ = template.tokenizer.pieces(text)
        return ids, np.arange(len(ids)) > 0, text  # nothing stands before the first, of which it could be foretold
    text, spans = template.spans(messages, last=train_on == "last")
    ids, offsets = template.tokenizer.pieces(text)
    trained = _inside(offsets, spans)
    trained[:1] = False
    return ids, trained, text


def _without_first_exchange(messages: Sequence[Message]) -> Sequence[Message] | None:
    """From the second turn of the user on, behind the system prompt; None where there is one exchange alone."""
    start = 1 if messages[0]["role"] == "system" else 0
    turns = [place for place, message in enumerate(messages) if message["role"] == "user" and place > start]
    return (*messages[:start], *messages[turns[0] :]) if turns else None


def encode_prompts(
    conversations: Sequence[Sequence[Message]], template: ChatTemplate, *, pad: int, end: int, max_length: int
) -> ChatInputs:
    """Conversations to be answered. Conversations longer than `max_length` lose their first turns.

    Raises ConfigError, with the numbers of the rows, where the template cannot write one, or it does not fit.
    """
    rows, problems = [], []
    for number, messages in enumerate(conversations, 1):
        try:
            rows.append(_prompt(template, messages, max_length))
        except (TemplateProblem, _TooLong) as error:
            problems.append(f"input: conversation {number}: {error}")
    if problems:
        raise ConfigError(*problems[:10])
    ids = Ragged(np.array([index for row in rows for index in row], dtype=np.int32), starts_of(rows))
    nothing = Ragged(np.zeros_like(ids.ids), ids.starts)
    return ChatInputs(ids, nothing, ids, nothing, pad, end, end_of_turn(template), template, {})


def _prompt(template: ChatTemplate, messages: Sequence[Message], max_length: int) -> list[int]:
    kept: Sequence[Message] | None = messages
    while kept is not None:
        ids, _ = template.tokenizer.pieces(template.text(kept, prompt=True))
        if len(ids) <= max_length:
            return ids
        kept = _without_first_exchange(kept)
    raise _TooLong(f"its last exchange alone has more than task.max_length={max_length} tokens")
