"""Files that are not where a table says: in another folder, or there under a name that is much the same."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.config import names_in
from harness.task.intake.folders import folders_in

_TRIED = 5  # names whose files are looked for in other folders
_FOLDERS = 50  # of a folder, that are looked into


def misplaced(folder: Path, name: str) -> str:
    """The file that `name` may mean in a `folder`, as a message ends: with other slashes, in another case, with a
    suffix, or without the first folders of its name; nothing where none is there.
    """
    parts = name.replace("\\", "/").split("/")
    for start in range(len(parts)):
        place = folder.joinpath(*filter(None, parts[start:]))
        if (found := _much_the_same(place)) is not None:
            return f"; {found.relative_to(folder)} is there, which {name!r} may mean"
    return ""


def _much_the_same(place: Path) -> Path | None:
    if not place.name or ".." in place.parts or not place.parent.is_dir():
        return None
    files = [path for path in sorted(place.parent.iterdir()) if path.is_file()]
    wanted = place.name.casefold()
    return next((path for path in files if wanted in (path.name.casefold(), path.stem.casefold())), None)


def template_for(folder: Path, column: str, names: Sequence[str], suffixes: Sequence[str]) -> tuple[str, int] | None:
    """The template of `column`, or of one that it is, whose files are in a folder beside the table's own `folder`, or
    end in one of `suffixes`, and how many of `names` it finds; None where it finds none.
    """
    made = column if "{" in column else f"{{{column}}}"
    if "{" not in column and names_in(made) != [column]:
        return None
    forms = dict.fromkeys(form for name in names[:_TRIED] for form in _forms(folder, name, suffixes))
    counts = {
        f"{before}{made}{behind}": sum((folder / f"{before}{name}{behind}").is_file() for name in names)
        for before, behind in forms
    }
    best = max(counts, key=lambda template: counts[template], default=None)
    return None if best is None else (best, counts[best])


def _forms(folder: Path, name: str, suffixes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What makes a file's name of `name` when it is put before it and behind it."""
    if Path(name).is_absolute():
        return
    inner = _folders(folder)
    deeper = [f"{first}{second}" for first in inner for second in _folders(folder / first)]
    beside = [f"../{each}" for each in _folders(folder / "..")]
    endings = ("", *suffixes, *map(str.upper, suffixes))
    for before in ("", *inner, "../", *beside, *deeper):
        yield from ((before, behind) for behind in endings if (folder / f"{before}{name}{behind}").is_file())


def _folders(place: Path) -> list[str]:
    try:
        return [f"{path.name}/" for path in folders_in(place)[:_FOLDERS]]
    except OSError:  # one that may not be looked into
        return []
