"""Folders of the user's own: which of them are splits and which classes, and which files are passed over."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.config import ConfigError
from harness.config.tasks.base import READ_FILES
from harness.system.paths import listed, path_problem
from harness.task.intake.unlabelled import is_marked

_SPLITS = {
    "train": ("train", "training", "trn", "trainval"),
    "validation": ("validation", "validate", "valid", "val", "dev", "development", "evaluation", "eval"),
    "test": ("test", "testing", "tst", "holdout"),
}
_SPLIT_OF = {name: split for split, names in _SPLITS.items() for name in names}
_DECORATIONS = ("dataset", "set", "split", "data", "images", "image", "imgs", "img")
_DECORATED = re.compile(rf"({'|'.join(_SPLIT_OF)})({'|'.join(_DECORATIONS)})")
_PERSON = re.compile(r"(?:actor|actress|speaker|spk|spkr|subject|subj|person|patient|participant)[\W_]*\d+")
_PARTS = re.compile(r"(?:fold|split|cv|part|partition|subset)[\W_]*\d+|(?:tr|te|ts|va|vl)[\W_]*\d*")
_LEFT_BY_PROGRAMS = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin")
)
_IF_CLASSES = "; where they are classes, give them other names"
_NAMED = ", or name files and labels in a table (task=image_table, task=audio_table); what has no classes is moved away"
NO_PICTURES = frozenset(
    (*("mask", "masks", "label", "labels", "annotation", "annotations"), *("segmentation", "segmentations"))
)
"""Folders in those of classes whose images are none to learn from."""
_PICTURES = frozenset(
    ("image", "images", "img", "imgs", "jpegimages", "picture", "pictures", "photo", "photos", "frame", "frames")
)
_MASK = re.compile(
    r"(.+?)[ _.-]?[ _.-](?:masks?|segm?|segmentation|gt|ground[ _-]?truth|annotations?)(?:[ _-]?\d+)?", re.IGNORECASE
)
_TEMPORARY = (".lock", ".lck", ".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".bak", "~")


def is_hidden(path: Path) -> bool:
    """Return whether a file or folder is not the user's own: hidden, or left there by a program."""
    name = path.name.casefold()
    return name.startswith((".", "~$")) or name in _LEFT_BY_PROGRAMS or name.endswith(_TEMPORARY)


def split_named(name: str) -> str | None:
    """The split that a folder's name stands for: train, validation or test, under any of their usual names."""
    rest = [word for word in _words(name) if word not in _SPLIT_OF and word not in _DECORATIONS and len(word) > 1]
    return None if rest else split_among(name)


def _words(name: str) -> list[str]:
    """Split a name at blanks, signs, digits and a small letter before a capital: trainA and train_set-2017."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    return [_DECORATED.sub(r"\1", word.casefold()) for word in words]


def split_among(name: str) -> str | None:
    """The split that a word of a name stands for: seg_train is one for training, and so is train_val."""
    found = [_SPLIT_OF[word] for word in _words(name) if word in _SPLIT_OF]
    return "train" if "train" in found else next(iter(found), None)


def require_folder(path: Path, key: str, reader: str) -> None:
    """Raise ConfigError where `path` is no folder."""
    if problem := path_problem(path, "folder"):
        files = f"; task={reader} reads a folder; {READ_FILES}" if problem.startswith("a file") else ""
        raise ConfigError(f"{key}={path}: {problem}{files}")


def folders_in(path: Path) -> list[Path]:
    """The folders in a folder, by name, without hidden ones."""
    return sorted(inner for inner in path.iterdir() if not is_hidden(inner) and inner.is_dir())


def several_in(path: Path) -> Path | None:
    """The first folder on the way down from one that has several folders in it; None where there is none."""
    while len(inner := folders_in(path)) == 1:
        path = inner[0]
    return path if inner else None


def files_in(path: Path) -> Iterator[Path]:
    """All files below a folder in their order, without hidden ones and those of hidden folders."""
    for inner in sorted(path.iterdir()):
        if is_hidden(inner):
            continue
        if inner.is_dir() and not inner.is_symlink():
            yield from files_in(inner)
        else:
            yield inner


def split_folders(root: Path, key: str) -> tuple[dict[str, Path], Counter[str]]:
    """The folders of each split, or the root itself as `train` where there are none; and how many files are passed over
    in folders beside those whose classes are in two splits. A split's folder may hold one of its own name that has all.

    Raises ConfigError for two of one split, for a split without classes, and for others beside them.
    """
    named = {path: split_among(path.name) for path in folders_in(root)}
    exact = {split_named(path.name) for path in named}
    splits = {_whole(path): split for path, split in named.items() if split is not None}
    splits = {  # test_multiple beside test is none
        path: split
        for path, split in splits.items()
        if split not in exact or split_named(path.name) or folders_in(path)
    }
    if not splits or _are_classes(splits, len(named)):
        return {"train": root}, Counter()
    names = listed(path.name for path in splits)
    beside = {path: len(list(files_in(path))) for path in named if _whole(path) not in splits}
    others = [path.name for path, count in beside.items() if count]
    if others and not _are_plain(splits, others):
        raise ConfigError(
            f"{key}={root}: {names} are splits, and what is {listed(others)} beside them? Move it away; where they are "
            "classes, give them other names"
        )
    if bare := [path.name for path in splits if not folders_in(path)]:
        said = f"{listed(bare)} is a split's name, and has no folder for each class in it"
        raise ConfigError(f"{key}={root}: {said}{_IF_CLASSES}{_NAMED}")
    counts = Counter(splits.values())
    for split, count in counts.items():
        if count > 1:
            twice = [path.name for path, found in splits.items() if found == split]
            raise ConfigError(f"{key}={root}: {listed(twice)} are both the {split} split; rename one of them")
    if "train" not in counts:
        cut = f"task.data={next(iter(splits))} cuts splits off that one" if len(splits) == 1 else "train has the others"
        raise ConfigError(f"{key}={root}: {names}, and no train folder; {cut}")
    return {split: path for path, split in splits.items()}, Counter(
        {f"{name}/": beside[root / name] for name in others}
    )


def _whole(path: Path) -> Path:
    """A folder, or the one in it, where that has its name and is alone, as seg_train/seg_train."""
    return path / path.name if [inner.name for inner in path.iterdir() if not is_hidden(inner)] == [path.name] else path


def _are_plain(splits: Mapping[Path, str], others: Sequence[str]) -> bool:
    """Return whether a class is in the folder of training and in another split's, which no classes of such names have,
    and none is in a folder beside them.
    """
    classes = {path: {inner.name for inner in folders_in(path)} for path in splits}
    trained = set[str]().union(*(classes[path] for path, split in splits.items() if split == "train"))
    shared = any(trained & classes[path] for path, split in splits.items() if split != "train")
    return shared and not set().union(*classes.values()) & set(others)


def _are_classes(splits: Mapping[Path, str], folders: int) -> bool:
    """Return whether folders with a split's name are classes like those beside them, as train beside car and bus.

    They name one split, hold no folders, and are one alone, or each more than a split, as bullet_train.
    """
    if len(set(splits.values())) > 1 or any(map(folders_in, splits)):
        return False
    return len(splits) == 1 < folders or (len(splits) > 1 and not any(split_named(path.name) for path in splits))


def class_folders(root: Path, key: str, classes: int | None = None) -> list[Path]:
    """The folders of the classes. Raises ConfigError for one whose own folders are splits, and, unless there are as
    many as `classes`, where their names are those of parts of data, or all of them hold the same folders.
    """
    found = folders_in(root)
    for path in found:
        if inner := [deeper.name for deeper in folders_in(path) if split_named(deeper.name)]:
            raise ConfigError(
                f"{key}={root}: {path.name} has {listed(inner)} in it; splits come first, as in train/{path.name}"
            )
    if len(found) > 1 and classes != len(found):
        _refuse_parts(root, key, found)
    return found


def _refuse_parts(root: Path, key: str, found: Sequence[Path]) -> None:
    """Raise ConfigError where it cannot be told whether folders are classes."""
    names = listed(path.name for path in found)
    rule = (
        f"splits are named train, validation and test; where {names} are classes, task.classes={len(found)} takes them"
    )
    if all(_PARTS.fullmatch(path.name.casefold()) for path in found):
        raise ConfigError(f"{key}={root}: {names} are names of splits or folds; {rule}")
    known = {path.name for path in found}
    for path in found:
        if len(again := [deeper.name for deeper in folders_in(path) if deeper.name in known]) > 1:
            said = f"{path.name} has the folders {listed(again)} again, and would be a class beside them"
            rule = f"; task.data={path} reads what it has, task.classes={len(found)} takes it for a class"
            raise ConfigError(f"{key}={root}: {said}{rule}")
    kinds = {path.name: path.name.casefold() for path in found}
    if masks := [name for name, kind in kinds.items() if kind in NO_PICTURES and set(kinds.values()) & _PICTURES]:
        whole = "pictures stand in a folder for each class, or in a table with the class of each (task=image_table)"
        raise ConfigError(
            f"{key}={root}: {names} are no classes, and {listed(masks)} no pictures to learn from; {whole}"
        )
    inner = set.intersection(*({deeper.name for deeper in folders_in(path)} for path in found))
    if masks := sorted(name for name in inner if name.casefold() in NO_PICTURES):
        rule = f"move {listed(masks)}, which are no pictures to learn from, out of the folders of classes"
        raise ConfigError(f"{key}={root}: {names} each have {listed(sorted(inner))} in them; {rule}")
    if len(inner) > 1:
        raise ConfigError(f"{key}={root}: {names} each have {listed(sorted(inner))} in them: which are classes? {rule}")


def picture_of_mask(path: Path) -> Path | None:
    """The name without ending of the picture that a file is a mask of, as X_mask.png is the mask of X.png."""
    found = _MASK.fullmatch(path.stem)
    return path.with_name(found[1]) if found else None


def odd_classes(classes: Sequence[str], *, settled: bool) -> list[str]:
    """Return warnings about classes from the names of their folders: people, if all are, and, unless it is `settled`,
    any that is marked as none.
    """
    marked = [name for name in classes if is_marked(name)] if not settled else []
    rule = "task.labels.unlabelled=leave_out leaves it out, keep takes it"
    told = [f"the folder {name} is taken for a class; {rule}" for name in marked]
    if len(classes) > 1 and all(_PERSON.fullmatch(name.casefold()) for name in classes):
        rule = "where these are who is seen or heard, classes are written in a table with a row for each file"
        told.append(f"the classes have names of people ({listed(classes)}); {rule}")
    return told


def told_apart(
    files: Sequence[Path], kinds: Sequence[str], unread: Sequence[str]
) -> tuple[list[Path], list[Path], Counter[str]]:
    """Files of the kinds that are read; those of the same sort that are not; and how many of others, by kind."""
    read = [path for path in files if path.suffix.lower() in kinds]
    other = [path for path in files if path.suffix.lower() in unread]
    rest = Counter(path.suffix.lower() or path.name for path in files if path.suffix.lower() not in (*kinds, *unread))
    return read, other, rest


def refuse_broken(key: str, broken: Mapping[Path, str], root: Path, rule: str = "") -> None:
    """Raise ConfigError, with up to ten of the files that cannot be read for a reason, and up to ten reasons."""
    if broken:
        names: dict[str, list[Path]] = {}
        for path, reason in broken.items():
            names.setdefault(reason, []).append(path.relative_to(root))
        said = listed(f"{listed(paths)}: {reason}" for reason, paths in names.items())
        count = f"{len(broken)} files" if len(broken) > 1 else "a file"
        raise ConfigError(f"{key}={root}: {count} cannot be read ({said}){rule}")
