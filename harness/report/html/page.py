"""The page itself: template, style, scripts, plotting library and data in one file that needs no network."""

import base64
import functools
import gzip
import hashlib
import html
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from harness.system.jsonl import replace_text

REPORT_PAGE = "report.html"
_SCRIPTS = ("format.js", "table.js", "plots.js", "factors.js", "drawer.js", "live.js", "main.js")
_MARK = re.compile(r"\{\{(\w+)\}\}")


def write_page(data: Mapping[str, Any], folder: Path) -> str:
    """Write the page into a folder; returns its name."""
    replace_text(folder / REPORT_PAGE, render(data))
    return REPORT_PAGE


def render(data: Mapping[str, Any], live: bool = False) -> str:
    """The page as text. A live one asks its own server for newer data; else the page may reach nothing at all."""
    script = "\n".join(_resource(name) for name in _SCRIPTS)
    answers = [group["answer"] for group in data["groups"]]
    values = {
        "policy": _policy(script, live),
        "title": html.escape(str(data["study"])),
        "answer": "\n".join(f"<p>{html.escape(answer)}</p>" for answer in answers),
        "style": _resource("page.css"),
        "script": script,
        "live": "true" if live else "false",
        "data": as_script(data),
        "plotly": _plotly().compressed,
    }
    return _MARK.sub(lambda found: values[found[1]], _resource("page.html"))


def render_waiting(study: str, lines: Sequence[str]) -> str:
    """A page that says how far a study is of which no trial has ended yet, and looks again by itself."""
    said = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    values = {"title": html.escape(study), "lines": said, "style": _resource("page.css")}
    return _MARK.sub(lambda found: values[found[1]], _resource("waiting.html"))


def as_script(data: Mapping[str, Any]) -> str:
    """JSON that may stand inside a script element whatever its strings are."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(script: str, live: bool) -> str:
    """Only these scripts run, whatever text a record brings; nothing is fetched but a live page's data."""
    hashes = " ".join(f"'sha256-{digest}'" for digest in (_digest(script), _plotly().digest))
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _resource(name: str) -> str:
    return (resources.files("harness.report.html") / name).read_text(encoding="utf-8")


class _Library:
    """Plotly's script: compressed for the page, and its digest for the page's policy."""

    def __init__(self, text: str) -> None:
        self.compressed = base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
        self.digest = _digest(text)


@functools.cache
def _plotly() -> _Library:
    spec = importlib.util.find_spec("plotly")  # its own import takes longer than the page
    assert spec is not None
    assert spec.origin is not None
    return _Library((Path(spec.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8"))
