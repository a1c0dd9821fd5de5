"""Measures of the code's structure: `python -m tests.house [TREE …]` prints one column for each tree.

Imports inside functions count like any other, so a late import hides no circle. What a measure counts is said in its
function. Costs of commands are of the processor, in seconds, of a process of its own.
"""

import ast
import os
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Names of kinds of configuration, task, input and model: asking for them is dispatch by type.
KIND = re.compile(r"(Config|Task|Inputs|Network|Classifier|Generator|Spec)$")
# Where a kind may be asked for: modules that build an object from its configuration.
BUILDERS = re.compile(r"(registry|build|builders)\.py$|trial/methods/")


def main(trees: list[Path]) -> None:
    """Print the table."""
    columns = [measure(tree) for tree in trees]
    names = list(columns[0])
    wide = max(map(len, names))
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
        "README bytes": (tree / "README.md").stat().st_size,
        "--help, CPU s": cpu_seconds(tree, "--help"),
        "run=status, CPU s": cpu_seconds(tree, "run=status", "study=none"),
    }


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
    """Whether a node is isinstance or case on a kind, or a probe for an attribute that only some kinds have."""
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
    """Seconds of the processor that a command of a tree takes: the least of three."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "harness", *words]
        subprocess.run(command, cwd="/tmp", env=environment, capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return f"{min(times):.1f}"


if __name__ == "__main__":
    main([Path(word).resolve() for word in sys.argv[1:]] or [Path(__file__).parents[1]])
