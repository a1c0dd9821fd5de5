"""Rows of text out of Python packages: functions beside docstrings, and what functions do by what they say they do."""

import ast
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from harness.config import AssetConfig, CodeTextTaskConfig
from harness.task.base import SPLITS
from harness.task.intake.cuts import split_of
from harness.task.intake.facts import Facts
from harness.task.own_text import Frames
from harness.task.python_code import Function, first_places, modules, outermost, placed_tokens, shown, tokens_of

_FEWEST_WORDS = 3  # of a docstring that says something


class _Documented(NamedTuple):
    """A function whose docstring is its first paragraph in one line; `code` is the rest, `signature` its head."""

    name: str
    node: Function
    docstring: str
    code: str
    signature: str


_Row = dict[str, object]
"""Columns text, label, and pair where there are two texts."""


def read_code_docs(config: CodeTextTaskConfig) -> tuple[str, Frames, Facts]:
    """Functions without their docstrings, each beside its own or, of half of them, the next other of its module."""
    return _read(config, lambda found, left: _beside_docstrings(found, config.split_seed, left))


def read_code_facts(config: CodeTextTaskConfig) -> tuple[str, Frames, Facts]:
    """Signatures with docstrings; the labels are what the bodies, which are not shown, do."""
    return _read(config, _with_facts)


def _beside_docstrings(
    found: Sequence[_Documented], seed: int, left: dict[str, list[str]]
) -> Iterator[tuple[str, _Row]]:
    for place, function in enumerate(found):
        others = [each.docstring for each in (*found[place + 1 :], *found[:place])]
        other = next((text for text in others if text != function.docstring), None)
        if other is None:
            left.setdefault("no other docstring in the module", []).append(function.name)
            continue
        own = hashlib.sha256(f"{seed}\0{function.name}".encode()).digest()[0] % 2 == 0
        docstring, label = (function.docstring, "own") if own else (other, "other")
        yield function.name, {"text": function.code, "pair": docstring, "label": label}


def _with_facts(found: Sequence[_Documented], left: dict[str, list[str]]) -> Iterator[tuple[str, _Row]]:
    for function in found:
        text = f"{function.signature} {function.docstring}"
        yield function.name, {"text": text, "label": _facts(function.node)}


def _read(
    config: CodeTextTaskConfig,
    rows_of: Callable[[Sequence[_Documented], dict[str, list[str]]], Iterator[tuple[str, _Row]]],
) -> tuple[str, Frames, Facts]:
    """The rows of all modules, those of a module in one split; the index is where a function stands."""
    packages = config.packages if config.data is None else [AssetConfig(address=f"path:{config.data}", sha256=None)]
    left: dict[str, list[str]] = {}
    texts: set[object] = set()
    found: list[tuple[str, str, _Row]] = []
    for package in packages:
        for module, read in modules(package, left).items():
            split = split_of(module, config.split_seed, config.validation_share, config.test_share)
            documented = list(_documented(module, read.source, read.tree, config.max_tokens, left))
            for name, row in rows_of(documented, left):
                if row["text"] in texts:
                    left.setdefault("repeated", []).append(name)
                else:
                    texts.add(row["text"])
                    found.append((split, name, row))
    chosen = [found[place] for place in first_places([name for _, name, _ in found], config.rows)]
    columns = ["text", *(["pair"] if config.reads_pairs else []), "label"]
    frames = {}
    for split in SPLITS:
        mine = [(name, row) for of, name, row in chosen if of == split]
        frames[split] = pd.DataFrame([row for _, row in mine], index=[name for name, _ in mine], columns=columns)
    kept = {split: [str(name) for name in frame.index] for split, frame in frames.items()}
    return ", ".join(package.address for package in packages), frames, Facts(left_out=left, kept=kept)


def _documented(
    module: str, source: str, tree: ast.Module, max_tokens: int, left: dict[str, list[str]]
) -> Iterator[_Documented]:
    """The functions of a module that have a docstring and are no longer than asked for."""
    placed = placed_tokens(source)
    for node in outermost(tree):
        name = f"{module}:{node.lineno}"
        docstring = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
        tokens = tokens_of(node, placed)
        if len(docstring.split()) < _FEWEST_WORDS:
            left.setdefault(f"no docstring of {_FEWEST_WORDS} words", []).append(name)
        elif len(tokens) > max_tokens:
            left.setdefault("longer than task.max_tokens", []).append(name)
        else:
            body = node.body[0].lineno, node.body[0].col_offset
            head = " ".join(shown(text) for start, text in tokens if start < body)
            yield _Documented(name, node, docstring, " ".join(shown(text) for _, text in tokens), head)


def _facts(function: Function) -> tuple[str, ...]:
    """What a function does, functions and classes inside it left out."""
    decorators = {_named(node) for node in function.decorator_list}
    nodes = list(_own_nodes(function))
    calls = {_named(node.func) for node in nodes if isinstance(node, ast.Call)}
    does = {
        "returns": any(isinstance(node, ast.Return) and not _is_none(node.value) for node in nodes),
        "raises": any(isinstance(node, ast.Raise) for node in nodes),
        "yields": any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes),
        "property": bool(decorators & {"property", "cached_property", "classproperty", "setter"}),
        "of_class": bool(decorators & {"classmethod", "staticmethod"}),
        "extends": "super" in calls,
    }
    return tuple(fact for fact, holds in does.items() if holds)


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        yield (node := waiting.pop())
        if not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def _named(node: ast.expr) -> str:
    """The last of the names with dots between them, of a decorator or of what is called."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)
