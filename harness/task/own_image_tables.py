"""A user's own tables of images: every image looked at, told apart by its pixels, and splits cut as of other tables."""

import dataclasses
from pathlib import Path

import pandas as pd

from harness.config import ConfigError, ImageTableConfig
from harness.system.paths import listed
from harness.task.intake.facts import Facts
from harness.task.intake.files import given_files
from harness.task.intake.held import named_or_held, shortened
from harness.task.intake.labels import is_gap
from harness.task.intake.table import ARROW, Table, load_table, usual_column
from harness.task.own_text import Frames, labelled_splits, own_splits
from harness.task.pictures import Looked, look_at, told_of

_IMAGE = ("image", "img", "file_name", "image_path", "path", "file", "filename", "filepath")


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image by the name of its file, where it is or what it holds, and what its pixels are."""

    name: str
    image: Path | bytes
    looked: Looked


Pictures = dict[str, dict[object, Picture]]
"""Of each table those of its rows."""


def read_own_image_table(config: ImageTableConfig) -> tuple[str, Frames, dict[str, list[Picture]], Facts]:
    """The three splits, of columns text (the digests of pixels) and label, the pictures of their rows, and what was
    found out. Raises ConfigError for what is ambiguous or cannot be read.
    """
    tables, told, left = dict[str, tuple[str, Table]](), list[str](), dict[str, list[str]]()
    pictures = Pictures()
    for split, (where, table) in _given(config, told).items():
        column = config.image or usual_column(table, "task.image", _IMAGE)
        found, wrong = _pictures(where, column, table, config.background)
        if wrong and config.gaps == "refuse":
            said = listed(f"row {row}: {reason}" for row, reason in wrong.items())
            raise ConfigError(
                f"{where}: {len(wrong)} images cannot be read ({said}); task.gaps=leave_out leaves them out"
            )
        if wrong:
            left.setdefault("unreadable", []).extend(f"{split} {row}" for row in wrong)
        told += told_of([(picture.name, picture.looked) for picture in found.values()], config.background)
        pictures[split] = found
        tables[split] = (where, _with_digests(config, column, table, found, wrong))
    source = str(config.data or config.dataset)
    where = f"task.data={source}" if config.data else f"task.dataset={source}"
    _, splits, facts = own_splits(config, where, source, tables, "picture")
    rows = {
        split: [pictures[split if split in tables else "train"][row] for row in frame.index]
        for split, frame in splits.items()
    }
    kept = {split: list(map(str, frame.index)) for split, frame in splits.items()}
    facts = dataclasses.replace(
        facts, kept=kept, left_out={**left, **facts.left_out}, suspicious=[*told, *facts.suspicious]
    )
    return source, splits, rows, facts


def _given(config: ImageTableConfig, told: list[str]) -> dict[str, tuple[str, Table]]:
    """The table of each split that is given, with the key that names it."""
    if config.data is None and config.dataset is None:
        raise ConfigError("task.data: missing; give a table of images and labels, or task.dataset")
    wanted = [config.image, config.label, config.group, config.time] if config.image else []
    columns = [column for column in wanted if column is not None]
    if config.dataset is not None:
        found, passed = labelled_splits(
            config.dataset, config.subset, wanted=columns, label=config.label, named=config.split_names
        )
        told += passed
        return found
    tables = {}
    for split, key, name in given_files(config.data, config.validation, config.test):
        path = Path(name).expanduser()
        named = columns if path.suffix.lower() in ARROW else [config.label]
        table = load_table(path, key, named, encoding=config.encoding, separator=config.separator)
        tables[split] = f"{key}={name}", table
    return tables


def _pictures(
    where: str, column: str, table: Table, background: str
) -> tuple[dict[object, Picture], dict[object, str]]:
    """The picture of each row that has one, and what is wrong with those of others; empty cells are gaps."""
    sources, names, wrong = dict[object, Path | bytes](), dict[object, str](), dict[object, str]()
    for row, cell in table.column("task.image", column).items():
        if is_gap(cell):
            continue
        try:
            names[row], content = named_or_held(cell, "image")
        except ValueError as error:
            wrong[row] = str(error)
            continue
        sources[row] = table.path.parent / Path(names[row]).expanduser() if content is None else content
    looked = dict(zip(sources, look_at(list(sources.values()), background), strict=True))
    wrong |= {row: f"{shortened(names[row])}: {each.problem}" for row, each in looked.items() if each.problem}
    found = {row: Picture(names[row], sources[row], each) for row, each in looked.items() if not each.problem}
    return found, wrong


def _with_digests(
    config: ImageTableConfig, column: str, table: Table, found: dict[object, Picture], wrong: dict[object, str]
) -> Table:
    """The table with the digests of pixels in the column of images, without the rows that cannot be read."""
    frame = table.frame.drop(index=list(wrong))
    digests = [found[row].looked.pixels if row in found else None for row in frame.index]
    named = frame.drop(columns=[column]).assign(
        **{config.columns_read["text"]: pd.Series(digests, frame.index, object)}
    )
    return Table(table.path, named, table.format)
