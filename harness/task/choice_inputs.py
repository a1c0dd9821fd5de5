"""Questions with their options as token ids, an option of a question being a row of its own in a batch.

Shapes: B questions, N options of all of them, T tokens of an option.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.config import ConfigError, Tokens
from harness.system import assets
from harness.system.paths import listed
from harness.task.base import Inputs, Piece
from harness.task.ignored import IGNORED
from harness.task.ragged import cached, starts_of
from harness.task.seq2seq_inputs import Ragged, Seq2seqInputs, SpecialTokens
from harness.task.tokenizers import FastTokenizer, load_tokenizer, tokenizer_files


@dataclasses.dataclass(frozen=True)
class ChoiceSplit:
    """Questions in a fixed order, the options of each, the number of the right one, and what the rows are called."""

    questions: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    answers: tuple[int, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.questions)


@dataclasses.dataclass(frozen=True)
class ChoiceInputs(Inputs):
    """`pairs` has a row for each option, those of a question from `starts` on; `sizes` (of the pairs) is what the
    log-probability of each is divided by where it is normalised.
    """

    pairs: Seq2seqInputs
    starts: np.ndarray
    answers: np.ndarray
    sizes: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """The tokens of all options of a question, padding among them."""
        longest: np.ndarray = np.maximum.reduceat(self.pairs.lengths, self.starts[:-1])
        return longest * np.diff(self.starts)

    @property
    def training_lengths(self) -> np.ndarray:
        """The tokens of the right option, with its question."""
        lengths: np.ndarray = self.pairs.lengths[self.starts[:-1] + self.answers]
        return lengths

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return a batch as in Seq2seqInputs over all options (N), with the question in the batch (`question`) and the
        place among its options (`place`) of each, its `sizes`; the right `answers` (B) and `rows` (B).
        """
        options = [np.arange(self.starts[row], self.starts[row + 1]) for row in rows]
        chosen = np.concatenate(options)
        return self._begun(chosen.tolist()) | {
            "question": torch.tensor(np.repeat(np.arange(len(options)), list(map(len, options)))),
            "place": torch.tensor(np.concatenate([np.arange(len(each)) for each in options])),
            "sizes": torch.tensor(self.sizes[chosen], dtype=torch.float64),
            "answers": torch.tensor(self.answers[list(rows)]),
            "rows": torch.tensor(list(rows)),
        }

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The right options alone (B): their tokens are what is learned."""
        right = [int(self.starts[row] + self.answers[row]) for row in rows]
        return self._begun(right) | {"rows": torch.tensor(list(rows))}

    def _begun(self, pairs: list[int]) -> dict[str, Tensor]:
        """Their batch. A token that begins every text of a decoder beside an encoder is read, and not scored."""
        batch, special = self.pairs.batch(pairs), self.pairs.special
        if special.decoder_start is None or special.begin is None:
            return batch
        read, labels = batch["decoder_ids"], batch["labels"]
        begin, unscored = (torch.full((len(pairs), 1), value) for value in (special.begin, IGNORED))
        return batch | {
            "decoder_ids": torch.cat([read[:, :1], begin, read[:, 1:]], 1),
            "labels": torch.cat([unscored, labels], 1),
        }

    def truncated(self) -> dict[str, int]:
        return self.pairs.cut

    def example(self, row: int) -> list[Piece]:
        return self.pairs.example(int(self.starts[row] + self.answers[row]))

    def token_rows(self) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        return tuple((ids, starts[self.starts]) for ids, starts in self.pairs.token_rows())

    def shown(self) -> list[str]:
        """The first question with its options, tokens parted by |."""
        said = ["the first question, tokens parted by |, the tokens of each option in [[ ]], * the right one:", ""]
        for pair in range(self.starts[1]):
            source, target = (self._pieces(side.row(pair)) for side in (self.pairs.sources, self.pairs.targets))
            said.append(f"{'*' if pair == self.answers[0] else ' '} {source}[[{target}]]")
        return said

    def _pieces(self, ids: np.ndarray) -> str:
        return "|".join(self.pairs.tokenizer.decode([index]) for index in ids.tolist())


def encode_choices(
    split: ChoiceSplit, tokens: Tokens, *, delimiter: str, normalise_by: str, max_length: int
) -> ChoiceInputs:
    """Tokenise questions and options, or read them from the cache.

    Raises ConfigError, with the rows, for options that have no token of their own or do not fit.
    """
    assert tokens.tokenizer is not None
    assert tokens.end is not None
    special = SpecialTokens(tokens.pad, tokens.end, tokens.decoder_start, tokens.begin)
    key = hashlib.sha256(b"choice, cut by question\0")
    for part in (*map(assets.sha256_of, tokenizer_files(tokens.tokenizer)), repr((special, delimiter, max_length))):
        key.update(part.encode() + b"\0")
    key.update(repr((split.questions, split.options)).encode())
    arrays = cached("tokens", key.hexdigest(), lambda: _arrays(split, tokens.tokenizer, special, delimiter, max_length))
    sources, targets = (Ragged(arrays[f"{side}_ids"], arrays[f"{side}_starts"]) for side in ("source", "target"))
    cut = {"question": int(arrays["cut"])}
    pairs = Seq2seqInputs(sources, targets, special, load_tokenizer(tokens.tokenizer), (), cut)
    characters = np.array([len(option) for options in split.options for option in options])
    sizes = characters if normalise_by == "characters" else targets.lengths
    return ChoiceInputs(pairs, np.cumsum([0, *map(len, split.options)]), np.array(split.answers), sizes)


def _arrays(
    split: ChoiceSplit, folder: Path | None, special: SpecialTokens, delimiter: str, max_length: int
) -> dict[str, np.ndarray]:
    assert folder is not None
    names = [name for name, options in zip(split.names, split.options, strict=True) for _ in options]
    asked = zip(split.questions, split.options, strict=True)
    pairs = [(question, option) for question, options in asked for option in options]
    divide = _paired if special.decoder_start is not None else _joined
    parted = divide(folder, special, pairs, delimiter)
    problems = {
        "options have no token of their own behind their question, task.delimiter parts them": [
            name for name, (source, target) in zip(names, parted, strict=True) if not (source and target)
        ],
        f"options leave no room for a question, task.max_length={max_length}": [
            name for name, (_, target) in zip(names, parted, strict=True) if len(target) >= max_length - 1
        ],
    }
    if any(problems.values()):
        raise ConfigError(
            *(f"task=choice: {said} (rows {listed(dict.fromkeys(at))})" for said, at in problems.items() if at)
        )
    needed = [len(source) + (0 if special.decoder_start is not None else len(target)) for source, target in parted]
    sizes = list(map(len, split.options))
    over = np.maximum(0, np.maximum.reduceat(needed, np.cumsum([0, *sizes[:-1]])) - max_length)
    sources = [_cut(source, lost, special) for (source, _), lost in zip(parted, np.repeat(over, sizes), strict=True)]
    arrays: dict[str, np.ndarray] = {"cut": np.array(np.count_nonzero(over))}
    for side, rows in (("source", sources), ("target", [target for _, target in parted])):
        arrays[f"{side}_ids"] = np.array([index for row in rows for index in row], dtype=np.int32)
        arrays[f"{side}_starts"] = starts_of(rows)
    return arrays


_TokenPairs = list[tuple[list[int], list[int]]]
"""The ids of each question, and of its option."""


def _joined(folder: Path, special: SpecialTokens, pairs: Sequence[tuple[str, str]], delimiter: str) -> _TokenPairs:
    """Tokenise for a causal model, which reads both as one text: an option has the tokens with characters after its
    question.

    Blanks at the end of a question are the option's, since tokens begin with them.
    """
    tokenizer = FastTokenizer(folder if folder.is_file() else folder / "tokenizer.json")
    begin = [] if special.begin is None else [special.begin]
    found: _TokenPairs = []
    for question, option in pairs:
        ids, offsets = tokenizer.pieces(question + delimiter + option)
        border = len(question.rstrip())
        own = next((place for place, (_, end) in enumerate(offsets) if end > border), len(ids))
        found.append(([*begin, *ids[:own]], ids[own:]))
    return found


def _paired(folder: Path, special: SpecialTokens, pairs: Sequence[tuple[str, str]], _: str) -> _TokenPairs:
    """Tokenise for an encoder and a decoder, which read one sequence each."""
    tokenizer = load_tokenizer(folder)
    begin = [] if special.begin is None else [special.begin]
    read = tokenizer.sources([question for question, _ in pairs])
    written = tokenizer.targets([option for _, option in pairs])
    return [([*begin, *source, special.end], target) for source, target in zip(read, written, strict=True)]


def _cut(source: list[int], lost: int, special: SpecialTokens) -> list[int]:
    """The source without so many of its first tokens, except the one that begins every text; at least one is left."""
    begin = source[:1] if special.begin is not None else []
    rest = source[len(begin) :]
    return [*begin, *rest[min(lost, max(0, len(rest) - 1)) :]]
