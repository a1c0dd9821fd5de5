"""Data sets of Hugging Face's datasets library: saved on disk, read without the library, or on the hub, by it."""

import importlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.config import ConfigError, nearest
from harness.config.extras import check_extra
from harness.system.assets import Unreachable
from harness.system.paths import listed
from harness.task.intake.folders import split_named
from harness.task.intake.table import Table, load_table, of_arrow_table

_PINNED = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)@(?P<revision>[\w./-]+)")


def load_splits(dataset: str, subset: str | None, wanted: Collection[str]) -> tuple[dict[str, Table], list[str]]:
    """The tables of train, validation and test, as far as there are any, and the names of splits that are none of them.

    `dataset` is a folder that save_to_disk wrote, or owner/name@revision on the hub. Names of classes stand in place of
    their numbers, and −1, which means that a label is withheld, is a gap. Raises ConfigError, or Unreachable.
    """
    folder = Path(dataset).expanduser()
    if folder.exists():
        found = _saved(folder, wanted)
    else:
        found = _of_hub(dataset, subset, wanted)
    named: dict[str, Table] = {}
    others = []
    for name, table in found.items():
        split = split_named(name)
        if split is None:
            others.append(name)
        elif split in named:
            raise ConfigError(f"task.dataset={dataset}: two splits are for {split}: {listed(found)}")
        else:
            named[split] = table
    if not named and len(found) == 1:
        return {"train": next(iter(found.values()))}, []
    if "train" not in named:
        raise ConfigError(f"task.dataset={dataset}: no train split; splits: {listed(found) or 'none'}")
    return named, others


def _saved(folder: Path, wanted: Collection[str]) -> dict[str, Table]:
    """What save_to_disk wrote: a folder for each split, or one split; else a clone of a repository of Parquet files."""
    if (folder / "dataset_dict.json").is_file():
        splits = json.loads((folder / "dataset_dict.json").read_text())["splits"]
        return {name: _one_saved(folder / name, wanted) for name in splits}
    if (folder / "state.json").is_file():
        return {"train": _one_saved(folder, wanted)}
    shards: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]):
        shards.setdefault(re.split(r"-\d{5}-of-\d{5}|\.", path.name)[0], []).append(path)
    if not shards:
        raise ConfigError(
            f"task.dataset={folder}: neither saved by save_to_disk (dataset_dict.json, state.json) nor Parquet files"
        )
    return {name: _joined(paths, wanted) for name, paths in shards.items()}


def _one_saved(folder: Path, wanted: Collection[str]) -> Table:
    try:
        files = [folder / entry["filename"] for entry in json.loads((folder / "state.json").read_text())["_data_files"]]
        features = json.loads((folder / "dataset_info.json").read_text()).get("features") or {}
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"task.dataset={folder}: no split of a saved data set ({type(error).__name__})") from None
    return _with_names(_joined(files, wanted), features)


def _joined(paths: Sequence[Path], wanted: Collection[str]) -> Table:
    """The rows of several files one after another, numbered from 1."""
    tables = [load_table(path, "task.dataset", wanted) for path in paths]
    frame = pd.concat([table.frame for table in tables], ignore_index=True)
    return Table(paths[0].parent, frame.set_axis(range(1, len(frame) + 1), axis=0), {})


def _with_names(table: Table, features: Mapping[str, Any]) -> Table:
    """With the names of classes in place of their numbers."""
    columns = {}
    for name in table.frame.columns:
        kind = features.get(name)
        names = kind.get("names") if isinstance(kind, Mapping) and kind.get("_type") == "ClassLabel" else None
        column = table.frame[name]
        columns[name] = column if names is None else column.map(lambda cell, names=names: _name(cell, names))
    return Table(table.path, pd.DataFrame(columns, dtype=object, index=table.frame.index), table.format)


def _name(cell: object, names: Sequence[str]) -> object:
    if not isinstance(cell, int):
        return cell
    return names[cell] if 0 <= cell < len(names) else None


def _of_hub(dataset: str, subset: str | None, wanted: Collection[str]) -> dict[str, Table]:
    match = _PINNED.fullmatch(dataset)
    if match is None:
        raise ConfigError(
            f"task.dataset={dataset}: no such folder; of the hub it is owner/name@revision, so that it stays the same"
        )
    check_extra(f"task.dataset={dataset}", "hub")
    library = importlib.import_module("datasets")
    try:
        found = library.load_dataset(match["name"], subset, revision=match["revision"])
    except (OSError, ValueError) as error:  # the library's own errors are of these kinds
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        configs = re.findall(r"'([\w.-]+)'", said)
        if subset is not None and configs:
            raise ConfigError(f"task.subset={subset}: {said}{nearest(subset, configs)}") from None
        raise Unreachable(f"task.dataset={dataset}: {said}") from None
    tables = {}
    for name, split in found.items():
        table = Table(Path(dataset), of_arrow_table(split.with_format("arrow")[:], wanted), {})
        tables[name] = _with_names(table, json.loads(json.dumps(split.features.to_dict())))
    return tables
