"""Repositories of the Hugging Face hub that hold a model, from the hub's own cache, each pinned at its first use.

`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` count as they do in transformers. A pin is the commit and the
SHA-256 of each file that is used; a study keeps its pins in a lock file, and every later command of that study holds
what it reads against them.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

from harness.system.assets import AssetError, Unreachable, sha256_of
from harness.system.jsonl import replace_text

LOCK = "models.lock.json"
"""In a study's folder: {address: {revision, sha256: {file: digest}}}."""

_TEXTS = (
    *("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("*tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.*", "merges.txt", "*.spm", "spiece.model", "*.bpe.model"),
)


_BESIDE_A_FILE = ("config.json", "tokenizer.json")  # of CTranslate2, whose model.bin has weights alone; GGUF has all


_OF_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin", "config.json", "head.safetensors")


class PinMismatch(AssetError):
    """Files that are others than those at the study's first use of the repository."""


@dataclasses.dataclass(frozen=True)
class _Pin:
    revision: str
    sha256: Mapping[str, str]


class _Pins:
    """The revisions that this process knows: those of the study's lock file, and those that it has resolved itself."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.resolved: dict[str, str] = {}
        self.folders: dict[str, Path] = {}
        self.checked: set[str] = set()

    def read(self) -> dict[str, _Pin]:
        if self.path is None or not self.path.is_file():
            return {}
        return {address: _Pin(**pin) for address, pin in json.loads(self.path.read_text()).items()}

    def revision(self, address: str, asked: str) -> str:
        pin = self.read().get(address)
        return pin.revision if pin is not None else self.resolved.get(address, asked)

    def hold(self, address: str, found: _Pin) -> None:
        """Write a first pin down; raise PinMismatch where an earlier one differs."""
        known = self.read()
        if (pin := known.get(address)) is None:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                pins = known | {address: found}
                tree = {name: dataclasses.asdict(pin) for name, pin in sorted(pins.items())}
                replace_text(self.path, json.dumps(tree, indent=2) + "\n")
            return
        for file, digest in found.sha256.items():
            if pin.sha256.get(file, digest) != digest:
                raise PinMismatch(
                    f"{address}: {file} has the SHA-256 {digest}, {self.path} says {pin.sha256[file]}; "
                    "restore the file, or give the study another name"
                )


_pins = _Pins()


def use_lock(folder: Path) -> None:
    """Hold repositories against the lock file of the study in `folder`, and note new ones there."""
    _pins.path = folder / LOCK


def pinned_address(address: str) -> str:
    """An address with the commit that this process has found behind its branch or tag; any other as it is."""
    commit = _pins.resolved.get(address)
    if commit is None:
        return address
    name, mark, file = address.partition("#")
    return f"{name.partition('@')[0]}@{commit}{mark}{file}"


def known_folder(address: str) -> Path | None:
    """The folder of a repository that this process has looked up."""
    return _pins.folders.get(address)


def weight_files(names: Iterable[str]) -> list[str]:
    """The files of a folder that transformers loads weights from, by name: safetensors, else pickles."""
    known = sorted(names)
    for stem, ending in (("model", "safetensors"), ("pytorch_model", "bin")):
        whole, index = f"{stem}.{ending}", f"{stem}.{ending}.index.json"
        if whole in known:
            return [whole]
        if index in known:
            return [index, *(name for name in known if fnmatch(name, f"{stem}-*-of-*.{ending}"))]
    return []


def digest_of_model(folder: Path) -> str:
    """One SHA-256 for what decides a network in a folder: its config.json, its weights, and how it reads images."""
    images = "preprocessor_config.json"
    names = [*weight_files(file.name for file in folder.iterdir()), "config.json"]
    names += [images] if (folder / images).is_file() else []
    listing = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in sorted(names))
    return hashlib.sha256(listing.encode()).hexdigest()


def model_folder(address: str, sha256: Mapping[str, str | None] | None, *, weights: bool) -> tuple[Path, str]:
    """The folder of `hub:owner/name@revision` in the hub's cache, and the commit; without a revision, of `main`.

    For `hub:owner/name@revision#FILE` it must hold this file, and the ones that belong to it. Without `weights` only
    the small files are fetched, and nothing is pinned. Raises AssetError where the repository cannot be had,
    Unreachable where the hub does not answer, PinMismatch.
    """
    match = re.fullmatch(r"hub:([\w.-]+/[\w.-]+?|[\w.-]+)(?:@([\w./-]+))?(?:#(.+))?", address)
    if match is None:
        raise AssetError(f"{address}: expected hub:owner/name@revision")
    repository, asked = match[1], match[2] or "main"
    revision = _pins.revision(address, asked)
    wanted = _Wanted(weights, match[3])
    folder, commit, files = _pinned(address, repository) or _snapshot(address, repository, revision, wanted)
    _pins.resolved[address], _pins.folders[address] = commit, folder
    if weights and address not in _pins.checked:
        found = {name: sha256_of(folder / name) for name in files}
        for name, digest in (sha256 or {}).items():
            if digest is not None and found.get(name, digest) != digest.lower():
                raise AssetError(f"{address}: {name} has the SHA-256 {found[name]}, expected {digest}; it is not used")
        _pins.hold(address, _Pin(commit, found))
        _pins.checked.add(address)
    return folder, commit


def adapter_folder(address: str) -> tuple[Path, str]:
    """The folder of an adapter's repository in the hub's cache, and its address with the commit; nothing is pinned.

    Raises AssetError where it cannot be had or is none, Unreachable where the hub does not answer.
    """
    match = re.fullmatch(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", address)
    if match is None:
        raise AssetError(f"{address}: expected hub:owner/name@revision")
    wanted = _Wanted(weights=True, file="adapter_config.json", beside=_OF_ADAPTERS)
    folder, commit, _ = _snapshot(address, match[1], match[2] or "main", wanted)
    return folder, f"hub:{match[1]}@{commit}"


def _pinned(address: str, repository: str) -> tuple[Path, str, list[str]] | None:
    """The files of a pin, where all of them lie in the cache: the hub need not be asked."""
    from huggingface_hub import try_to_load_from_cache

    pin = _pins.read().get(address)
    if pin is None:
        return None
    paths = [try_to_load_from_cache(repository, name, revision=pin.revision) for name in sorted(pin.sha256)]
    if not all(isinstance(path, str) for path in paths):
        return None
    names = sorted(pin.sha256)
    return _above(str(paths[0]), names[0]), pin.revision, names


def _above(path: str, name: str) -> Path:
    """The folder of a repository whose file `name` lies at `path`."""
    return Path(path).parents[name.count("/")]


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """The files of a repository that are used: those of a model, with or without its weights, or a single file."""

    weights: bool
    file: str | None
    beside: tuple[str, ...] = _BESIDE_A_FILE

    def of(self, names: list[str]) -> list[str]:
        if self.file is not None:
            folder = self.file.rpartition("/")[0]
            beside = () if self.file.endswith(".gguf") else self.beside
            around = {f"{folder}/{name}" if folder else name for name in beside}
            return [name for name in names if name == self.file or name in around] if self.file in names else []
        top = [name for name in names if "/" not in name]
        texts = [name for name in top if any(fnmatch(name, pattern) for pattern in _TEXTS)]
        return sorted({*texts, *(weight_files(top) if self.weights else ())})

    @property
    def key(self) -> str:
        """The file that a repository must have."""
        return self.file or "config.json"

    def missing(self) -> str:
        return f"no {self.key} in it" + ("" if self.file is not None else "; transformers' models have one")


def _snapshot(address: str, repository: str, revision: str, wanted: _Wanted) -> tuple[Path, str, list[str]]:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(repository, revision=revision)
        names = wanted.of([item.rfilename for item in info.siblings or []])
        if wanted.key not in names:
            raise AssetError(f"{address}: {wanted.missing()}")
        hf_hub_download(repository, wanted.key, revision=revision)  # so that the cache knows the branch, too
        paths = [hf_hub_download(repository, name, revision=info.sha) for name in names]
        return _above(paths[0], names[0]), str(info.sha), names
    except GatedRepoError:
        way = f"accept its terms at https://huggingface.co/{repository} and set HF_TOKEN"
        raise AssetError(f"{address}: a gated repository; {way}") from None
    except RevisionNotFoundError:
        raise AssetError(f"{address}: the repository has no revision {revision}") from None
    except RepositoryNotFoundError:
        raise AssetError(f"{address}: no such repository, or a private one; HF_TOKEN gives access") from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, EntryNotFoundError, HTTPError, OSError) as error:
        return _cached(address, repository, revision, wanted, error)


def _cached(
    address: str, repository: str, revision: str, wanted: _Wanted, reason: Exception
) -> tuple[Path, str, list[str]]:
    """Find a revision in the hub's own cache, if the hub does not answer."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        folder = None
    there = [] if folder is None else [file for file in folder.rglob("*") if file.is_file()]
    names = [] if folder is None else wanted.of([file.relative_to(folder).as_posix() for file in there])
    lacks_weights = wanted.weights and wanted.file is None and not weight_files(names)
    if folder is None or wanted.key not in names or lacks_weights:
        why = type(reason).__name__
        raise Unreachable(f"{address}: not in the hub's cache on this machine, and the hub cannot be reached ({why})")
    return folder, folder.name, names
