"""The folder of a study: its path, and the configuration that the study was begun with."""

from pathlib import Path

from harness.config import Config, ConfigError, check, read_stored
from harness.system.jsonl import replace_text
from harness.system.processes import this_command
from harness.system.redaction import redact
from harness.system.study_files import COMMAND, CONFIG, has_begun


def study_folder(results: str, study: str) -> Path:
    """The absolute path of a study's folder."""
    return (Path(results) / study).absolute()


def holds_single_trials(folder: Path) -> bool:
    """Return whether run=trial collects its trials in a folder."""
    return has_begun(folder) and not (folder / CONFIG).exists()


def load_study(results: str, study: str) -> Config:
    """The configuration of a study that was begun. Raises ConfigError where there is no such study."""
    path = Path(results) / study / CONFIG
    if holds_single_trials(path.parent):
        raise ConfigError(
            f"study={study}: single trials of run=trial in {results}, no study; such as run=status, run=report, "
            "run=analyse, run=repeat and run=export take them"
        )
    if not path.exists():
        raise ConfigError(f"study={study}: no such study in {results}; begin it with run=study")
    return check(read_stored(path) | {"results": results, "study": study})


def write_command(folder: Path) -> None:
    """Keep the command of this process as the one that the study's trials are of."""
    replace_text(folder / COMMAND, redact(this_command()) + "\n")


def command_of(folder: Path) -> str:
    """The command that a study's trials are of; of a study begun before it was kept, that of this process."""
    path = folder / COMMAND
    return path.read_text().strip() if path.exists() else this_command()
