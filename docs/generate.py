"""Rewrite what is generated in README.md and docs/: tables of results, the table of variants, the reference of keys.

    python docs/generate.py            # rewrite
    python docs/generate.py --check    # say which pages are not current; exit code 1 if any

A block is everything between the lines `<!-- generated: NAME ARGUMENT -->` and `<!-- end -->`.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import keys  # noqa: E402  a script's own folder, like the repository's, is on the path by now
import records  # noqa: E402

CURATED = ROOT / "results/curated"
BLOCK = re.compile(r"(<!-- generated: (\w+) ?([\w./=-]*) -->\n).*?(<!-- end -->)", re.DOTALL)
ANSWERS = (
    *("Smallest adapter", "No confirmed adapter", "Not decided", "Cannot rank", "Validation did not"),
    *("Remembered best", "Against runs of each task alone", "Best on validation"),
)


def table(study: str) -> str:
    """The first table of a curated study, or of a group of its arms: STUDY/train_rows=500."""
    lines = _of_study(study)
    first = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rest = lines[first:]
    return "\n".join(rest[: rest.index("")])


def answer(study: str) -> str:
    """The sentence that answers the question of a curated study or of a group of its arms: the first."""
    return next(line for line in _of_study(study) if line.startswith(ANSWERS))


def page(name: str) -> str:
    """A curated Markdown file without its title."""
    lines = [line for line in _lines(name) if not line.startswith("# ")]
    return "\n".join(lines).strip()


def output(name: str) -> str:
    """Return the curated output of a command."""
    return "```text\n" + "\n".join(_lines(name)).strip() + "\n```"


def variants(_: str) -> str:
    """The table of variants and kinds of layers, made by trying every one."""
    from harness.lora.table import table as tried  # seconds of import that other blocks need not wait for

    return tried()


def architectures(_: str) -> str:
    """The architectures that model=hf is tried with, each built without memory."""
    from harness.model.table import table as tried

    return tried()


def margins(_: str) -> str:
    """Return the table of margins, by the model that plans a confirmation."""
    from harness.report.planning import margins_table

    return margins_table()


def terminal(words: str) -> str:
    """Return a capture of a terminal or a log during the rank sweep, replayed from its records."""
    from captures import capture

    return capture(words)


def record(_: str) -> str:
    """The sections of a record: what each holds, and of each field its unit, column and key in W&B."""
    return records.reference()


BLOCKS: dict[str, Callable[[str], str]] = {
    "table": table,
    "answer": answer,
    "page": page,
    "output": output,
    "record": record,
    "terminal": terminal,
    "margins": margins,
    "variants": variants,
    "architectures": architectures,
    "keys": lambda _: keys.reference(),
    "experiments": lambda _: keys.experiments(),
}


def pages() -> list[Path]:
    """Every page that may hold a generated block."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rewritten(text: str) -> str:
    """The page with every block made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](found[3])}\n{found[4]}", text)


def _of_study(name: str) -> list[str]:
    """The lines of a study's table.md, or those under the heading that ends with the group's name."""
    study, _, group = name.partition("/")
    parts = "\n".join(_lines(f"{study}/table.md")).split("\n## ")
    (found,) = [part for part in parts if part.partition("\n")[0].endswith(group)] if group else ["\n## ".join(parts)]
    return found.splitlines()


def _lines(name: str) -> list[str]:
    return (CURATED / name).read_text().splitlines()


def main() -> int:
    """Rewrite the pages, or with --check only compare; returns the exit code."""
    stale = []
    for path in pages():
        before = path.read_text()
        after = rewritten(before)
        if after != before:
            stale.append(path.relative_to(ROOT))
            if "--check" not in sys.argv:
                path.write_text(after)
    for path in stale:
        print(f"{path}: {'not current; run python docs/generate.py' if '--check' in sys.argv else 'rewritten'}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
