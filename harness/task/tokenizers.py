"""Texts to token ids and back, by the tokenizer that comes with a generator's weights."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from harness.config import ConfigError
from harness.config.models.generator import LEAST_VOCABULARY
from harness.system import assets


class TextTokenizer(Protocol):
    """No special tokens are added: the model says which they are (Tokens)."""

    def sources(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of source texts."""

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of target texts."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated ids, without special tokens."""


class FastTokenizer:
    """One tokenizer.json for source and target texts."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer  # imported where it is needed: cached ids need no tokenizer

        self.tokenizer: Any = Tokenizer.from_file(str(path))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def sources(self, texts: Sequence[str]) -> list[list[int]]:
        return [item.ids for item in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        return self.sources(texts)

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def pieces(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text, and where in it each token begins and ends."""
        found = self.tokenizer.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    def token(self, index: int | None) -> str | None:
        """The token of an id."""
        return None if index is None else self.tokenizer.id_to_token(index)

    def shown(self, index: int) -> str:
        """The text of one token, of a special one, too."""
        text: str = self.tokenizer.decode([index], skip_special_tokens=False)
        return text

    @cached_property
    def special(self) -> frozenset[str]:
        """The special tokens that were added to the vocabulary."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special)

    def holds_special(self, text: str) -> bool:
        """Return whether a special token occurs in a text: it would be read as one."""
        return bool(self.special) and self._any_special.search(text) is not None

    @cached_property
    def _any_special(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, sorted(self.special))))

    def ends_in_special(self, text: str) -> bool:
        """Return whether the last characters of a text are a special token."""
        return any(text[-size:] in self.special for size in {len(token) for token in self.special})


class CharacterTokenizer:
    """A vocabulary of characters, vocab.json, as wav2vec2 has one; blanks are its own sign between words.

    A character that it lacks is taken in the other case where it has that, else as unknown.
    """

    def __init__(self, folder: Path) -> None:
        self.number: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        if not all(isinstance(number, int) for number in self.number.values()):
            raise ConfigError(f"{folder}/vocab.json: vocabularies of several languages; one of them is read")
        path = folder / "tokenizer_config.json"
        said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.between = str(said.get("word_delimiter_token") or "|")
        named = {key: said.get(f"{key}_token") or usual for key, usual in _MARKS.items()}
        self.unknown = self.number.get(str(named["unk"]))
        self.token = {number: token for token, number in self.number.items() if token not in named.values()}

    def sources(self, texts: Sequence[str]) -> list[list[int]]:
        return self.targets(texts)

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        found = [[self._id(character) for character in " ".join(text.split())] for text in texts]
        return [[number for number in row if number is not None] for row in found]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.token.get(number, "") for number in ids).replace(self.between, " ").strip()

    def shown(self, ids: Sequence[int]) -> str:
        """A text with <unk> where a character of it is unknown."""
        said = "".join(self.token.get(number, "<unk>") for number in ids)
        return said.replace(self.between, " ").strip()

    def has(self, character: str) -> bool:
        """Return whether it can write a character; a blank is none."""
        return character.isspace() or any(case in self.number for case in _cases(character))

    def _id(self, character: str) -> int | None:
        if character == " ":
            return self.number.get(self.between)
        return next((self.number[case] for case in _cases(character) if case in self.number), self.unknown)


def _cases(character: str) -> tuple[str, str, str]:
    return character, character.upper(), character.lower()


_MARKS = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"}


class MarianTokenizer:
    """Marian's two SentencePiece models, one a language, over one vocabulary (Junczys-Dowmunt et al., 2018)."""

    def __init__(self, folder: Path) -> None:
        import sentencepiece

        self.pieces = {
            side: sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
            for side in ("source", "target")
        }
        self.number: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        self.piece = {index: piece for piece, index in self.number.items()}

    def sources(self, texts: Sequence[str]) -> list[list[int]]:
        return self._ids("source", texts)

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        return self._ids("target", texts)

    def decode(self, ids: Sequence[int]) -> str:
        pieces = [self.piece[index] for index in ids if self.piece[index] not in ("</s>", "<pad>", "<unk>")]
        text: str = self.pieces["target"].decode(pieces)
        return text

    def _ids(self, side: str, texts: Sequence[str]) -> list[list[int]]:
        unknown = self.number["<unk>"]
        split = self.pieces[side].encode(list(texts), out_type=str)
        return [[self.number.get(piece, unknown) for piece in pieces] for pieces in split]


def load_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer of a folder that holds a tokenizer.json, or Marian's source.spm, target.spm and vocab.json.

    `folder` may be the tokenizer.json itself.
    """
    if folder.is_file():
        return FastTokenizer(folder)
    if (folder / "tokenizer.json").is_file():
        return FastTokenizer(folder / "tokenizer.json")
    if (folder / "source.spm").is_file():
        return MarianTokenizer(folder)
    if (folder / "vocab.json").is_file():
        return CharacterTokenizer(folder)
    raise assets.AssetError(f"{folder}: no tokenizer.json and no source.spm in it")


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that make a tokenizer what it is; `folder` may be its one file."""
    if folder.is_file():
        return [folder]
    if (folder / "tokenizer.json").is_file():
        return [folder / "tokenizer.json"]
    if not (folder / "source.spm").is_file():
        beside = folder / "tokenizer_config.json"
        return [folder / "vocab.json", *([beside] if beside.is_file() else [])]
    return [folder / name for name in ("source.spm", "target.spm", "vocab.json")]


def train_tokenizer(texts: Iterable[str], vocabulary: int, first: Sequence[str], last: Sequence[str]) -> Path:
    """The folder of a byte-level BPE tokenizer of exactly `vocabulary` tokens, learned from `texts` once and cached.

    `first` and `last` are special tokens, at the lowest and the highest ids. Raises ConfigError where the texts
    yield fewer tokens.
    """
    kept = list(texts)
    digest = hashlib.sha256(repr((kept, vocabulary, tuple(first), tuple(last))).encode()).hexdigest()
    folder = assets.cache_folder() / "tokenizers" / digest[:16]
    if not (folder / "tokenizer.json").exists():
        tokenizer = _learned(kept, vocabulary, first, last)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = folder / f"tokenizer.{os.getpid()}"
        tokenizer.save(str(scratch))
        os.replace(scratch, folder / "tokenizer.json")
    return folder


def _learned(texts: list[str], vocabulary: int, first: Sequence[str], last: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(last),
        special_tokens=list(first),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(last))
    found = tokenizer.get_vocab_size()
    if found != vocabulary:
        rule = f"model.shape.vocabulary={found}, or fewer, can be learned from them"
        if found < LEAST_VOCABULARY:
            rule = f"{LEAST_VOCABULARY} are the least, for which there is too little text"
        raise ConfigError(f"model.shape.vocabulary={vocabulary}: the training texts yield {found} tokens; {rule}")
    return tokenizer
