"""Run pip until it has fetched one file, and nothing after that: no setup.py, no build backend, no build tool.

    python -P pip_download.py FOLDER SHA256 download --no-deps --require-hashes …

`pip download` builds the metadata of a source archive, which executes what is in it. Here an audit hook ends the
process when pip first reads a file with the digest, which it does to check the hash, and keeps the file in FOLDER.
Until then pip cannot start a process. Indexes, proxies, certificates and credentials are those of pip's configuration.
"""

import hashlib
import os
import runpy
import shutil
import sys
from typing import Any

_ARCHIVES = (".whl", ".zip", ".gz", ".tgz", ".bz2", ".xz", ".tar")
_PROCESSES = {
    *("subprocess.Popen", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.startfile"),
    *("os.fork", "os.forkpty", "pty.spawn"),
}


class _Guard:
    """The audit hook. An exception raised in it fails the audited call."""

    def __init__(self, folder: str, sha256: str) -> None:
        self._folder, self._sha256 = folder, sha256
        self._hashing = False  # the hook's own reads are audited, too

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _PROCESSES:
            raise PermissionError("pip may start no process while it fetches a file")
        if event == "open" and not self._hashing and self._is_read(*args[:2]):
            self._end_if_wanted(args[0])

    def _is_read(self, path: Any, mode: Any) -> bool:
        named = isinstance(path, str) and path.lower().endswith(_ARCHIVES)
        return named and isinstance(mode, str) and mode.startswith("r") and os.path.isfile(path)  # noqa: PTH113

    def _end_if_wanted(self, path: str) -> None:
        self._hashing = True
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == self._sha256:
            shutil.copy(path, self._folder)
            os._exit(0)  # without pip's own clean-up: its temporary folder is the caller's
        self._hashing = False


if __name__ == "__main__":
    _folder, _sha256, *sys.argv[1:] = sys.argv[1:]
    sys.addaudithook(_Guard(_folder, _sha256.lower()))
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
