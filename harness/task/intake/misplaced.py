"""Files that are not where a table says: in other folders, or there under a name that is much the same."""

import functools
import itertools
import mimetypes
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import names_in
from harness.system.paths import is_address, listed, path_problem
from harness.task.intake.folders import folders_in, is_hidden

ABSENT = "no such file"
_TRIED = 5  # names whose files are looked for in other folders
_FOLDERS = 50  # of a folder, that are looked into
_BELOW = 1000  # folders below a table's own whose files are listed
_DEPTH = 3


def file_at(folder: Path, name: str, endings: Sequence[str] = ("",)) -> Path:
    """Return the file that a table in `folder` names; a * in the name of a folder matches any letters.

    Raises ValueError for two files that are meant.
    """
    before, _, last = name.rpartition("/")
    place = folder / Path(name).expanduser()
    if "*" not in before or path_problem(place, "file") is None:
        return place
    there = _in_folders(folder, before)
    found = [path for ending in endings for path in there.get(f"{last}{ending}", [])]
    if len(found) > 1:
        raise ValueError(f"{len(found)} files are meant: {listed(map(str, found))}")
    return found[0] if found else place


@functools.lru_cache(maxsize=8)
def _in_folders(folder: Path, pattern: str) -> Mapping[str, list[Path]]:
    """The files by their names in all folders that a pattern means, without hidden ones."""
    whole = folder / Path(pattern).expanduser()
    found: dict[str, list[Path]] = {}
    for inner in sorted(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor)))):
        if inner.is_dir() and not is_hidden(inner):
            for path in sorted(inner.iterdir()):
                found.setdefault(path.name, []).append(path)
    return found


def misplaced(folder: Path, name: str) -> str:
    """The file that `name` may mean in a `folder`, as a message ends: with other slashes, in another case, with a
    suffix or another one, or without quotes, what an address asks for, or the first folders of its name; nothing where
    none is there.
    """
    parts = name.strip("\"' ").partition("?")[0].replace("\\", "/").split("/")
    for start in range(len(parts)):
        place = folder.joinpath(*filter(None, parts[start:]))
        if (found := _much_the_same(place)) is not None:
            return f"; {found.relative_to(folder)} is there, which {name!r} may mean"
    return ""


def _much_the_same(place: Path) -> Path | None:
    if not place.name or ".." in place.parts or path_problem(place.parent, "folder") is not None:
        return None
    files = [path for path in sorted(place.parent.iterdir()) if path.is_file()]
    medium = mimetypes.guess_type(place.name)[0] is not None  # of which another kind of file may be there
    for wanted in (place.name.casefold(), place.stem.casefold())[: 1 + medium]:
        if found := [path for path in files if wanted in (path.name.casefold(), path.stem.casefold())]:
            return found[0]
    return None


def where_they_are(
    key: str,
    folder: Path,
    column: str,
    suffixes: Sequence[str],
    *,
    cells: Mapping[Any, object],
    wrong: Mapping[Any, str],
    earlier: Iterable[str] = (),
) -> str:
    """Say what to do about unreadable files: `cells` has the `column`'s value in each row, and `wrong` a reason.

    Where more of them are in other folders, the message has the template that finds these, and with them the files of
    `earlier` tables, whose names were found.
    """
    absent = {row for row, reason in wrong.items() if reason.endswith(ABSENT)}
    named = {row: str(cell).strip() for row, cell in cells.items() if isinstance(cell, str | int | float)}
    leave_out = "task.gaps=leave_out leaves them out"
    tried = [named[row] for row in wrong if row in absent]
    if found := template_for(folder, column, tried, [*named.values(), *earlier], suffixes):
        template, count, whole = found
        hint = f"; '{key}=\"{template}\"' finds {'them' if count == whole else f'{count} of {whole}'}"
    else:
        hint = next((misplaced(folder, named[row]) for row in cells if row in absent), "")
    if 2 * len(absent) <= len(cells):
        return f"{leave_out}{hint}"
    made = column if "{" in column else f"{{{column}}}"
    relative = f"names are relative to the table's folder; a template says where they are, as '{key}=\"FOLDER/{made}\"'"
    addresses = "addresses are not fetched; download the files, and name them relative to the table's folder"
    return hint.removeprefix("; ") or (addresses if any(map(is_address, tried[:1])) else relative)


def template_for(
    folder: Path, column: str, absent: Sequence[str], names: Sequence[str], suffixes: Sequence[str]
) -> tuple[str, int, int] | None:
    """The template of `column`, or of one that it is, whose files are in folders beside the table's own `folder`, or
    end in one of `suffixes`, and how many of how many `names` it finds; None where these are not more than without it.
    """
    made = column if "{" in column else f"{{{column}}}"
    if not absent or ("{" not in column and names_in(made) != [column]):
        return None
    forms = dict.fromkeys(form for name in absent[:_TRIED] for form in _forms(folder, name, suffixes))
    counts = {
        f"{before}{made}{behind}": sum((folder / f"{before}{name}{behind}").is_file() for name in names)
        for before, behind in forms
    }
    if max((count for template, count in counts.items() if not template.startswith("../")), default=0) < len(names):
        given = made[: made.rfind("/", 0, made.find("{")) + 1]  # a folder that has some of them
        short = [name.removeprefix(given) for name in names]
        counts = _patterns(folder, made.removeprefix(given), short, suffixes) | counts
    best = max(counts, key=lambda template: counts[template], default=None)
    return None if best is None or counts[best] <= len(names) - len(absent) else (best, counts[best], len(names))


def _forms(folder: Path, name: str, suffixes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the prefixes and suffixes that make a file's name of `name`."""
    if Path(name).is_absolute():
        return
    inner = _folders(folder)[:_FOLDERS]
    deeper = [f"{first}{second}" for first in inner for second in _folders(folder / first)[:_FOLDERS]]
    beside = [f"../{each}" for each in _folders(folder / "..")[:_FOLDERS]]
    for before in ("", *inner, "../", *beside, *deeper):
        yield from (
            (before, end) for end in _endings(suffixes) if path_problem(folder / f"{before}{name}{end}", "file") is None
        )


def _endings(suffixes: Sequence[str]) -> tuple[str, ...]:
    return "", *suffixes, *map(str.upper, suffixes)


def _folders(place: Path) -> list[str]:
    try:
        return [f"{path.name}/" for path in folders_in(place)]
    except OSError:  # one that may not be looked into
        return []


def _patterns(folder: Path, made: str, names: Sequence[str], suffixes: Sequence[str]) -> dict[str, int]:
    """Templates whose folders are a pattern of several below the table's own, and how many files each finds once."""
    found: dict[tuple[int, str], dict[str, set[str]]] = {}
    wanted = set(names)
    for before in _below(folder):
        there = _names(folder / before)
        for end in _endings(suffixes):
            if mine := wanted.intersection(name.removesuffix(end) for name in there if name.endswith(end)):
                found.setdefault((before.count("/"), end), {})[before] = mine
    counts = {}
    for (_, end), by_folder in found.items():
        times = Counter(name for mine in by_folder.values() for name in mine)
        counts[f"{_pattern(list(by_folder))}{made}{end}"] = sum(times[name] == 1 for name in names)
    return counts


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:  # one that may not be looked into
        return set()


def _pattern(folders: Sequence[str]) -> str:
    """Return the common pattern of several folders of one depth, as images_0*/images/."""
    parts = zip(*(each.split("/")[:-1] for each in folders), strict=True)
    return "".join(f"{names[0] if len(set(names)) == 1 else f'{_beginning(names)}*'}/" for names in parts)


def _beginning(names: Sequence[str]) -> str:
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


def _below(folder: Path) -> list[str]:
    """The folders below one, to a depth of three."""
    found: list[str] = []
    level = [""]
    for _ in range(_DEPTH):
        level = [f"{first}{second}" for first in level for second in _folders(folder / first)][:_BELOW]
        found += level
    return found[:_BELOW]
