"""Python functions out of packages, each token tagged by what it names; read with `ast`, nothing is run.

A span is a name where it names one thing: a function where it is defined or called, a class or an exception with the
dots before it, a parameter where it is declared, used, or given by name in a call.
"""

import ast
import builtins
import hashlib
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.config import CodeNamesTaskConfig, ConfigError
from harness.system import assets
from harness.task.base import SPLITS
from harness.task.intake.cuts import split_of
from harness.task.intake.facts import Facts
from harness.task.own_tokens import Row, Rows
from harness.task.tags import OUTSIDE

Place = tuple[int, int]
"""A line, from 1, and a column, from 0: in bytes of UTF-8 where `ast` says it, in characters where `tokenize` does."""

_BUILTIN = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)}
_EXCEPTIONS = {name for name, kind in _BUILTIN.items() if issubclass(kind, BaseException)}
_LEFT_OUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}
_LONGEST = 40  # characters of a token: longer ones are texts


def read_code_names(config: CodeNamesTaskConfig) -> tuple[str, Rows, Facts]:
    """The functions of all packages, those of a module in one split. Raises ConfigError where there are none."""
    left: dict[str, list[str]] = {}
    found: dict[tuple[str, ...], tuple[str, Row]] = {}
    for item in config.packages:
        folder = assets.fetch(item.address, item.sha256)
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
        trees = {file.relative_to(folder.parent).as_posix(): _parsed(file, left) for file in files}
        modules = {name: made for name, made in trees.items() if made is not None}
        classes, exceptions = _known_classes(tree for _, tree in modules.values())
        for name, (source, tree) in modules.items():
            split = split_of(name, config.split_seed, config.validation_share, config.test_share)
            for row in _functions(name, source, tree, classes, exceptions):
                if len(row.tokens) > config.max_tokens:
                    left.setdefault("longer than task.max_tokens", []).append(row.name)
                elif found.setdefault(row.tokens, (split, row))[1] is not row:
                    left.setdefault("repeated", []).append(row.name)
    # In an order of their own, so that the first rows are of all modules.
    ordered = sorted(found.values(), key=lambda pair: hashlib.sha256(pair[1].name.encode()).digest())
    if config.rows is not None and config.rows > len(ordered):
        raise ConfigError(f"task.rows={config.rows}: the packages have {len(ordered)} functions")
    chosen = ordered[: config.rows]
    rows = {split: [row for of, row in chosen if of == split] for split in SPLITS}
    return ", ".join(item.address for item in config.packages), rows, Facts(left_out=left)


def _parsed(file: Path, left: dict[str, list[str]]) -> tuple[str, ast.Module] | None:
    try:
        source = file.read_text(encoding="utf-8")
        return source, ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # templates of code, and tests of parsers
        left.setdefault("not Python of this version", []).append(file.name)
        return None


def _known_classes(trees: Iterable[ast.Module]) -> tuple[set[str], set[str]]:
    """The names of classes and of exceptions: those of Python, and those that are defined, by their bases' names."""
    bases: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(_last(base) for base in node.bases)
    exceptions = set(_EXCEPTIONS)
    while more := {name for name, of in bases.items() if of & exceptions} - exceptions:
        exceptions |= more
    return (set(bases) | set(_BUILTIN)) - exceptions, exceptions


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _functions(module: str, source: str, tree: ast.Module, classes: set[str], exceptions: set[str]) -> Iterator[Row]:
    """A row for each function and method, without its docstring and comments; functions inside are part of it."""
    lines = io.StringIO(source).readlines()
    placed = [((line, len(lines[line - 1][:column].encode())), text) for (line, column), text in _tokens(source)]
    for node in _outermost(tree):
        skipped = _docstring(node)
        kept = [
            (start, text)
            for start, text in placed
            if node.lineno <= start[0] <= (node.end_lineno or node.lineno)
            and not (skipped and skipped[0] <= start < skipped[1])
        ]
        starts = [start for start, _ in kept]
        tags = dict.fromkeys(starts, OUTSIDE) | _tags(node, starts, classes, exceptions)
        words = tuple(text if len(text) <= _LONGEST and text.isprintable() else f"{text[0]}…" for _, text in kept)
        yield Row(f"{module}:{node.lineno}", words, tuple(tags[start] for start in starts), module)


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


_FORMATTED = re.compile(r"""(?i:f|rf|fr)("{3}|'{3}|"|')""")


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _outermost(tree: ast.AST) -> Iterator[_Function]:
    waiting = [tree]  # a chain of calls may be deeper than Python calls itself
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Function):
            yield node
        else:
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _docstring(node: _Function) -> tuple[Place, Place] | None:
    """Where it begins, and where it has ended."""
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return _extent(first.value)
    return None


def _tags(function: _Function, starts: list[Place], classes: set[str], exceptions: set[str]) -> dict[Place, str]:
    """The tags of tokens that name something, by their place; what a function is called comes before what it is."""
    found: dict[Place, str] = {}
    nodes = list(_walk(function))
    parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}

    def put(kind: str, begin: Place, end: Place) -> None:
        inside = [start for start in starts if begin <= start < end]
        if not any(start in found for start in inside):
            found.update({start: f"{'I' if place else 'B'}-{kind}" for place, start in enumerate(inside)})

    for node in nodes:
        if isinstance(node, ast.arg | ast.keyword) and node.arg is not None:
            begin = node.lineno, node.col_offset
            put("parameter", begin, (begin[0], begin[1] + len(node.arg.encode())))
        elif isinstance(node, _Function):
            words = 3 if isinstance(node, ast.AsyncFunctionDef) else 2  # async def NAME, def NAME
            name = [start for start in starts if start >= (node.lineno, node.col_offset)][words - 1]
            put("function", name, (name[0], name[1] + 1))
        elif isinstance(node, ast.Name | ast.Attribute):
            kind = "exception" if _last(node) in exceptions else "class" if _last(node) in classes else ""
            if kind and _is_dotted(node):
                put(kind, *_extent(node))
    for node in nodes:
        if isinstance(node, ast.Call) and (called := _last(node.func)):
            _, end = _extent(node.func)
            put("function", (end[0], end[1] - len(called.encode())), end)
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in parameters:
            put("parameter", *_extent(node))
    return found


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """What is in a node, but for what is in f-strings: they are one token, as in Python 3.11."""
    waiting = [node]
    while waiting:
        yield (each := waiting.pop())
        if not isinstance(each, ast.JoinedStr):
            waiting.extend(reversed(list(ast.iter_child_nodes(each))))


def _extent(node: ast.expr) -> tuple[Place, Place]:
    """Where an expression begins, and where it has ended."""
    return (node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0)


def _is_dotted(node: ast.expr) -> bool:
    """Whether an expression is names with dots between them."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)
