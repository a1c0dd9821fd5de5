"""A base's converted files: a folder in the cache, made once, sealed by digests and checked before use.

Only a whole folder appears. Processes that need it at once wait for the one that makes it.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.system.assets import AssetError, cache_folder, sha256_of

SEAL = "SHA256SUMS"

_folders: dict[str, Path] = {}  # by address: what this process has made or checked already


def converted(address: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, from the cache where it lies under `key`.

    Raises AssetError for a folder that is no longer what was made.
    """
    folder = cache_folder() / "converted" / key
    if _folders.get(address) == folder:
        return folder
    if not folder.is_dir():
        with _locked(folder.with_name(f"{key}.lock")):
            if not folder.is_dir():
                _make(folder, make)
    _check_seal(folder)
    _folders[address] = folder
    return folder


def known_folder(address: str) -> Path | None:
    """The folder of an address that this process has converted or checked."""
    return _folders.get(address)


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir(mode=0o700)
        make(made)
        digests = {path.name: sha256_of(path) for path in sorted(made.iterdir())}
        (made / SEAL).write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
        made.rename(folder)


def _check_seal(folder: Path) -> None:
    if not (folder / SEAL).is_file():
        raise AssetError(f"{folder}: no {SEAL} in it; remove the folder, and it is made again")
    for line in (folder / SEAL).read_text().splitlines():
        digest, _, name = line.partition("  ")
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise AssetError(f"{folder / name}: not what was written there; remove the folder, and it is made again")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which frees it
