"""Recordings as samples and their transcripts as token ids, for models that write what they hear.

Shapes: B recordings in a batch, N samples of the longest, T tokens of the longest transcript, P of a prompt.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.config import ConfigError, Tokens
from harness.system.paths import listed
from harness.task.base import UNSPELLED, Inputs, Piece
from harness.task.ctc import frames_needed, frames_of
from harness.task.error_rates import is_said
from harness.task.ignored import IGNORED
from harness.task.intake.held import shortened
from harness.task.seq2seq_inputs import padded_right
from harness.task.sound import SoundSplit
from harness.task.tokenizers import CharacterTokenizer, TextTokenizer, load_tokenizer

_LEAST = 400  # samples: a network is given silence where there are fewer


@dataclasses.dataclass(frozen=True)
class TranscriptInputs(Inputs):
    """A split as an encoder with a decoder reads it; `decoder_prefix` are the ids before each text, its prompt last."""

    sound: SoundSplit
    targets: tuple[np.ndarray, ...]
    decoder_prefix: tuple[int, ...]
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
        told, prefix = [IGNORED] * (len(self.decoder_prefix) - 1), np.array(self.decoder_prefix)
        targets = [self.targets[row] for row in rows]
        return self.sound.batch(rows) | {
            "decoder_ids": padded_right([np.concatenate([prefix, ids[:-1]]) for ids in targets], self.pad),
            "labels": padded_right([np.concatenate([told, ids]) for ids in targets], IGNORED),
            "prompt": torch.full((len(targets),), len(self.decoder_prefix)),
        }

    def truncated(self) -> dict[str, int]:
        return {"target": self.cut}

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end a text beside the model's own: none."""
        return ()

    def example(self, row: int) -> list[Piece]:
        """The transcript as it is taught."""
        ids = [each for each in self.targets[row].tolist() if each != self.end]
        return [(self.tokenizer.decode(ids), True)]

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
    tokenizer: CharacterTokenizer
    unspelled: Mapping[str, int]

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

    def truncated(self) -> dict[str, int]:
        """Count the texts that cannot be spelled as they are written, by how they differ."""
        return dict(self.unspelled)

    def example(self, row: int) -> list[Piece]:
        """The transcript as it is taught."""
        return [(self.tokenizer.shown(self.targets[row].tolist()), True)]

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end a text: none."""
        return ()

    def texts(self, written: Tensor) -> list[str]:
        """The texts of rows of characters, padded with blanks."""
        return [self.tokenizer.decode([each for each in row if each != self.blank]) for row in written.tolist()]


def encode_transcripts(
    sound: SoundSplit,
    texts: Sequence[str],
    tokens: Tokens,
    max_target: int,
    where: str,
    names: Sequence[str],
    normalise: str = "none",
) -> Inputs:
    """A split as a model of such tokens reads it; `names` are those of its recordings, `normalise` as texts are
    compared.

    Raises ConfigError, with `where`, for recordings that are longer than what the model hears of each, and for more
    tokens than it writes.
    """
    if long := [names[row] for row in sound.cut_rows]:
        assert sound.most is not None
        rule = "task.longest_s with task.gaps=leave_out leaves them out, model.window_s sets the window"
        said = f"the model hears {sound.most / sound.rate:g} s of each, and {len(long)} are longer ({listed(long)})"
        raise ConfigError(f"{where}: {said}; {rule}")
    assert tokens.tokenizer is not None
    if tokens.decoder_start is None:
        return _spelled(sound, texts, tokens, where, names, normalise)
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
        decoder_prefix=(tokens.decoder_start, *tokens.prompt),
        pad=tokens.pad,
        end=tokens.end,
        tokenizer=tokenizer,
        cut=sum(len(ids) > max_target - 1 for ids in written),
    )


def _spelled(
    sound: SoundSplit, texts: Sequence[str], tokens: Tokens, where: str, names: Sequence[str], normalise: str
) -> SpelledInputs:
    """A split as a network without a decoder reads it.

    Raises ConfigError for what its vocabulary lacks, and for what its frames are too few to say.
    """
    assert tokens.tokenizer is not None
    tokenizer = CharacterTokenizer(tokens.tokenizer)
    said = [respelled(text, tokenizer, normalise) for text in texts]
    lacking = {row: kept for row, text in enumerate(said) if (kept := [one for one in text if not tokenizer.has(one)])}
    if lacking and not tokens.of_training:
        raise ConfigError(f"{where}: {_lacking(lacking, names, normalise)}")
    changed = sum(one != text for one, text in zip(said, texts, strict=True))
    counts = {kind: count for kind, count in zip(UNSPELLED, (changed, len(lacking)), strict=True) if count}
    written = tokenizer.targets(said)
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
    return SpelledInputs(sound, tuple(np.array(ids, dtype=np.int64) for ids in written), tokens.pad, tokenizer, counts)


def _lacking(lacking: Mapping[int, Sequence[str]], names: Sequence[str], normalise: str) -> str:
    characters = listed(map(repr, sorted({each for found in lacking.values() for each in found})))
    rows = listed(shortened(names[row]) for row in lacking)
    ways = "model.head=fresh learns the characters of training, or write these texts in others"
    if normalise == "none":
        ways += "; task.normalise=plain leaves punctuation out"
    return f"vocab.json of the model lacks {characters} of {len(lacking)} transcripts ({rows}); {ways}"


def respelled(text: str, tokenizer: CharacterTokenizer, normalise: str) -> str:
    """A text without the punctuation that its vocabulary lacks and that is not compared either."""
    if normalise == "none":
        return text
    even = text if tokenizer.has("’") else text.replace("’", "'")
    kept = [one if tokenizer.has(one) or is_said(even, at) else " " for at, one in enumerate(even)]
    return "".join(kept)
