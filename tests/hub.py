"""A hub of our own on this machine: repositories as folders, each state of one a commit."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class Hub:
    """Commits of repositories by name, the last one being `main`."""

    def __init__(self) -> None:
        self.repositories: dict[str, list[Path]] = {}
        self.gated: set[str] = set()
        self.asked: list[str] = []

    def commit_of(self, repository: str, revision: str) -> tuple[str, Path] | None:
        commits = {_sha(folder): folder for folder in self.repositories.get(repository, [])}
        if revision == "main" and commits:
            return list(commits.items())[-1]
        return (revision, commits[revision]) if revision in commits else None


def _sha(folder: Path) -> str:
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    content = b"".join(path.name.encode() + path.read_bytes() for path in names)
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        return

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.hub.asked.append(self.path)
        parts = self.path.partition("?")[0].strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        if len(parts) < (6 if is_api else 5):
            return self._send(404, b"", {}, body)
        owner, name, _, revision, *file = parts[2:] if is_api else parts
        repository = f"{owner}/{name}"
        found = self.hub.commit_of(repository, revision)
        if repository not in self.hub.repositories:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
        if found is None:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, body)
        if repository in self.hub.gated and "Authorization" not in self.headers:
            return self._send(401 if is_api else 403, b"", {"X-Error-Code": "GatedRepo"}, body)
        sha, folder = found
        if is_api:
            names = [{"rfilename": path.relative_to(folder).as_posix()} for path in sorted(folder.rglob("*"))]
            tree = {"id": repository, "sha": sha, "siblings": names}
            return self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"}, body)
        path = folder / "/".join(file)
        if not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
        content = path.read_bytes()
        tag = hashlib.sha256(content).hexdigest()
        return self._send(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": sha}, body)

    def _send(self, code: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, with huggingface_hub asking it and keeping what it gets in `cache`."""
    import huggingface_hub.constants as constants

    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
