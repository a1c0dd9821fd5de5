"""Rows of text out of Python packages: functions beside docstrings, and what functions do by what they say they do."""

import ast
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from harness.config import AssetConfig, CodeTextTaskConfig
from harness.task.base import SPLITS
from harness.task.intake.cuts import split_of
from harness.task.intake.findings import DataFindings
from harness.task.own_text import Frames
from harness.task.python_code import (
    Function,
    Place,
    first_places,
    last_name,
    modules,
    outermost,
    placed_tokens,
    shown,
    tokens_of,
    uncollected,
)

_FEWEST_WORDS = 3  # of a docstring that says something


class _Documented(NamedTuple):
    """A function whose docstring is its first paragraph in one line; `code` is the rest, `signature` its head, and
    `facts` what it does.
    """

    name: str
    facts: tuple[str, ...]
    docstring: str
    code: str
    signature: str


def read_code_docs(config: CodeTextTaskConfig) -> tuple[str, Frames, DataFindings]:
    """Functions without their docstrings, each beside its own or, of half of them, another one's of its split."""
    source, found, left = _functions(config, lambda function: function.code)
    return source, {split: _beside_docstrings(mine, config.split_seed) for split, mine in found.items()}, left


def read_code_facts(config: CodeTextTaskConfig) -> tuple[str, Frames, DataFindings]:
    """Signatures with docstrings; the labels are what the bodies, which are not shown, do."""
    source, found, left = _functions(config, _said)
    frames = {
        split: pd.DataFrame(
            {"text": list(map(_said, mine)), "label": [each.facts for each in mine]},
            index=[each.name for each in mine],
        )
        for split, mine in found.items()
    }
    return source, frames, left


def _said(function: _Documented) -> str:
    return f"{function.signature} {function.docstring}"


def _beside_docstrings(found: Sequence[_Documented], seed: int) -> pd.DataFrame:
    rows = []
    for place, function in enumerate(found):
        others = (each.docstring for each in (*found[place + 1 :], *found[:place]))
        other = next((text for text in others if text != function.docstring), None)
        drawn = hashlib.sha256(f"{seed}\0{function.name}".encode()).digest()[0] % 2 == 0
        if drawn or other is None:
            rows.append({"text": function.code, "pair": function.docstring, "label": "own"})
        else:
            rows.append({"text": function.code, "pair": other, "label": "other"})
    return pd.DataFrame(rows, index=[each.name for each in found], columns=["text", "pair", "label"])


@uncollected()
def _functions(
    config: CodeTextTaskConfig, text_of: Callable[[_Documented], str]
) -> tuple[str, dict[str, list[_Documented]], DataFindings]:
    """The documented functions of each split, those of a module in one; of those with the same text the first."""
    packages = config.packages if config.data is None else [AssetConfig(address=f"path:{config.data}", sha256=None)]
    left: dict[str, list[str]] = {}
    found: dict[str, tuple[str, _Documented]] = {}
    for package in packages:
        for module, read in modules(package, left):
            split = split_of(module, config.split_seed, config.validation_share, config.test_share)
            for function in _documented(module, read.source, read.tree, config.max_tokens, left):
                if found.setdefault(text_of(function), (split, function))[1] is not function:
                    left.setdefault("repeated", []).append(function.name)
    every = list(found.values())
    chosen = [every[place] for place in first_places([function.name for _, function in every], config.rows)]
    splits = {split: [function for of, function in chosen if of == split] for split in SPLITS}
    kept = {split: [function.name for function in mine] for split, mine in splits.items()}
    return ", ".join(package.address for package in packages), splits, DataFindings(left_out=left, kept=kept)


def _documented(
    module: str, source: str, tree: ast.Module, max_tokens: int, left: dict[str, list[str]]
) -> Iterator[_Documented]:
    """The functions of a module that have a docstring and are no longer than asked for."""
    placed: list[tuple[Place, str]] = []
    for node in outermost(tree):
        name = f"{module}:{node.lineno}"
        docstring = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
        if len(docstring.split()) < _FEWEST_WORDS:
            left.setdefault(f"no docstring of {_FEWEST_WORDS} words", []).append(name)
            continue
        placed = placed or placed_tokens(source)
        tokens = tokens_of(node, placed)
        if len(tokens) > max_tokens:
            left.setdefault("longer than task.max_tokens", []).append(name)
        else:
            body = node.body[0].lineno, node.body[0].col_offset
            head = " ".join(shown(text) for start, text in tokens if start < body)
            yield _Documented(name, _facts(node), docstring, " ".join(shown(text) for _, text in tokens), head)


def _facts(function: Function) -> tuple[str, ...]:
    """Return the facts about a function, without functions and classes inside it."""
    decorators = {last_name(node.func if isinstance(node, ast.Call) else node) for node in function.decorator_list}
    nodes = list(_own_nodes(function))
    calls = {last_name(node.func) for node in nodes if isinstance(node, ast.Call)}
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


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)
