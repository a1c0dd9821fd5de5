"""run=watch: the page of a study while it runs, served on this machine alone."""

import json
import logging
import signal
import threading
import time
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.config import Config, ConfigError
from harness.system.study_files import RECORDS

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
_LEAST_SECONDS = 2.0  # between two readings of the records
_TABLES = {"table.csv": "text/csv", "table.md": "text/plain", RECORDS: "text/plain"}
_PICTURES = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}


def run(job: HydraJob) -> None:
    """Serve the page until SIGINT or SIGTERM. Raises ConfigError where there is no such study, or the port is taken."""
    refuse_several_processes("watch")
    from harness.cluster.study_folder import load_study, study_folder

    config = load_study(job.config.results, job.config.study)
    page = LivePage(config, study_folder(config.results, config.study))
    stopped = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stopped.set())
    try:
        server = PageServer(job.config.port or 0, page)
    except OSError as error:
        raise ConfigError(f"port={job.config.port}: {error.strerror or error}; port=null takes a free one") from None
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        log.info("study %s: http://%s:%d/ (Ctrl-C ends it)", config.study, ADDRESS, server.server_port)
        stopped.wait()
        server.shutdown()
        thread.join()


class LivePage:
    """The page of a study as its records are now; they are read at most every two seconds, however many look at it."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._config, self.folder = config, folder
        self._lock = threading.Lock()
        self._read_at = -_LEAST_SECONDS
        self._data: dict[str, Any] = {}

    def data(self) -> dict[str, Any]:
        """Return the page's data, with the study's progress under `live`; only that before a first trial has ended."""
        with self._lock:
            if time.monotonic() - self._read_at >= _LEAST_SECONDS:
                self._data, self._read_at = self._now(), time.monotonic()
            return self._data

    def _now(self) -> dict[str, Any]:
        from harness.cluster.monitor import StudyMonitor
        from harness.report.page import read_page

        with closing(StudyMonitor(self._config, self.folder)) as monitor:
            status = monitor.read()
        records = self.folder / RECORDS
        version = records.stat().st_size if records.exists() else 0
        live = {"lines": status.lines(), "done": status.done, "total": status.total, "version": version}
        return (read_page(self.folder) or {}) | {"live": live}

    def text(self) -> str:
        """The page; before the first trial has ended, one that waits for it."""
        from harness.report.html import render, render_waiting

        data = self.data()
        if "groups" in data:
            return render(data, live=True)
        return render_waiting(self._config.study, data["live"]["lines"])


class PageServer(ThreadingHTTPServer):
    """Serves a page on the loopback address; port 0 takes a free one. Raises OSError where the port is taken."""

    daemon_threads = True

    def __init__(self, port: int, page: LivePage) -> None:
        self.page = page
        super().__init__((ADDRESS, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        if self.headers.get("Host") not in self._own_names():
            return self.send_error(HTTPStatus.FORBIDDEN)  # another site's name that resolves to this machine
        page, name = self.server.page, self.path.removeprefix("/")
        if name == "":
            return self._send(page.text().encode(), "text/html; charset=utf-8")
        if name == "data.json":
            text = json.dumps(page.data(), allow_nan=False, separators=(",", ":"))
            return self._send(text.encode(), "application/json")
        kind = self._kind(name)
        if kind is None or not (page.folder / name).is_file():
            return self.send_error(HTTPStatus.NOT_FOUND)
        return self._send((page.folder / name).read_bytes(), kind)

    def _own_names(self) -> tuple[str, str]:
        return f"{ADDRESS}:{self.server.server_port}", f"localhost:{self.server.server_port}"

    @staticmethod
    def _kind(name: str) -> str | None:
        """The type of a file that the page links to; None for any other, and for any path out of the folder."""
        stem, _, ending = name.rpartition(".")
        if stem.replace("_", "").isalnum() and ending in _PICTURES:
            return _PICTURES[ending]
        return _TABLES.get(name)

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        for header, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(header, value)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Requests are not logged: a page asks every three seconds."""
