"""More than three arguments of one type are passed by name: in their order nobody can check them."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for room in ("harness", "studies") for path in sorted((ROOT / room).rglob("*.py"))]
# Fixed by torch, which calls forward, or tensors of one formula in the order of its paper.
TENSORS = "Tensor"


def offenders(source: str) -> list[str]:
    """The functions with more than three positional arguments of one type, optional or not; tensors are left out."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args]
            kinds = Counter(ast.unparse(each.annotation).replace(" | None", "") for each in given if each.annotation)
            del kinds[TENSORS]
            found += [f"{node.name}: {count} {kind}" for kind, count in kinds.items() if count > 3]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_arguments_of_like_type_are_passed_by_name(path):
    assert offenders(path.read_text()) == []


def test_the_measure_sees_what_it_is_to_see():
    assert offenders("def f(a: int, b: int, c: int, d: int | None = None): ...") == ["f: 4 int"]
    assert offenders("def f(a: int, b: int, c: int, *, d: int): ...") == []
