"""Python functions out of packages, each token tagged by what it names; read with `ast`, nothing is run.

A span is a name where it names one thing: a function where it is defined or called, a class or an exception with the
dots before it, a parameter where it is declared, used, or given by name in a call.
"""

import ast
import builtins
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from harness.config import CodeNamesTaskConfig
from harness.task.base import SPLITS
from harness.task.intake.cuts import split_of
from harness.task.intake.findings import DataFindings
from harness.task.own_tokens import Row, Rows
from harness.task.python_code import (
    Function,
    Module,
    Place,
    extent,
    first_places,
    last_name,
    modules,
    outermost,
    placed_tokens,
    shown,
    tokens_of,
    uncollected,
)
from harness.task.tags import OUTSIDE

_BUILTIN = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)}
_EXCEPTIONS = {name for name, kind in _BUILTIN.items() if issubclass(kind, BaseException)}


@uncollected()
def read_code_names(config: CodeNamesTaskConfig) -> tuple[str, Rows, DataFindings]:
    """The functions of all packages, those of a module in one split. Raises ConfigError where there are none."""
    left: dict[str, list[str]] = {}
    found: dict[tuple[str, ...], tuple[str, Row]] = {}
    for package in config.packages:
        read = dict(modules(package, left))
        classes, exceptions = _known_classes(module.tree for module in read.values())
        for name, module in read.items():
            split = split_of(name, config.split_seed, config.validation_share, config.test_share)
            for row in _functions(name, module, classes, exceptions, config.max_tokens, left):
                if found.setdefault(row.tokens, (split, row))[1] is not row:
                    left.setdefault("repeated", []).append(row.name)
    every = list(found.values())
    chosen = [every[place] for place in first_places([row.name for _, row in every], config.rows)]
    rows = {split: [row for of, row in chosen if of == split] for split in SPLITS}
    return ", ".join(package.address for package in config.packages), rows, DataFindings(left_out=left)


def _known_classes(trees: Iterable[ast.Module]) -> tuple[set[str], set[str]]:
    """The names of classes and of exceptions: those of Python, and those that are defined, by their bases' names."""
    bases: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(last_name(base) for base in node.bases)
    exceptions = set(_EXCEPTIONS)
    while more := {name for name, of in bases.items() if of & exceptions} - exceptions:
        exceptions |= more
    return (set(bases) | set(_BUILTIN)) - exceptions, exceptions


def _functions(
    name: str,
    module: Module,
    classes: set[str],
    exceptions: set[str],
    max_tokens: int,
    left: dict[str, list[str]],
) -> Iterator[Row]:
    """A row for each function and method, without its docstring and comments; functions inside are part of it.

    Those that are longer than `max_tokens` are noted in `left`.
    """
    placed = placed_tokens(module.source)
    for node in outermost(module.tree):
        kept = tokens_of(node, placed)
        if len(kept) > max_tokens:
            left.setdefault("longer than task.max_tokens", []).append(f"{name}:{node.lineno}")
            continue
        starts = [start for start, _ in kept]
        tags = dict.fromkeys(starts, OUTSIDE) | _tags(node, starts, classes, exceptions)
        words = tuple(shown(text) for _, text in kept)
        yield Row(f"{name}:{node.lineno}", words, tuple(tags[start] for start in starts), name)


def _tags(function: Function, starts: list[Place], classes: set[str], exceptions: set[str]) -> dict[Place, str]:
    """The tags of tokens that name something, by their place; what a function is called comes before what it is."""
    found: dict[Place, str] = {}
    nodes = list(_walk(function))
    parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}

    def put(kind: str, begin: Place, end: Place) -> None:
        inside = starts[bisect_left(starts, begin) : bisect_left(starts, end)]
        if not any(start in found for start in inside):
            found.update({start: f"{'I' if place else 'B'}-{kind}" for place, start in enumerate(inside)})

    for node in nodes:
        if isinstance(node, ast.arg | ast.keyword) and node.arg is not None:
            begin = node.lineno, node.col_offset
            put("parameter", begin, (begin[0], begin[1] + len(node.arg.encode())))
        elif isinstance(node, Function):
            words = 3 if isinstance(node, ast.AsyncFunctionDef) else 2  # async def NAME, def NAME
            name = starts[bisect_left(starts, (node.lineno, node.col_offset)) + words - 1]
            put("function", name, (name[0], name[1] + 1))
        elif isinstance(node, ast.Name | ast.Attribute):
            kind = "exception" if last_name(node) in exceptions else "class" if last_name(node) in classes else ""
            if kind and _is_dotted(node):
                put(kind, *extent(node))
    for node in nodes:
        if isinstance(node, ast.Call) and (called := last_name(node.func)):
            _, end = extent(node.func)
            put("function", (end[0], end[1] - len(called.encode())), end)
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in parameters:
            put("parameter", *extent(node))
    return found


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes in a node except those in f-strings: they are one token, as in Python 3.11."""
    waiting = [node]
    while waiting:
        yield (each := waiting.pop())
        if not isinstance(each, ast.JoinedStr):
            waiting.extend(reversed(list(ast.iter_child_nodes(each))))


def _is_dotted(node: ast.expr) -> bool:
    """Return whether an expression is names with dots between them."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)
