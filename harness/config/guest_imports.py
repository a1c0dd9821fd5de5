"""Files that a guest's module imports from the folders of guests: its results depend on these, too."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.config.guests import guest_folders


def imports_digest(modules: Iterable[str]) -> str | None:
    """The SHA-256 of the names and files that these modules import from the folders of guests, and those again.

    Their own files are left out; None where nothing else is imported from there.
    """
    own = set(modules)
    found, waiting = dict[str, Path](), list(own)
    while waiting:
        name = waiting.pop()
        if name not in found and (path := _file_of(name)) is not None:
            found[name] = path
            waiting += _imported(name, path)
    others = sorted(set(found) - own)
    digest = hashlib.sha256()
    for name in others:
        text = found[name].read_bytes()
        digest.update(f"{name}\0{len(text)}\0".encode() + text)
    return digest.hexdigest() if others else None


def _file_of(module: str) -> Path | None:
    """The file of a module in a guests' folder."""
    place = Path(*module.split("."))
    candidates = (Path(folder) / name for folder in guest_folders() for name in (place / "__init__.py", f"{place}.py"))
    return next((path for path in candidates if path.is_file()), None)


def _imported(module: str, path: Path) -> Iterator[str]:
    """The modules that a file may import, wherever it does so, with the packages that they are in."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a file that is imported later, if at all
        return
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield from _with_packages(f"{source}.{alias.name}" if source else alias.name)


def _with_packages(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)))
