"""Measures of the code's structure: `python -m tests.house [--no-check] [TREE …]` prints one column for each tree.

Imports inside functions count like any other, so a late import hides no circle. What a measure counts is said in its
function. Costs are seconds of the processor, of processes of their own: the machine may be busy, and the seconds that
`make check` takes by the clock say how busy. A tree without the door that is measured has a dash.
"""

import argparse
import ast
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import tiny, toys

# Names of kinds of configuration, task, input and model: asking for them is dispatch by type.
KIND = re.compile(r"(Config|Task|Inputs|Network|Classifier|Generator|Spec)$")
# The name of a kind: to compare it with a literal is dispatch by string.
NAMED = re.compile(r"\b(task|model|lora|launch|method)\.(name|kind|reader|variant)$|\brank_schedule$")
STUDY_OF_TWELVE = Path(__file__).parent / "cases/parent_study"
# Where a kind may be asked for: modules that build an object from its configuration.
BUILDERS = re.compile(r"(registry|build|builders)\.py$|trial/methods/")


def main(trees: list[Path], *, check: bool) -> None:
    """Print the table; `make check` takes minutes, and is left out where it is not asked for."""
    columns = [measure(tree) | (check_seconds(tree) if check else {}) for tree in trees]
    names = list(dict.fromkeys(name for column in columns for name in column))
    wide = max(map(len, names))
    print(f"{'python -m tests.house':{wide}}  " + "  ".join(f"{revision(tree):>12}" for tree in trees))
    for name in names:
        print(f"{name:{wide}}  " + "  ".join(f"{column.get(name, '–')!s:>12}" for column in columns))


def measure(tree: Path) -> dict[str, object]:
    """Every measure of a tree by its name."""
    sources = {path: ast.parse(path.read_text()) for path in sorted((tree / "harness").rglob("*.py"))}
    modules = {module_name(path, tree): source for path, source in sources.items()}
    graph = {name: set(imports(name, source, modules)) - {name} for name, source in modules.items()}
    rooms = room_graph(graph)
    functions = [node for source in sources.values() for node in ast.walk(source) if isinstance(node, ast.FunctionDef)]
    lengths = sorted((node.end_lineno or node.lineno) - node.lineno + 1 for node in functions)
    return {
        "files": len(sources),
        "lines": sum(path.read_text().count("\n") for path in sources),
        "longest file": max(path.read_text().count("\n") for path in sources),
        "first-level rooms": len(rooms),
        "floors": max(floors(rooms).values()),
        "circles of rooms": len(circles(rooms)),
        "circles of modules": len(circles(without_packages(graph))),
        "type-dispatch sites": len(list(dispatch_sites(sources, tree))),
        "string look-ups into records": record_lookups(sources, tree),
        "functions: median / p95 / longest": (
            f"{statistics.median(lengths):.0f} / {lengths[int(0.95 * len(lengths))]} / {lengths[-1]}"
        ),
        "functions with **kwargs": sum(node.args.kwarg is not None for node in functions),
        "untyped arguments": sum(
            argument.annotation is None and argument.arg not in ("self", "cls")
            for node in functions
            for argument in (*node.args.args, *node.args.kwonlyargs)
        ),
        "frames to the layer: trial / study": f"{frames(tree, 'layer')} / {frames(tree, 'layer', *STUDY)}",
        "frames to the optimiser: trial": frames(tree, "optimizer"),
        "specifications built: trial": frames(tree, "specification"),
        "files a toy variant touches": toys.touched(tree, toys.VARIANT, "lora=toy"),
        "files a toy model touches: guest / own kind": toys.touched_by_each(tree, *toys.MODELS),
        "files a toy task touches: guest / own reader": toys.touched_by_each(tree, *toys.TASKS),
        "lines of a guest's model and its option": guest_lines(tree),
        "README bytes": (tree / "README.md").stat().st_size,
        "commit titles: p90 characters": title_length(tree),
        "--help, CPU s": cpu_seconds(tree, "--help"),
        "run=status, CPU s": status_seconds(tree),
        "run=count, CPU s": cpu_seconds(tree, "run=count"),
    }


def revision(tree: Path) -> str:
    """The commit of a tree; + where files differ from it."""
    command = ["git", "-C", str(tree), "describe", "--always", "--abbrev=7", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or tree.name


def module_name(path: Path, tree: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(tree).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(name: str, source: ast.Module, modules: dict[str, ast.Module]) -> Iterator[str]:
    """The modules of the package that a module imports, wherever the import stands; not those for types alone."""
    for node in runtime_nodes(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in modules:
                    yield full
                elif node.module in modules:
                    yield node.module


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from runtime_nodes(child)


def room_graph(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The first-level rooms and which of them each imports."""
    rooms: dict[str, set[str]] = {}
    for name, targets in graph.items():
        if name.count(".") == 0:
            continue
        room = name.split(".")[1]
        used = {target.split(".")[1] for target in targets if target.count(".")}
        rooms.setdefault(room, set()).update(used - {room})
    return rooms


def without_packages(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The modules without packages' own files, which only pass names on."""
    packages = {name for name in graph if any(other.startswith(f"{name}.") for other in graph)}
    return {name: targets - packages for name, targets in graph.items() if name not in packages}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of nodes that reach each other."""
    reach = {name: reachable(name, graph) for name in graph}
    found: list[set[str]] = []
    for name in graph:
        group = {other for other in reach[name] if name in reach.get(other, set())}
        if group and not any(name in known for known in found):
            found.append(group)
    return found


def reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    """Every node that imports lead to."""
    seen: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph.get(name, ())
    return seen


def floors(rooms: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room: one above the highest that it imports (circles stay on one)."""
    level = dict.fromkeys(rooms, 1)
    for _ in rooms:
        for name, targets in rooms.items():
            below = [level[target] for target in targets if name not in reachable(target, rooms)]
            level[name] = max([1, *(height + 1 for height in below)])
    return level


def dispatch_sites(sources: dict[Path, ast.Module], tree: Path) -> Iterator[str]:
    """Places outside builders that ask what kind of configuration, task or model an object is."""
    for path, source in sources.items():
        if BUILDERS.search(path.as_posix()):
            continue
        for node in ast.walk(source):
            if asks_for_kind(node):
                yield f"{path.relative_to(tree)}:{getattr(node, 'lineno', 0)}"


def asks_for_kind(node: ast.AST) -> bool:
    """Whether a node is isinstance or case on a kind, or a probe for an attribute that only some kinds have.

    So is a comparison of a kind's name, or of a variant, with a literal.
    """
    if isinstance(node, ast.Compare):
        literal = isinstance(node.comparators[0], ast.Constant | ast.Tuple)
        return literal and bool(NAMED.search(ast.unparse(node.left)))
    if isinstance(node, ast.match_case):
        classes = [inner for inner in ast.walk(node.pattern) if isinstance(inner, ast.MatchClass)]
        return any(KIND.search(ast.unparse(inner.cls)) for inner in classes)
    if not isinstance(node, ast.Call) or len(node.args) < 2:
        return False
    called = ast.unparse(node.func)
    if called == "isinstance":
        names = re.findall(r"\w+", ast.unparse(node.args[1]))
        return any(KIND.search(name) for name in names)
    subject = ast.unparse(node.args[0])
    return called in ("getattr", "hasattr") and bool(re.search(r"\b(config|task|model|lora|launch|part)\b", subject))


def record_lookups(sources: dict[Path, ast.Module], tree: Path) -> int:
    """`entry.section["key"]` and `entry.section.get("key")` in what reads records."""
    places = ("harness/report", "harness/cluster", "harness/search", "harness/claims.py", "studies")
    found = 0
    for path, source in sources.items():
        if not path.relative_to(tree).as_posix().startswith(places):
            continue
        for node in ast.walk(source):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                found += of_a_record(node.value) and isinstance(node.slice.value, str)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                literal = node.args and isinstance(node.args[0], ast.Constant)
                found += bool(literal) and of_a_record(node.func.value)
    return found


SECTIONS = (
    "params|memory|time|scores|steps|seeds|versions|source|data|base|hardware|"
    "adapter|flops|merge|groups|probe|sequence|lora|optimizer|point"
)


def of_a_record(node: ast.expr) -> bool:
    """Whether an expression is a section of a record, or something inside one."""
    return bool(re.search(rf"\.({SECTIONS})(\[[^\]]*\])*$", ast.unparse(node)))


def cpu_seconds(tree: Path, *words: str) -> str:
    """Seconds of the processor that a command of a tree takes: the least of five; a dash where it fails."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    times = []
    for _ in range(5):
        before = used_by_children()
        command = [sys.executable, "-m", "harness", *words]
        done = subprocess.run(command, cwd="/tmp", env=environment, capture_output=True, check=False)
        if done.returncode:
            return "–"
        times.append(used_by_children() - before)
    return f"{min(times):.1f}"


def status_seconds(tree: Path) -> str:
    """The same of the status of a study of twelve trials; of a copy of it, in which the command makes its locks."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(STUDY_OF_TWELVE, Path(place) / "s")
        return cpu_seconds(tree, "run=status", "study=s", f"results={place}")


def used_by_children() -> float:
    """Seconds of the processor of all processes that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


STUDY = ("run=study", "study=s", "sweep=rank_alpha_lr", "sweep.scientific={lora.rank: [1]}", "sweep.trials=1")
SMALL = ("trainer.batch_size=8", "trainer.max_steps=2", "trainer.evaluations=1", "tracking=off", "lora.rank=2")
# Runs a command; prints how many functions of the project stand on the stack where A, or AdamW, is made, or how many
# specifications of LoRA are made.
WALK = """
import functools, pathlib, sys
import torch
import harness.__main__ as command
from harness.lora import LoraSpec

project, kind = pathlib.Path(command.__file__).parent, sys.argv.pop(1)
counts = []

def note():
    found, frame = [], sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if pathlib.Path(code.co_filename).is_relative_to(project) and code.co_name != "<module>":
            found.append((code.co_name, code.co_filename))
        frame = frame.f_back
    while kind == "layer" and found[0][0] != "__init__":  # what the constructor itself calls is inside the layer
        found.pop(0)
    counts.append(len(found))

register, init = torch.nn.Module.register_parameter, torch.optim.AdamW.__init__

def register_parameter(self, name, value):
    if kind == "layer" and name == "lora_A" and value is not None and value.device.type != "meta":
        note()
    register(self, name, value)

@functools.wraps(init)
def adamw(self, *rest, **named):
    if kind == "optimizer":
        note()
    init(self, *rest, **named)

checked, made = LoraSpec.__post_init__, []

def post_init(self):
    made.append(self)
    checked(self)

torch.nn.Module.register_parameter, torch.optim.AdamW.__init__ = register_parameter, adamw
LoraSpec.__post_init__ = post_init
command.main()
print("FRAMES", len(made) if kind == "specification" else max(counts))
"""


def frames(tree: Path, kind: str, *words: str) -> str:
    """Functions of the project on the stack where a LoRA layer, or the optimiser, is constructed, itself included.

    Of `specification` it is how many of them the command makes.
    """
    with tempfile.TemporaryDirectory() as place:
        base, data = Path(place) / "base", Path(place) / "data"
        base.mkdir()
        data.mkdir()
        tiny.write_base(base)
        command = [sys.executable, "-c", WALK, kind, *tiny.words_of(base, tiny.write_data(data)), *SMALL, *words]
        environment = os.environ | {"PYTHONPATH": str(tree), "HARNESS_CACHE": place, "HARNESS_RESULTS": place}
        done = subprocess.run(
            [*command, "trainer.accelerator=cpu"],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"^FRAMES (\d+)$", done.stdout, re.MULTILINE)
        return found[1] if found else "–"


def guest_lines(tree: Path) -> str:
    """Lines of the first two blocks on the page that shows a model of one's own: its class, and its option."""
    page = tree / "docs/how-to/own_model.md"
    if not page.is_file():
        return "–"
    found = re.findall(r"```(?:python|yaml)\n(.*?)```", page.read_text(), re.DOTALL)[:2]
    return str(sum(block.count("\n") for block in found))


def title_length(tree: Path) -> str:
    """Of the newest hundred commits."""
    command = ["git", "-C", str(tree), "log", "-100", "--format=%s"]
    titles = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return str(sorted(map(len, titles))[int(0.9 * len(titles))]) if titles else "–"


def check_seconds(tree: Path) -> dict[str, str]:
    """What `make check` takes in this environment, which is not installed anew, of the processor and by the clock."""
    if not re.search(r"^check:", (tree / "Makefile").read_text(), re.MULTILINE):
        return {}
    before, began = used_by_children(), time.monotonic()
    command = ["make", "check", f"BIN={Path(sys.executable).parent}", "-o", ".venv/tested"]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False)
    used = {"CPU": used_by_children() - before, "wall": time.monotonic() - began}
    failed = done.returncode != 0
    return {f"make check, {name} s": "failed" if failed else f"{seconds:.0f}" for name, seconds in used.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, metavar="TREE", default=[Path(__file__).parents[1]])
    parser.add_argument("--no-check", action="store_true", help="leave out what `make check` takes")
    asked = parser.parse_args()
    if missing := [str(tree) for tree in asked.trees if not (tree / "harness").is_dir()]:
        parser.error(f"no tree of this project: {', '.join(missing)}")
    main([tree.resolve() for tree in asked.trees], check=not asked.no_check)
