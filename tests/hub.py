"""A hub of our own on this machine: repositories as folders, each state of one a commit."""

import base64
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
        self.private: set[str] = set()
        self.uploads: Path | None = None
        """Where commits that are pushed lie; None: nobody may push."""

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

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.uploads is None or self.headers.get("Authorization") != "Bearer hf_right":
            return self._send(401, b"", {}, True)
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}"
            if asked.get("visibility") == "private" or asked.get("private"):  # by its version
                self.hub.private.add(name)
            return self._reply({"url": f"http://{self.headers['Host']}/{name}"})
        if parts == ["api", "validate-yaml"]:  # the header of README.md
            return self._reply({"errors": [], "warnings": []})
        repository, verb = "/".join(parts[2:4]), parts[4]
        if verb == "preupload":
            files = json.loads(content)["files"]
            return self._reply(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        commits = self.hub.repositories.setdefault(repository, [])
        folder = self.hub.uploads / f"{len(commits)}"
        for line in map(json.loads, content.splitlines()):
            if line["key"] == "file":
                path = folder / line["value"]["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(base64.b64decode(line["value"]["content"]))
        commits.append(folder)
        address = f"http://{self.headers['Host']}/{repository}/commit/{_sha(folder)}"
        return self._reply({"commitUrl": address, "commitOid": _sha(folder)})

    def _reply(self, tree: object) -> None:
        self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"}, True)

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
