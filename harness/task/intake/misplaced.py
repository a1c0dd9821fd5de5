"""Files that are not where a table says, and are there under a name that is much the same."""

from pathlib import Path


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
