"""Data sets of Hugging Face's datasets library: saved on disk, read without the library, or on the hub, by it."""

import importlib
import json
import re
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import pandas as pd

from harness.config import ConfigError, nearest
from harness.config.extras import check_extra
from harness.system.assets import Unreachable
from harness.system.paths import listed
from harness.task.intake.features import Features, classes_of, with_names
from harness.task.intake.folders import folders_in, split_named
from harness.task.intake.labels import is_gap
from harness.task.intake.table import Table, load_arrow, of_arrow_table

_PINNED = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)@(?P<revision>[\w./-]+)")


def load_splits(
    dataset: str, subset: str | None, wanted: Collection[str], named: Mapping[str, str | None]
) -> tuple[dict[str, Table], list[str]]:
    """The tables of train, validation and test, as far as there are any, and notes on splits that are none.

    `dataset` is a folder that save_to_disk wrote, or owner/name@revision on the hub. `named` are the names of splits,
    None: a usual one. Names of classes stand in place of their numbers, and −1, which means that a label is withheld,
    is a gap. Raises ConfigError, or Unreachable.
    """
    folder = Path(dataset).expanduser()
    found = _saved(_part(folder, subset), wanted) if folder.exists() else _of_hub(dataset, subset, wanted)
    names = _split_names(dataset, list(found), {split: name for split, name in named.items() if name is not None})
    told = [_passed_over(name, names) for name in found if name not in names.values()]
    return {split: found[name] for split, name in names.items()}, told


def labelled_splits(
    dataset: str, subset: str | None, *, wanted: Sequence[str], label: str, named: Mapping[str, str | None]
) -> tuple[dict[str, tuple[str, Table]], list[str]]:
    """The splits of a data set of the datasets library that have labels, each with what names it; and messages about
    splits with other names and splits whose labels are withheld. `named` are the names of splits that are given.
    """
    found, passed = load_splits(dataset, subset, wanted, named)
    withheld = [
        split
        for split, table in found.items()
        if split != "train" and all(map(_is_withheld, table.column("task.label", label)))
    ]
    told = [f"the labels of {split} are withheld; it was cut from the others" for split in withheld]
    kept = {split: (f"task.dataset={dataset}", table) for split, table in found.items() if split not in withheld}
    return kept, [*told, *passed]


def _is_withheld(cell: object) -> bool:
    """Return whether a label is missing or −1, which means that it is withheld."""
    return is_gap(cell) or str(cell) in ("-1", "-1.0")


def _passed_over(name: str, names: Mapping[str, str]) -> str:
    """Return a note on a split that is not read."""
    if (split := split_named(name)) in names:
        return f"the split {name} was passed over; {split} is {names[str(split)]}"
    return f"the split {name} is none of train, validation and test, and was passed over"


def _split_names(dataset: str, there: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """Return the name of each split: those that are named, others by their usual names. Raises ConfigError."""
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
    """Read a save_to_disk folder (a folder for each split, or one split), or a cloned repository of Parquet files."""
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
    return {name: _joined(paths, wanted, None) for name, paths in shards.items()}


def _one_saved(folder: Path, wanted: Collection[str]) -> Table:
    try:
        files = [folder / entry["filename"] for entry in json.loads((folder / "state.json").read_text())["_data_files"]]
        features = json.loads((folder / "dataset_info.json").read_text()).get("features")
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"task.dataset={folder}: no split of a saved data set ({type(error).__name__})") from None
    return _joined(files, wanted, features or None)


def _joined(paths: Sequence[Path], wanted: Collection[str], features: Features | None) -> Table:
    """The rows of several files one after another, numbered from 1; without `features` each file's own are read."""
    tables = [load_arrow(path, "task.dataset", wanted, features) for path in paths]
    frame = pd.concat([table.frame for table in tables], ignore_index=True)
    declared = {column: names for table in tables for column, names in table.declared.items()}
    return Table(paths[0].parent, frame.set_axis(range(1, len(frame) + 1), axis=0), {}, declared)


@contextmanager
def _no_retries_without_network() -> Iterator[None]:
    """The hub's library as if offline where the name of its host is unknown: it would ask for half a minute."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _is_known(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _is_known(endpoint: str) -> bool:
    """Return whether a host's name can be resolved here, or by a proxy."""
    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(endpoint).hostname, None))
    except OSError:
        return False


def _of_hub(dataset: str, subset: str | None, wanted: Collection[str]) -> dict[str, Table]:
    match = _PINNED.fullmatch(dataset)
    if match is None:
        raise ConfigError(
            f"task.dataset={dataset}: no such folder; of the hub it is owner/name@revision, so that it stays the same"
        )
    check_extra(f"task.dataset={dataset}", "hub")
    library = importlib.import_module("datasets")
    try:
        with _no_retries_without_network():
            found = library.load_dataset(match["name"], subset, revision=match["revision"])
    except RuntimeError as error:  # a data set that is a script, which the library runs no more
        raise ConfigError(f"task.dataset={dataset}: {str(error).splitlines()[0]}") from None
    except (OSError, ValueError) as error:  # the library's other errors are of these kinds
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        configs = re.findall(r"'([\w.-]+)'", said)
        if subset is not None and configs:
            raise ConfigError(f"task.subset={subset}: {said}{nearest(subset, configs)}") from None
        rule = "without the hub task.dataset=FOLDER reads what save_to_disk wrote where it can be reached"
        raise Unreachable(f"task.dataset={dataset}: {said}; {rule}") from None
    tables = {}
    for name, split in found.items():
        features = json.loads(json.dumps(split.features.to_dict()))
        frame = with_names(of_arrow_table(split.with_format("arrow")[:], wanted), features)
        tables[name] = Table(Path(dataset), frame, {}, classes_of(features))
    return tables
