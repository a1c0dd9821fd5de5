"""The file that a command reads and what it writes, as its words name them."""

import os
from pathlib import Path

from harness.config import Config, ConfigError
from harness.system.paths import path_problem


def input_and_output(config: Config, made: str, *, takes_folder: bool = False) -> tuple[Path, Path]:
    """Return the path of `input`, a file or with `takes_folder` also a folder, and the path of `output`; `made` says
    whether the output is a FILE or a FOLDER.

    Raises ConfigError where one is not named, where there is no such file, and where the output is there already.
    """
    if config.input is None or config.output is None:
        missing = "input" if config.input is None else "output"
        raise ConfigError(f"{missing}: missing; run={config.run} study=NAME input=FILE output={made}")
    source, target = Path(config.input).expanduser(), Path(config.output).expanduser()
    if problem := path_problem(source, "folder" if takes_folder and source.is_dir() else "file"):
        raise ConfigError(f"input={config.input}: {problem}")
    refuse_taken(config.output, made)
    return source, target


_NO_CSV = (".parquet", ".arrow", ".json", ".jsonl", ".tsv", ".xlsx")


def refuse_taken(output: str, made: str) -> None:
    """Raise ConfigError where nothing new can be made at `output`, a FILE of CSV or a FOLDER."""
    target = Path(output).expanduser()
    if target.exists() or target.is_symlink():
        raise ConfigError(f"output={output}: is there already; name a new {made.lower()}")
    if made == "FILE" and target.suffix.lower() in _NO_CSV:
        raise ConfigError(f"output={output}: what is written is CSV; end its name in .csv")
    place = next(parent for parent in target.absolute().parents if parent.exists())
    if not place.is_dir():
        raise ConfigError(f"output={output}: {place} is a file, not a folder")
    if not os.access(place, os.W_OK):
        raise ConfigError(f"output={output}: {place} cannot be written")
