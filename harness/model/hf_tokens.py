"""The tokenizer of a model's folder: its file, the id that pads, and its files for another folder."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedConfig

from harness.config import ConfigError
from harness.system import assets

FILE = "tokenizer.json"
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
_OTHER_KINDS = ("vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "spm.model")


def tokenizer_of(folder: Path, where: str) -> Path:
    """The folder's tokenizer.json, or one converted from its older files and cached.

    Raises ConfigError where there is no tokenizer.
    """
    if (folder / FILE).is_file():
        return folder / FILE
    older = [folder / name for name in _OTHER_KINDS if (folder / name).is_file()]
    if not older:
        raise ConfigError(f"{where}: no {FILE} in it; put the tokenizer that the model was trained with beside it")
    beside = [folder / name for name in ("merges.txt", *_BESIDE) if (folder / name).is_file()]
    said = [f"{path.name} {assets.sha256_of(path)}" for path in (*older, *beside)]
    said += [str(_json(folder / "config.json").get("model_type")), transformers.__version__]
    digest = " ".join(said)
    cache = assets.cache_folder() / "tokenizers" / hashlib.sha256(digest.encode()).hexdigest()[:16]
    if not (cache / FILE).is_file():
        _convert(folder, cache, where)
    return cache / FILE


def _convert(folder: Path, cache: Path, where: str) -> None:
    from transformers import AutoTokenizer

    try:
        made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        backend: Any = made.backend_tokenizer
    except (OSError, ValueError, AttributeError, ImportError, KeyError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"{where}: its tokenizer cannot be made a {FILE}: {said}") from None
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = cache / f"tokenizer.{os.getpid()}"
    for name in _BESIDE:  # which say how transformers reads it
        if (folder / name).is_file():
            shutil.copyfile(folder / name, scratch)
            os.replace(scratch, cache / name)
    backend.save(str(scratch))
    os.replace(scratch, cache / FILE)


def pad_of(folder: Path, made: PreTrainedConfig) -> int:
    """The id that fills up a batch where config.json names none: the tokenizer's own padding, else that of the end."""
    try:
        found = token_ids(tokenizer_of(folder, str(folder))).get(_pad_token(folder))
    except ConfigError:  # none is there: no texts are read
        found = None
    if found is not None:
        return found
    return first_id(getattr(made.get_text_config(), "eos_token_id", None)) or 0


def decoder_start(facts: Mapping[str, Any], made: PreTrainedConfig) -> int | None:
    """The id that a decoder starts from: where none is named that of a text's begin, as transformers has it."""
    keys = ("decoder_start_token_id", "bos_token_id")
    said = (facts.get(key, getattr(made, key, None)) for key in keys)
    return next((each for each in said if each is not None), None)


def first_id(said: object) -> int | None:
    """An id, or the first one of a list; None where there is none."""
    first = said[0] if isinstance(said, list) and said else said
    return first if isinstance(first, int) and first >= 0 else None


def end_ids(own: int | list[int] | None, *others: int | None) -> list[int]:
    """The ids that end a text: a model's own, one or several, then others; each once."""
    every = [*(own if isinstance(own, list) else [own]), *others]
    return list(dict.fromkeys(each for each in every if each is not None))


def _pad_token(folder: Path) -> str:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token = _json(folder / name).get("pad_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            return token
    return ""


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """The ids that the tokenizer sets before a text, and that end one."""

    begin: int | None
    end: int | None


def special_ids(folder: Path, file: Path) -> SpecialIds:
    """The ids around texts: of the tokenizer's own template, and of the end that config.json names."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    plain, marked = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
    begins = bool(plain) and len(marked) > len(plain) and marked[0] != plain[0]
    return SpecialIds(marked[0] if begins else None, _end_of(generation_facts(folder)))


def generation_facts(folder: Path) -> dict[str, Any]:
    """Read config.json and generation_config.json; values of the latter take precedence."""
    said = {key: value for key, value in _json(folder / "generation_config.json").items() if value is not None}
    return _json(folder / "config.json") | said


def _end_of(facts: dict[str, Any]) -> int | None:
    return first_id(facts.get("eos_token_id", (facts.get("text_config") or {}).get("eos_token_id")))


def copy_tokenizer(file: Path, folder: Path) -> None:
    """Put a tokenizer, or what a folder has of one, and what transformers keeps beside it, into another folder."""
    source = file if file.is_dir() else file.parent
    if not file.is_dir():
        shutil.copyfile(file, folder / FILE)
    for name in (FILE, "vocab.json", *_BESIDE) if file.is_dir() else _BESIDE:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def token_ids(file: Path) -> dict[str, int]:
    """The id of each token of a tokenizer.json; of none, where its vocabulary is a list of pieces, but the added."""
    tree = _json(file)
    vocabulary = (tree.get("model") or {}).get("vocab")
    found = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    return found | {token["content"]: token["id"] for token in tree.get("added_tokens") or ()}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    tree = json.loads(path.read_text(encoding="utf-8"))
    return tree if isinstance(tree, dict) else {}
