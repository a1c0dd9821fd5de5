"""The configuration of any model of transformers: where it lies, and how its tokens become one vector."""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from harness.config.adaptation import Adaptation
from harness.config.models.base import Attention
from harness.config.models.quantizable import QuantizableConfig
from harness.config.scalars import CLOSED, Address, AssetConfig, Count, Digest, Flag, Share, Text
from harness.config.tree import ConfigError
from harness.system import assets, converted, hub_models

# Position ids of these begin after the id of padding, which costs the table of positions two rows.
_AFTER_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "data2vec-text", "longformer"}
_RELATIVE = {"t5", "mt5", "umt5"}  # their `n_positions` is a note on how they were trained
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")

_GGUF = re.compile(r"\.gguf(\.part\d+)?$")
_CTRANSLATE2 = re.compile(r"(^|[/#:])model\.bin(\.part\d+)?$")


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TermsConfig:
    """Terms that weights may be used under: their name, where they are published, and a copy of their text."""

    name: Text
    url: Text
    text: AssetConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class HfModelConfig(QuantizableConfig):
    """A folder as `save_pretrained` writes it: its config.json decides the architecture, the task decides the head.

    `pooling` auto: transformers' own head for sequences, where the architecture has one. `head` stored: the head that
    the folder holds is taken over, as it is. `dropout` null: as config.json says. `dtype` is that of the frozen base;
    what is trained is float32.

    `language` and `translate` are of Whisper that writes: which language it is told is spoken, and whether it writes it
    in English; null and false: as its generation_config.json says.

    The address may also be a GGUF file, which the files of `parts` continue. A base that has `terms` is used only with
    `accept_licence`.
    """

    module: ClassVar[str] = "harness.model.hf"
    described_by_files: ClassVar[bool] = True
    spreads: ClassVar[bool] = True

    kind: Literal["hf"]
    name: Text
    address: Address | None
    sha256: Digest | dict[str, Digest | None] | None
    pooling: Literal["auto", "mean", "first", "last", "pooler"]
    head: Literal["fresh", "stored"]
    dropout: Share | None
    dtype: Literal["float32", "bfloat16", "float16"]
    separator: str
    beams: Count
    attention: Attention = "auto"
    window_s: Count | None = None
    language: Text | None = None
    translate: Flag = False
    parts: list[AssetConfig] = dataclasses.field(default_factory=list)
    terms: TermsConfig | None = None
    accept_licence: Flag = False

    @property
    def is_one_file(self) -> bool:
        """True if the address is a file that has to be converted, and not a folder in transformers' format."""
        return self.needs_gguf or (self.address is not None and _CTRANSLATE2.search(self.address) is not None)

    @property
    def needs_gguf(self) -> bool:
        """True if it is a GGUF file, which transformers reads with another package."""
        return self.address is not None and _GGUF.search(self.address) is not None

    @property
    def file_extras(self) -> tuple[str, ...]:
        return ("gguf",) if self.needs_gguf else ()

    @property
    def weights(self) -> AssetConfig | None:
        return None if self.address is None else AssetConfig(address=self.address, sha256=self.sha256)

    @property
    def takes(self) -> None:
        """The tasks that its config.json supports, known once it is read."""
        return None

    @property
    def base_dtype(self) -> Literal["float32", "bfloat16", "float16"]:
        return self.dtype

    @property
    def attends(self) -> str:
        return self.attention

    @property
    def longest(self) -> int | None:
        return positions_of(self._local_facts())

    @property
    def one_sequence(self) -> bool:
        return not self._local_facts().get("is_encoder_decoder", False)

    def token_mistakes(self, task: str, what: str) -> list[str]:
        if self.pooling == "auto":
            return []
        return [f"model.pooling={self.pooling}: task={task} {what}, none are pooled; model.pooling=auto"]

    def adapter_mistakes(self, lora: Adaptation) -> list[str]:
        if self.dtype == "float32" or not lora.trains_base_weights:
            return []
        half = "bf16-mixed" if self.dtype == "bfloat16" else "16-mixed"
        rule = f"lora={lora.name} trains the base itself; model.dtype=float32 trainer.precision={half}"
        return [f"model.dtype={self.dtype}: {rule}"]

    def missing_files(self) -> list[str]:
        """A line where there is no address, or the user's own folder does not hold a model."""
        if self.address is None:
            return [NO_ADDRESS]
        if terms := self.terms_mistakes():
            return terms
        if self.parts and not self.is_one_file:
            rule = "they continue a file, .gguf or model.bin"
            return [f"model.parts: {rule}; model.address={self.address} is none"]
        if not self.address.startswith("path:"):
            return []
        if self.is_one_file:
            return (
                [] if Path(self.address[5:]).expanduser().is_file() else [f"model.address={self.address}: no such file"]
            )
        try:
            read_config_json(Path(self.address[5:]).expanduser(), self.address)
        except ConfigError as error:
            return [str(error)]
        return []

    @property
    def use_terms(self) -> str | None:
        return None if self.terms is None else f"{self.terms.name}, {self.terms.url}"

    def terms_mistakes(self) -> list[str]:
        """A line where the base has terms that nobody has accepted."""
        if self.terms is None or self.accept_licence:
            return []
        rule = f"model={self.name} is under the {self.use_terms}"
        return [f"model.accept_licence=false: {rule}; read them, and set model.accept_licence=true if you agree"]

    def hashed(self) -> dict[str, Any]:
        """Return the hashed fields: the digest of its files, and not their path, is in the fingerprint."""
        tree = super().hashed()
        for key in ("address", "sha256", "parts", "terms", "accept_licence"):
            del tree[key]
        for key in ("window_s", "language", "translate"):  # as before there were any
            if not tree[key]:
                del tree[key]
        return tree

    def _local_facts(self) -> dict[str, Any]:
        """The config.json, where it is on this machine; else nothing."""
        folder = self._local_folder()
        path = None if folder is None else folder / "config.json"
        return _facts(path, path.stat().st_mtime_ns) if path is not None and path.is_file() else {}

    def _local_folder(self) -> Path | None:
        """Return its path, if that is known without fetching anything."""
        if self.address is None:
            return None
        if self.is_one_file:
            return converted.known_folder(self.address)
        if self.address.startswith("path:"):
            return Path(self.address[5:]).expanduser()
        return hub_models.known_folder(self.address) or assets.known_folder(self.address)


NO_ADDRESS = (
    "model.address: missing; path:FOLDER, hub:owner/name@revision, or pypi:name==version#inner/folder; or a file: "
    "path:FILE.gguf, hub:owner/name@revision#FILE.gguf"
)


def positions_of(facts: Mapping[str, Any]) -> int | None:
    """The most tokens that a network of such a config.json reads; None if there is no limit, or none is known."""
    kind = facts.get("model_type")
    positions = next((facts[key] for key in _POSITIONS if isinstance(facts.get(key), int)), None)
    if positions is None or kind in _RELATIVE:
        return None
    return int(positions) - (int(facts.get("pad_token_id") or 0) + 1 if kind in _AFTER_PADDING else 0)


def read_config_json(folder: Path, address: str) -> dict[str, Any]:
    """The config.json of a folder. Raises ConfigError, in one line, where it is not that of a model of transformers."""
    where, path = f"model.address={address}", folder / "config.json"
    if not folder.is_dir():
        raise ConfigError(f"{where}: no such folder")
    if not path.is_file() and (folder / "adapter_config.json").is_file():
        raise ConfigError(f"{where}: an adapter, not a base; name the base that its adapter_config.json names")
    if not path.is_file():
        raise ConfigError(f"{where}: no config.json in it; a folder that save_pretrained wrote has one")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: config.json cannot be read ({type(error).__name__})") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("model_type"), str):
        raise ConfigError(f"{where}: config.json has no model_type; transformers reads the architecture from it")
    return facts


@functools.lru_cache
def _facts(path: Path, _: int) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(facts, dict):
        return {}
    inner = facts.get("text_config")
    return {**inner, "model_type": facts.get("model_type")} if isinstance(inner, dict) else facts
