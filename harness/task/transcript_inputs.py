"""Recordings as samples and their transcripts as token ids, for models that write what they hear.

Shapes: B recordings in a batch, N samples of the longest, T tokens of the longest transcript, P of a prompt.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harness.config import ConfigError, Tokens
from harness.system.paths import listed
from harness.task.base import Inputs
from harness.task.ctc import frames_needed, frames_of
from harness.task.seq2seq_inputs import IGNORED, padded_right
from harness.task.sound import SoundSplit
from harness.task.tokenizers import TextTokenizer, load_tokenizer

_LEAST = 400  # samples: a network is given silence where there are fewer


@dataclasses.dataclass(frozen=True)
class TranscriptInputs(Inputs):
    """A split as an encoder with a decoder reads it; `start` are the ids before each text: of the start, the prompt."""

    sound: SoundSplit
    targets: tuple[np.ndarray, ...]
    start: tuple[int, ...]
    pad: int
    end: int
    tokenizer: TextTokenizer
    cut: int

    @property
    def lengths(self) -> np.ndarray:
        return self.sound.lengths

    @property
    def padding(self) -> dict[str, int]:
        return {"labels": IGNORED, "decoder_ids": self.pad}

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """`samples` (B, N) and their `lengths` (B); `decoder_ids` and labels (B, P + T), IGNORED where the prompt is
        told and on padding; `prompt` (B), the ids before the text.
        """
        told, start = [IGNORED] * (len(self.start) - 1), np.array(self.start)
        targets = [self.targets[row] for row in rows]
        return self.sound.batch(rows) | {
            "decoder_ids": padded_right([np.concatenate([start, ids[:-1]]) for ids in targets], self.pad),
            "labels": padded_right([np.concatenate([told, ids]) for ids in targets], IGNORED),
            "prompt": torch.full((len(targets),), len(self.start)),
        }

    def truncated(self) -> dict[str, int]:
        return {"target": self.cut}

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end a text beside the model's own: none."""
        return ()

    def texts(self, written: Tensor) -> list[str]:
        """The texts of rows of generated ids, each up to its end token."""
        end = self.end
        return [self.tokenizer.decode(row[: row.index(end)] if end in row else row).strip() for row in written.tolist()]


@dataclasses.dataclass(frozen=True)
class SpelledInputs(Inputs):
    """A split as a network reads it that says a character, or `blank`, at each frame."""

    sound: SoundSplit
    targets: tuple[np.ndarray, ...]
    blank: int
    tokenizer: TextTokenizer

    @property
    def lengths(self) -> np.ndarray:
        return self.sound.lengths

    @property
    def padding(self) -> dict[str, int]:
        return {"labels": IGNORED}

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """`samples` (B, N) and their `lengths` (B); labels (B, T), IGNORED on padding; `blank` (B)."""
        targets = [self.targets[row] for row in rows]
        blank = torch.full((len(targets),), self.blank)
        return self.sound.batch(rows) | {"labels": padded_right(targets, IGNORED), "blank": blank}

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end a text: none."""
        return ()

    def texts(self, written: Tensor) -> list[str]:
        """The texts of rows of characters, padded with blanks."""
        return [self.tokenizer.decode([each for each in row if each != self.blank]) for row in written.tolist()]


def encode_transcripts(
    sound: SoundSplit, texts: Sequence[str], tokens: Tokens, max_target: int, where: str, names: Sequence[str]
) -> Inputs:
    """A split as a model of such tokens reads it; `names` are those of its recordings.

    Raises ConfigError, with `where`, for recordings that are longer than what the model hears of each, and for more
    tokens than it writes.
    """
    if long := [names[row] for row in sound.cut_rows]:
        assert sound.most is not None
        rule = "task.longest_s with task.gaps=leave_out leaves them out, model.window_s sets the window"
        said = f"the model hears {sound.most / sound.rate:g} s of each, and {len(long)} are longer ({listed(long)})"
        raise ConfigError(f"{where}: {said}; {rule}")
    assert tokens.tokenizer is not None
    if tokens.start is None:
        return _spelled(sound, texts, tokens, where, names)
    assert tokens.end is not None
    if tokens.most_tokens is not None and len(tokens.prompt) + max_target > tokens.most_tokens:
        room = tokens.most_tokens - len(tokens.prompt)
        raise ConfigError(f"task.max_target={max_target}: the model writes {room} tokens at most")
    tokenizer = load_tokenizer(tokens.tokenizer)
    written = tokenizer.targets(texts)
    targets = [np.array([*ids, tokens.end] if len(ids) < max_target else ids[:max_target]) for ids in written]
    return TranscriptInputs(
        sound=sound,
        targets=tuple(targets),
        start=(tokens.start, *tokens.prompt),
        pad=tokens.pad,
        end=tokens.end,
        tokenizer=tokenizer,
        cut=sum(len(ids) > max_target - 1 for ids in written),
    )


def _spelled(
    sound: SoundSplit, texts: Sequence[str], tokens: Tokens, where: str, names: Sequence[str]
) -> SpelledInputs:
    """The same of a network without a decoder. Raises ConfigError for what its frames are too few to say."""
    assert tokens.tokenizer is not None
    tokenizer = load_tokenizer(tokens.tokenizer)
    written = tokenizer.targets(texts)
    short = []
    for name, ids, samples in zip(names, written, np.diff(sound.starts).tolist(), strict=True):
        there = frames_of(max(samples, _LEAST), tokens.convolutions)
        if there < (needed := frames_needed(ids)):
            short.append(f"{name}: {there} frames, {needed} needed")
    if short:
        rule = "CTC says a character a frame at most; leave them out of the table, or use a base with a decoder"
        raise ConfigError(
            f"{where}: {len(short)} recordings are too short for their transcripts ({listed(short)}); {rule}"
        )
    return SpelledInputs(sound, tuple(np.array(ids, dtype=np.int64) for ids in written), tokens.pad, tokenizer)
