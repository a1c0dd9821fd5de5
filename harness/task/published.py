"""Published sentences: GLUE's files and the hub's, and sentences with mean ratings."""

from pathlib import Path

import numpy as np
import pandas as pd

from harness.config import ConfigError, GlueTaskConfig, RatedTaskConfig, nearest
from harness.system import assets
from harness.system.paths import listed
from harness.task.base import SPLITS
from harness.task.intake.cuts import drawn
from harness.task.intake.findings import NO_FINDINGS, DataFindings
from harness.task.intake.labels import is_gap
from harness.task.intake.table import load_arrow, load_bare_table
from harness.task.own_text import Frames


def read_glue(config: GlueTaskConfig) -> tuple[str, Frames, DataFindings]:
    """Train, dev and test as published; where the test labels are withheld, dev is the test split."""
    if config.data is not None:
        folder = Path(config.data).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"task.data={config.data}: no such folder")
        frames = {name: _glue_file(config, folder, names) for name, names in _GLUE_FILES.items()}
        source = str(config.data)
    else:
        folder = assets.fetch(config.asset.address, config.asset.sha256)
        files = {name: next((folder / "data").glob(f"{name}-*.parquet")) for name in ("train", "validation", "test")}
        frames = {
            name: _columns(load_arrow(path, "task.asset", features={}).frame, path) for name, path in files.items()
        }
        source = config.asset.address
    withheld = frames["test"].empty or set(frames["test"]["label"]) == {"-1"}
    if withheld:
        train, validation = _cut_whole_sentences(frames["train"], len(frames["validation"]), config.split_seed)
        frames = {"train": train, "validation": validation, "test": frames["validation"]}
    return source, frames, NO_FINDINGS


_GLUE_FILES = {"train": ("train.tsv",), "validation": ("dev.tsv", "validation.tsv"), "test": ("test.tsv",)}


def _glue_file(config: GlueTaskConfig, folder: Path, names: tuple[str, ...]) -> pd.DataFrame:
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ConfigError(f"task.data={config.data}: no {' or '.join(names)} in it")
    frame = load_bare_table(path, "task.data")
    if frame.empty:
        return pd.DataFrame({"text": [], "label": []})
    first = [str(cell).lower() for cell in frame.iloc[0]]
    if "sentence" in first:
        frame = frame.iloc[1:].set_axis(first, axis=1)
        if "label" not in first:
            return pd.DataFrame({"text": [], "label": []})
        return _columns(frame, path)
    if frame.shape[1] != 2:
        raise ConfigError(f"task.data={path}: {frame.shape[1]} columns, expected sentence<TAB>label")
    return _columns(frame.set_axis(["sentence", "label"], axis=1), path)


def _cut_whole_sentences(train: pd.DataFrame, rows: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut a validation split off GLUE's training set, whose rows are phrases of sentences that stand there whole.

    A random cut would put a sentence on one side and its phrases on the other. So only sentences that are part of
    no other row are taken, and every row that is part of a taken one leaves the training set.
    """
    texts = [text.strip() for text in train["text"]]
    everything = "\n".join(texts)
    order = np.random.default_rng(seed).permutation(len(texts))
    taken: list[int] = []
    for index in order:
        if len(taken) == rows or len(taken) == len(texts) // 2:
            break
        if everything.count(texts[index]) == 1:
            taken.append(int(index))
    held = "\n".join(texts[index] for index in taken)
    rest = [index for index, text in enumerate(texts) if text not in held]
    return train.iloc[rest], train.iloc[sorted(taken)]


def read_rated(config: RatedTaskConfig) -> tuple[str, Frames, DataFindings]:
    """Rows of id, mean rating and text. Ids like 12_3 are sentence 3 of document 12, which is never split up."""
    path = assets.fetch(f"{config.asset.address}/{config.file}", config.asset.sha256)
    frame = load_bare_table(path, "task.asset").set_axis(["id", "rating", "text"], axis=1)
    if config.answer == "number":
        frame["label"] = frame["rating"].astype(str)
    else:
        frame["label"] = (frame["rating"].astype(float) > 0).astype(int).astype(str)
    frame["document"] = frame["id"].str.rsplit("_", n=1).str[0]
    frame = frame.drop_duplicates("text")
    shares = {"validation": config.validation_share, "test": config.test_share}
    parts = drawn(list(frame["document"]), shares, config.split_seed)
    return config.asset.address, {name: frame.iloc[parts[name]] for name in SPLITS}, NO_FINDINGS


def _columns(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Columns sentence and label of a published file as text and label."""
    for name in ("sentence", "label"):
        if name not in frame.columns:
            raise ConfigError(f"task.data={path}: no column {name}{nearest(name, map(str, frame.columns))}")
    result = pd.DataFrame({"text": frame["sentence"], "label": frame["label"].astype(str)})
    blank = frame[["sentence", "label"]].map(is_gap).any(axis=1)
    if rows := list(frame.index[blank]):
        raise ConfigError(f"task.data={path}: {len(rows)} rows have no sentence or no label (rows {listed(rows)})")
    return result
