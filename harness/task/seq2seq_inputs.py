"""Source and target texts as token ids, encoded once and cached; batches for causal and encoder-decoder models.

Shapes: B pairs in a batch, S source tokens, T target tokens, L tokens of both.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.system import assets
from harness.task.base import Inputs, Piece
from harness.task.ignored import IGNORED
from harness.task.ragged import cached, starts_of
from harness.task.tokenizers import TextTokenizer, load_tokenizer, tokenizer_files


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """The ids that a model sets around texts: padding, the end, and what a decoder starts from.

    `decoder_start` null: a causal model, which reads source and target as one sequence. `begin`, where there is one,
    stands before every source, and before every target that has a sequence of its own.
    """

    pad: int
    end: int
    decoder_start: int | None
    begin: int | None = None


@dataclasses.dataclass(frozen=True)
class Seq2seqSplit:
    """Sources, as a model reads them, and their targets, in a fixed order."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """The targets."""
        return self.targets

    def __len__(self) -> int:
        return len(self.sources)


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Rows of token ids, end to end, and where each starts."""

    ids: np.ndarray
    starts: np.ndarray

    def row(self, index: int) -> np.ndarray:
        """The ids of one row."""
        return self.ids[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Ids of each row."""
        return np.diff(self.starts)


@dataclasses.dataclass(frozen=True)
class Seq2seqInputs(Inputs):
    """A split as a model reads it; `cut` counts the sources and targets that were cut at their longest."""

    sources: Ragged
    targets: Ragged
    special: SpecialTokens
    tokenizer: TextTokenizer
    references: tuple[str, ...]
    cut: dict[str, int]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of source and target together."""
        lengths: np.ndarray = self.sources.lengths + self.targets.lengths
        return lengths

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Labels are at the positions of their logits, IGNORED on padding.

        Causal: ids and mask (B, L), labels (B, T) and the `places` of their logits among the L, prompt (B), the ids
        before the target. Encoder-decoder: ids and mask (B, S), decoder_ids and labels (B, T). Always rows (B).
        """
        sources = [self.sources.row(index) for index in rows]
        targets = [self.targets.row(index) for index in rows]
        made = self._causal(sources, targets) if self.special.decoder_start is None else self._paired(sources, targets)
        return made | {"rows": torch.tensor(list(rows))}

    def _causal(self, sources: list[np.ndarray], targets: list[np.ndarray]) -> dict[str, Tensor]:
        whole = [np.concatenate(pair) for pair in zip(sources, targets, strict=True)]
        places = [len(source) - 1 + np.arange(len(target)) for source, target in zip(sources, targets, strict=True)]
        return {
            "ids": padded_right([ids[:-1] for ids in whole], self.special.pad),
            "mask": padded_right([np.ones(len(ids) - 1, dtype=np.int64) for ids in whole], 0),
            "labels": padded_right(targets, IGNORED),
            "places": padded_right(places, 0),
            "prompt": torch.tensor([len(source) for source in sources]),
        }

    def _paired(self, sources: list[np.ndarray], targets: list[np.ndarray]) -> dict[str, Tensor]:
        return {
            "ids": padded_right(sources, self.special.pad),
            "mask": padded_right([np.ones(len(source), dtype=np.int64) for source in sources], 0),
            "decoder_ids": padded_right(
                [np.concatenate([[self.special.decoder_start], ids[:-1]]) for ids in targets], self.special.pad
            ),
            "labels": padded_right(targets, IGNORED),
        }

    def truncated(self) -> dict[str, int]:
        return self.cut

    def example(self, row: int) -> list[Piece]:
        decode = self.tokenizer.decode
        return [(decode(self.sources.row(row).tolist()), False), (decode(self.targets.row(row).tolist()), True)]

    def token_rows(self) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        return tuple((side.ids, side.starts) for side in (self.sources, self.targets))

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end a text beside the model's own: none."""
        return ()

    def texts(self, written: Tensor) -> list[str]:
        """The texts of rows of generated ids, each up to its end token."""
        end = self.special.end
        return [self.tokenizer.decode(row[: row.index(end)] if end in row else row) for row in written.tolist()]


def encode_seq2seq(
    split: Seq2seqSplit, folder: Path, special: SpecialTokens, *, separator: str, max_source: int, max_target: int
) -> Seq2seqInputs:
    """Tokenise a split by the tokenizer in `folder`, or read it from the cache.

    A source ends with the separator (causal) or the end token, a target with the end token, which a target that was cut
    does not get: it does not end there. Both count towards the longest.
    """
    key = hashlib.sha256()
    for part in (*map(assets.sha256_of, tokenizer_files(folder)), repr((special, separator, max_source, max_target))):
        key.update(part.encode() + b"\0")
    key.update(repr((split.sources, split.targets)).encode())
    tokenizer = load_tokenizer(folder)
    make = partial(
        _tokenise, split, tokenizer, special, separator=separator, max_source=max_source, max_target=max_target
    )
    arrays = cached("tokens", key.hexdigest(), make)
    sources, targets = (Ragged(arrays[f"{side}_ids"], arrays[f"{side}_starts"]) for side in ("source", "target"))
    cut = {"source": int(arrays["cut"][0]), "target": int(arrays["cut"][1])}
    return Seq2seqInputs(sources, targets, special, tokenizer, split.targets, cut)


def _tokenise(
    split: Seq2seqSplit,
    tokenizer: TextTokenizer,
    special: SpecialTokens,
    *,
    separator: str,
    max_source: int,
    max_target: int,
) -> dict[str, np.ndarray]:
    tail = [special.end] if special.decoder_start is not None else tokenizer.sources([separator])[0]
    read, written = tokenizer.sources(split.sources), tokenizer.targets(split.targets)
    if special.begin is not None:
        read = [[special.begin, *ids] for ids in read]
        written = [[special.begin, *ids] if special.decoder_start is not None else ids for ids in written]
    sources = [ids[: max_source - len(tail)] + tail for ids in read]
    targets = [[*ids, special.end] if len(ids) < max_target else ids[:max_target] for ids in written]
    arrays = {"cut": np.array([_over(read, max_source - len(tail)), _over(written, max_target - 1)])}
    for side, rows in (("source", sources), ("target", targets)):
        arrays[f"{side}_ids"] = np.array([index for row in rows for index in row], dtype=np.int32)
        arrays[f"{side}_starts"] = starts_of(rows)
    return arrays


def _over(rows: list[list[int]], longest: int) -> int:
    return sum(len(row) > longest for row in rows)


def padded_right(rows: list[np.ndarray], value: int) -> Tensor:
    """Rows side by side, padded on the right (B, longest)."""
    out = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for index, row in enumerate(rows):
        out[index, : len(row)] = row
    return torch.from_numpy(out)
