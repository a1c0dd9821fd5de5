"""Folders of recordings with transcripts in their usual layouts: which tables there are, and how they are written."""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.files import decode, read_bytes
from harness.task.intake.folders import files_in, folders_in, is_hidden, split_among, split_named
from harness.task.intake.recordings import OTHERS, WAV
from harness.task.intake.table import SUFFIXES, Table, load_table

BY_NAMES = "LABEL_SPEAKER_INDEX.wav"
"""The layout of recordings whose names say what is said, and by whom."""

_KEY = "task.data"
_ROWS = "texts beside recordings, whose folders are their speakers"
_LINES = ".trans.txt"
_SAMPLES = re.compile(r"\d+ \d+ (?=\D)")  # as TIMIT begins
_NAME = re.compile(r"([^_]+)_(.+)_(\d+)")  # label, speaker, index


def tables_in(root: Path, encoding: str | None, separator: str | None) -> dict[str, Table]:
    """The tables of a folder by split: named as splits (Common Voice), or metadata in it or in folders of splits.

    Where there is none, recordings with texts beside them, if there are such. Raises ConfigError for two of one split,
    and where none is of training.
    """
    named = [(split, path) for path in _tables(root) if (split := split_named(path.stem)) is not None]
    if not named and (whole := _metadata(root)) is not None:
        named = [("train", whole)]
    if not named:
        inner = [(split_named(folder.name), _metadata(folder)) for folder in folders_in(root)]
        named = [(split, path) for split, path in inner if split is not None and path is not None]
    found: dict[str, Path] = {}
    for split, path in named:
        if split in found:
            raise ConfigError(f"{_KEY}={root}: {found[split].name} and {path.name} are both the {split} split")
        found[split] = path
    if found and "train" not in found:
        raise ConfigError(f"{_KEY}={root}: {listed(path.name for path in found.values())}, and no table of training")
    return {split: _read(path, encoding, separator) for split, path in found.items()} or _beside(root, encoding)


def words_in(root: Path, said: Mapping[str, str] | None) -> Table:
    """The recordings LABEL_SPEAKER_INDEX.wav of a folder as a table; `said` has what is said, by label.

    Raises ConfigError for other names, and for labels that are not in `said`.
    """
    inner = root / "recordings"  # the Free Spoken Digit Dataset keeps them there
    folder = inner if inner.is_dir() else root
    files = [path for path in sorted(folder.iterdir()) if not is_hidden(path) and path.suffix.lower() in WAV]
    parts = {path.name: _NAME.fullmatch(path.stem) for path in files}
    if not files or (other := [name for name, match in parts.items() if match is None]):
        there = f"{listed(other)} are not named {BY_NAMES}" if files else _recordings_below(root)
        raise ConfigError(
            f"{_KEY}={root}: no table in it (train.tsv, metadata.csv, …), and {there}; name the table of files and "
            "transcripts, with a row for each (file_name,transcription)"
        )
    rows = [(name, match[1], match[2]) for name, match in parts.items() if match is not None]
    if said is not None and (missing := sorted({label for _, label, _ in rows} - said.keys())):
        raise ConfigError(f"task.said: {listed(missing)} of {_KEY}={root} are not in it; give what is said for each")
    cells = [(name, said[label] if said else label, speaker) for name, label, speaker in rows]
    frame = pd.DataFrame(cells, columns=["file_name", "transcription", "speaker"], index=range(1, len(rows) + 1))
    return Table(folder / BY_NAMES, frame, {"layout": BY_NAMES})


def _recordings_below(root: Path) -> str:
    """Return a hint on recordings in subfolders, as in LibriSpeech and TIMIT."""
    found = next((path for path in files_in(root) if path.suffix.lower() in (*WAV, *OTHERS)), None)
    return "no recordings" if found is None else f"recordings in its folders alone, as {found.relative_to(root)}"


def _beside(root: Path, encoding: str | None) -> dict[str, Table]:
    """Recordings below a folder, and what is said in each: in a text of its name beside it or in a folder of the same
    name (TIMIT, VCTK), or in a line of *.trans.txt (LibriSpeech). The folder that they are in is their speaker; the
    first below the root says the split, where one of these is of training. Empty where there are no such texts.
    """
    every = list(files_in(root))
    recordings = [path for path in every if path.suffix.lower() in (*WAV, *OTHERS)]
    texts = [path for path in every if path.suffix.lower() == ".txt"]
    said = {_place(path): path for path in texts}
    named = {path: each for path in recordings if (each := said.get(_place(path))) is not None}
    lines = {name: text for path in texts if path.name.endswith(_LINES) for name, text in _lines(path, encoding)}
    rows = [(path, lines.get(path.stem) or _text(named.get(path), encoding)) for path in recordings]
    if not recordings or not any(text is not None for _, text in rows):
        return {}
    splits = [split_among(path.relative_to(root).parts[0]) for path in recordings]
    by_split: dict[str, list[tuple[str, str | None, str]]] = {}
    for (path, text), split in zip(rows, splits, strict=True):
        speaker = path.parent.parent if path.stem in lines else path.parent
        row = (path.relative_to(root).as_posix(), text, speaker.name)
        by_split.setdefault((split or "train") if "train" in splits else "train", []).append(row)
    return {split: Table(root / "*.txt", _numbered(mine), {"layout": _ROWS}) for split, mine in by_split.items()}


def _numbered(rows: list[tuple[str, str | None, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["file_name", "transcription", "speaker"], index=range(1, len(rows) + 1))


def _place(path: Path) -> tuple[str, str]:
    """Return the key that a recording and its text share."""
    return path.parent.name, path.stem


def _lines(path: Path, encoding: str | None) -> list[tuple[str, str]]:
    """The name of a recording and what is said in it, from each line."""
    parts = (line.strip().partition(" ") for line in _decoded(path, encoding).splitlines())
    return [(name, text) for name, _, text in parts if name]


def _text(path: Path | None, encoding: str | None) -> str | None:
    """Read a transcript as one line, without the samples where it begins and ends."""
    if path is None:
        return None
    return _SAMPLES.sub("", " ".join(_decoded(path, encoding).split()))


def _decoded(path: Path, encoding: str | None) -> str:
    try:
        return decode(read_bytes(path, _KEY), encoding)[0]
    except ValueError as error:
        raise ConfigError(f"{_KEY}={path}: {error}") from None


def _tables(folder: Path) -> list[Path]:
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and not is_hidden(path))
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def _metadata(folder: Path) -> Path | None:
    return next((path for path in _tables(folder) if path.stem.lower() == "metadata"), None)


def _read(path: Path, encoding: str | None, separator: str | None) -> Table:
    if (path.parent / "wavs").is_dir() and path.suffix.lower() == ".csv" and (table := _lj(path, encoding)) is not None:
        return table
    return load_table(path, _KEY, encoding=encoding, separator=separator)


def _lj(path: Path, encoding: str | None) -> Table | None:
    """LJSpeech's metadata.csv: id|as written|in words, without header or quotes; None where it is none of that kind."""
    written = _decoded(path, encoding).splitlines()
    lines = [(number, line.split("|")) for number, line in enumerate(written, 1) if line.strip()]
    if not lines or not (path.parent / "wavs" / f"{lines[0][1][0]}.wav").is_file():
        return None
    if ragged := [number for number, cells in lines if len(cells) not in (2, 3)]:
        raise ConfigError(f"{_KEY}={path}: rows {listed(ragged)} are not id|text or id|text|text in words")
    rows = [(cells[0], cells[1], cells[-1]) for _, cells in lines]
    frame = pd.DataFrame(
        rows, columns=["file_name", "as_written", "transcription"], index=[number for number, _ in lines]
    )
    return Table(path, frame, {"layout": "LJSpeech's: transcription in words, and as_written"})
