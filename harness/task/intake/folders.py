"""Folders of the user's own: which of them are splits and which classes, and which files are passed over."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.config import ConfigError
from harness.system.paths import listed, path_problem

_SPLITS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test", "testing", "tst", "holdout"),
}
_SPLIT_OF = {name: split for split, names in _SPLITS.items() for name in names}
_DECORATION = re.compile(r"[\s_.-]*(set|split|data|dataset|images|imgs|\d{4})$")
_LEFT_BY_PROGRAMS = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin")
)
_TEMPORARY = (".lock", ".lck", ".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".bak", "~")


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is none of the user's own: hidden, or left there by a program."""
    name = path.name.casefold()
    return name.startswith((".", "~$")) or name in _LEFT_BY_PROGRAMS or name.endswith(_TEMPORARY)


def split_named(name: str) -> str | None:
    """The split that a folder's name stands for: train, validation or test, under any of their usual names."""
    plain = name.strip().casefold()
    return _SPLIT_OF.get(plain) or _SPLIT_OF.get(_DECORATION.sub("", plain))


def require_folder(path: Path, key: str, reader: str) -> None:
    """Raise ConfigError where `path` is no folder."""
    if problem := path_problem(path, "folder"):
        files = "; task=text_csv and task=seq2seq read files" if problem.startswith("a file") else ""
        raise ConfigError(f"{key}={path}: {problem}" + (f"; task={reader} reads a folder{files}" if files else ""))


def folders_in(path: Path) -> list[Path]:
    """The folders in a folder, by name, without hidden ones."""
    return sorted(inner for inner in path.iterdir() if not is_hidden(inner) and inner.is_dir())


def files_in(path: Path) -> Iterator[Path]:
    """All files below a folder in their order, without hidden ones and those of hidden folders."""
    for inner in sorted(path.iterdir()):
        if is_hidden(inner):
            continue
        if inner.is_dir() and not inner.is_symlink():
            yield from files_in(inner)
        else:
            yield inner


def split_folders(root: Path, key: str) -> dict[str, Path]:
    """The folders of each split, or the root itself as `train` where there are none.

    Raises ConfigError for two of one split, for a split without classes, and for others beside them.
    """
    inner = folders_in(root)
    named = {path: split_named(path.name) for path in inner}
    splits = {path: split for path, split in named.items() if split is not None}
    if not splits or (len(inner) > len(splits) and not any(map(folders_in, splits))):
        return {"train": root}  # a class may be called train, as beside car and bus
    names = listed(path.name for path in splits)
    if others := [path.name for path, split in named.items() if split is None and any(files_in(path))]:
        raise ConfigError(f"{key}={root}: {names} are splits, and what is {listed(others)} beside them?")
    if bare := [path.name for path in splits if not folders_in(path)]:
        raise ConfigError(f"{key}={root}: {listed(bare)} is a split's name, and has no folder for each class in it")
    counts = Counter(splits.values())
    for split, count in counts.items():
        if count > 1:
            twice = [path.name for path, found in splits.items() if found == split]
            raise ConfigError(f"{key}={root}: {listed(twice)} are both the {split} split")
    if "train" not in counts:
        raise ConfigError(f"{key}={root}: {names}, and no train folder")
    return {split: path for path, split in splits.items()}


def class_folders(root: Path, key: str) -> list[Path]:
    """The folders of the classes. Raises ConfigError for one whose own folders are splits."""
    found = folders_in(root)
    for path in found:
        if inner := [deeper.name for deeper in folders_in(path) if split_named(deeper.name)]:
            raise ConfigError(
                f"{key}={root}: {path.name} has {listed(inner)} in it; splits come first, as in train/{path.name}"
            )
    return found


def told_apart(
    files: Sequence[Path], kinds: Sequence[str], unread: Sequence[str]
) -> tuple[list[Path], list[Path], Counter[str]]:
    """Files of the kinds that are read; those of the same sort that are not; and how many of others, by kind."""
    read = [path for path in files if path.suffix.lower() in kinds]
    other = [path for path in files if path.suffix.lower() in unread]
    rest = Counter(path.suffix.lower() or path.name for path in files if path.suffix.lower() not in (*kinds, *unread))
    return read, other, rest


def refuse_broken(key: str, broken: Mapping[Path, str], root: Path, rule: str = "") -> None:
    """Raise ConfigError, with up to ten of the files that cannot be read, and why."""
    if broken:
        said = listed(f"{path.relative_to(root)}: {reason}" for path, reason in broken.items())
        count = f"{len(broken)} files" if len(broken) > 1 else "a file"
        raise ConfigError(f"{key}={root}: {count} cannot be read ({said}){rule}")
