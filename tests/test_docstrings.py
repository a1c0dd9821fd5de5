"""Docstrings open with a verb or a noun, so that the first words name the thing they describe."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREES = ("harness", "studies", "tools", "benchmarks", "docs")
FRAGMENTS = {"What", "How", "Why", "Where", "Whether", "When", "Who", "Whose", "Which", "For", "Of", "As", "By", "That"}


def documented(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, str]]:
    """The name and the docstring of a module and of everything defined in it."""
    if isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        inside = f"{inside}.{getattr(tree, 'name', '')}".strip(".")
        yield inside or "module", ast.get_docstring(tree) or ""
    for child in ast.iter_child_nodes(tree):
        yield from documented(child, inside)


def fragments(source: str) -> list[str]:
    return [
        f"{name}: {text.splitlines()[0]}"
        for name, text in documented(ast.parse(source))
        if text and text.split()[0].rstrip(",:;") in FRAGMENTS
    ]


def test_a_fragment_is_found_in_modules_classes_and_functions():
    source = '"""What a module has."""\nclass A:\n    def f(self):\n        """Whether it is."""\n'
    assert fragments(source) == ["module: What a module has.", "A.f: Whether it is."]
    assert fragments('def f():\n    """Return whether it is."""\n') == []


def test_every_docstring_opens_with_a_verb_or_a_noun():
    paths = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
    assert paths
    found = [f"{path.relative_to(ROOT)}: {line}" for path in paths for line in fragments(path.read_text())]
    assert found == []
