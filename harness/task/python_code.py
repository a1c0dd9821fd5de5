"""Functions out of Python packages, read with `ast`; nothing of them is run."""

import ast
import gc
import hashlib
import io
import re
import tokenize
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import NamedTuple

from harness.config import AssetConfig, ConfigError
from harness.system import assets
from harness.system.paths import path_problem
from harness.task.intake.folders import files_in

Place = tuple[int, int]
"""A line, from 1, and a column, from 0: in bytes of UTF-8 where `ast` says it, in characters where `tokenize` does."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

_LEFT_OUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}
_LONGEST = 40  # characters of a token: longer ones are texts
_FORMATTED = re.compile(r"""(?i:f|rf|fr)("{3}|'{3}|"|')""")


class Module(NamedTuple):
    """A file of Python, and what `ast` makes of it."""

    source: str
    tree: ast.Module


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector: it passes over trees, which hold no cycles, again and again as they grow."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def modules(package: AssetConfig, left: dict[str, list[str]]) -> Iterator[tuple[str, Module]]:
    """The modules of a package with their path in it, but hidden ones, one at a time: all of them take gigabytes.

    Those that are no Python are noted in `left`.
    """
    folder = assets.fetch(package.address, package.sha256)
    for file in [each for each in files_in(folder) if each.suffix == ".py"] if folder.is_dir() else [folder]:
        if problem := path_problem(file, "file"):
            left.setdefault(problem, []).append(file.name)
            continue
        try:
            source = file.read_text(encoding="utf-8")
            module = Module(source, ast.parse(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # templates of code, and tests of parsers
            left.setdefault("not Python of this version", []).append(file.name)
            continue
        yield file.relative_to(folder.parent).as_posix(), module


def outermost(tree: ast.AST) -> Iterator[Function]:
    """The functions and methods of a module, but for those inside others."""
    waiting = [tree]  # a chain of calls may be deeper than Python calls itself
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function):
            yield node
        else:
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def first_places(names: Sequence[str], rows: int | None) -> list[int]:
    """The places of as many as asked for, None for all, in an order of their own: the first are of all modules.

    Raises ConfigError where there are fewer.
    """
    if rows is not None and rows > len(names):
        raise ConfigError(f"task.rows={rows}: there are {len(names)} functions; task.rows=null takes all")
    return sorted(range(len(names)), key=lambda place: hashlib.sha256(names[place].encode()).digest())[:rows]


def placed_tokens(source: str) -> list[tuple[Place, str]]:
    """The tokens of a module, without comments and layout, and the lines and bytes where they begin."""
    lines = io.StringIO(source).readlines()
    return [((line, len(lines[line - 1][:column].encode())), text) for (line, column), text in _tokens(source)]


def tokens_of(node: Function, placed: Sequence[tuple[Place, str]]) -> list[tuple[Place, str]]:
    """The tokens of a function of that module, which stand in their order, without its docstring."""
    skipped, past = _docstring(node), (node.end_lineno or node.lineno) + 1
    begin, end = (bisect_left(placed, (line, 0), key=itemgetter(0)) for line in (node.lineno, past))
    return [(start, text) for start, text in placed[begin:end] if not (skipped and skipped[0] <= start < skipped[1])]


def shown(text: str) -> str:
    """A token as the model reads it; a long text is cut to its first character."""
    return text if len(text) <= _LONGEST and text.isprintable() else f"{text[0]}…"


def last_name(node: ast.expr) -> str:
    """The last of the names with dots between them that an expression is; empty where it is none."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def extent(node: ast.expr) -> tuple[Place, Place]:
    """Return the start and the end of an expression."""
    return (node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0)


def _tokens(source: str) -> list[tuple[Place, str]]:
    """The tokens of a module and where they begin, without comments and layout; an f-string is one, in all versions."""
    found: list[tuple[Place, str]] = []
    depth = 0
    for each in tokenize.generate_tokens(io.StringIO(source).readline):
        name = tokenize.tok_name[each.type]
        if name.endswith("STRING_START"):
            depth += 1
            if depth == 1:
                found.append((each.start, f"{each.string}…"))
        if not depth and each.type not in _LEFT_OUT:
            opening = _FORMATTED.match(each.string)
            found.append((each.start, f"{opening[0]}…" if opening else each.string))
        if name.endswith("STRING_END"):
            depth -= 1
    return found


def _docstring(node: Function) -> tuple[Place, Place] | None:
    """Return the start and the end of its docstring."""
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return extent(first.value)
    return None
