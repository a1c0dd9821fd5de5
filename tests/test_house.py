"""The command that measures the code's structure says what it takes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import house, toys

ROOT = Path(__file__).parents[1]


def test_what_is_no_tree_is_refused_and_help_is_given():
    command = [sys.executable, "-m", "tests.house"]
    helped = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--no-check" in helped.stdout
    refused = subprocess.run([*command, "nowhere"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "no tree of this project: nowhere" in refused.stderr


def test_no_module_is_in_a_circle():
    """A late import hides none."""
    sources = {house.module_name(path, ROOT): ast.parse(path.read_text()) for path in (ROOT / "harness").rglob("*.py")}
    graph = {name: set(house.imports(name, source, sources)) - {name} for name, source in sources.items()}
    assert house.circles(house.without_packages(graph)) == []


def test_the_whole_configuration_goes_only_to_the_rooms_that_build_from_it():
    """Task, model, lora, training, report and record get plain arguments, or the part of it that is theirs."""
    built_in = {"commands", "cluster", "config", "search", "trial"}
    for path in sorted((ROOT / "harness").rglob("*.py")):
        room = path.relative_to(ROOT / "harness").parts[0]
        taken = [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Name) and node.annotation.id == "Config"
        ]
        assert room in built_in or not taken


def test_no_two_public_classes_share_a_name():
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("toy", "words", "files"),
    [
        (toys.VARIANT, ["lora=toy"], "2"),
        *((toy, toys.MODELS[1], files) for toy, files in zip(toys.MODELS[0], "12", strict=True)),
        *((toy, toys.TASKS[1], files) for toy, files in zip(toys.TASKS[0], "12", strict=True)),
    ],
    ids=["variant", "guest model", "kind of model", "guest task", "reader of a task"],
)
def test_a_variant_a_model_and_a_task_are_two_files_at_most(toy, words, files):
    assert toys.touched(ROOT, toy, *words) == files
