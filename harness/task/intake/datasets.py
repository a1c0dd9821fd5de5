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
from harness.task.intake.folders import folders_in, split_named
from harness.task.intake.table import Table, load_table, of_arrow_table

_PINNED = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)@(?P<revision>[\w./-]+)")


def load_splits(
    dataset: str, subset: str | None, wanted: Collection[str], named: Mapping[str, str | None]
) -> tuple[dict[str, Table], list[str]]:
    """The tables of train, validation and test, as far as there are any, and what is told of splits that are none.

    `dataset` is a folder that save_to_disk wrote, or owner/name@revision on the hub. `named` are the names of splits,
    None: a usual one. Names of classes stand in place of their numbers, and −1, which means that a label is withheld,
    is a gap. Raises ConfigError, or Unreachable.
    """
    folder = Path(dataset).expanduser()
    found = _saved(_part(folder, subset), wanted) if folder.exists() else _of_hub(dataset, subset, wanted)
    names = _split_names(dataset, list(found), {split: name for split, name in named.items() if name is not None})
    told = [_passed_over(name, names) for name in found if name not in names.values()]
    return {split: found[name] for split, name in names.items()}, told


def _passed_over(name: str, names: Mapping[str, str]) -> str:
    """What is told of a split that is not read."""
    if (split := split_named(name)) in names:
        return f"the split {name} was passed over; {split} is {names[str(split)]}"
    return f"the split {name} is none of train, validation and test, and was passed over"


def _split_names(dataset: str, there: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """Which split is which: those that are named, others by their usual names. Raises ConfigError."""
    names: dict[str, str] = {}
    for split, name in named.items():
        if name not in there:
            raise ConfigError(f"task.{split}={name}: no such split{nearest(name, there)}; splits: {listed(there)}")
        if name in names.values():
            raise ConfigError(f"task.{split}={name}: the {next(iter(names))} split, too; it is one of them")
        names[split] = name
    for name in there:
        usual = split_named(name)
        if usual is None or usual in named or name in names.values():
            continue
        if usual in names:
            rule = f"two splits are for {usual}: {listed(there)}; task.{usual}={name} names one"
            raise ConfigError(f"task.dataset={dataset}: {rule}")
        names[usual] = name
    if not names and len(there) == 1:
        return {"train": there[0]}
    if "train" not in names:
        rule = f"no train split; splits: {listed(there)}; task.train={there[0]} names it" if there else "no splits"
        raise ConfigError(f"task.dataset={dataset}: {rule}")
    return names


def _part(folder: Path, subset: str | None) -> Path:
    """The folder of a part of a data set that is a clone. Raises ConfigError where there is none."""
    if subset is None or (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return folder  # what save_to_disk wrote is one part
    if (folder / subset).is_dir():
        return folder / subset
    parts = [inner.name for inner in folders_in(folder)] if folder.is_dir() else []
    rule = f"folders: {listed(parts)}{nearest(subset, parts)}" if parts else "task.subset=null reads it as it is"
    raise ConfigError(f"task.subset={subset}: no such folder in task.dataset={folder}; {rule}")


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
        parts = [inner.name for inner in folders_in(folder) if any(inner.glob("*.parquet"))] if folder.is_dir() else []
        rule = f"; task.subset names one of its folders: {listed(parts)}" if parts else ""
        said = "neither saved by save_to_disk (dataset_dict.json, state.json) nor Parquet files"
        raise ConfigError(f"task.dataset={folder}: {said}{rule}")
    return {name: _with_names(_joined(paths, wanted), _features_in(paths[0])) for name, paths in shards.items()}


def _features_in(path: Path) -> Mapping[str, Any]:
    """The features that the datasets library noted in a Parquet file; none where it did not write it."""
    import pyarrow.parquet as pq

    noted = (pq.read_schema(path).metadata or {}).get(b"huggingface")
    found = json.loads(noted).get("info", {}).get("features") if noted is not None else None
    return found or {}


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
        names = _names_of(features.get(name))
        column = table.frame[name]
        columns[name] = column if names is None else column.map(lambda cell, names=names: _name(cell, names))
    return Table(table.path, pd.DataFrame(columns, dtype=object, index=table.frame.index), table.format)


def _names_of(kind: object) -> Sequence[str] | None:
    """The names of the classes of a feature, or of the items of its lists; None where it has none."""
    inner = kind[0] if isinstance(kind, list) and kind else kind
    while isinstance(inner, Mapping) and "feature" in inner:
        inner = inner["feature"]
    return inner.get("names") if isinstance(inner, Mapping) and inner.get("_type") == "ClassLabel" else None


def _name(cell: object, names: Sequence[str]) -> object:
    if isinstance(cell, list):
        return [_name(item, names) for item in cell]
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
    except RuntimeError as error:  # a data set that is a script, which the library runs no more
        raise ConfigError(f"task.dataset={dataset}: {str(error).splitlines()[0]}") from None
    except (OSError, ValueError) as error:  # the library's other errors are of these kinds
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
