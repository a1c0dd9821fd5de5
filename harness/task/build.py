"""From a task's configuration to its data, by the kind of its reader."""

from harness.config import (
    CatalogueTaskConfig,
    ContinualTaskConfig,
    DigitsTaskConfig,
    FileSeq2seqTaskConfig,
    FolderTaskConfig,
    MixtureTaskConfig,
    PublishedImagesConfig,
    SpokenTaskConfig,
    TaskConfig,
)
from harness.task.base import Task
from harness.task.continual import ContinualTask
from harness.task.mixture import MixtureTask, refuse_leaks
from harness.task.seq2seq import read_seq2seq
from harness.task.speech import read_speech
from harness.task.text import read_text
from harness.task.vision import read_vision

_built: dict[str, Task] = {}  # the last task of this process: a study asks for it at every trial


def build_task(config: TaskConfig) -> Task:
    """Read a task's data and split it, once a process. Raises ConfigError for data that cannot be learned from."""
    key = repr(config)
    if key not in _built:
        task = _read(config)
        _built.clear()
        _built[key] = task
    return _built[key]


def _read(config: TaskConfig) -> Task:
    match config:
        case PublishedImagesConfig() | DigitsTaskConfig() | FolderTaskConfig():
            return read_vision(config)
        case SpokenTaskConfig():
            return read_speech(config)
        case FileSeq2seqTaskConfig() | CatalogueTaskConfig():
            return read_seq2seq(config)
        case MixtureTaskConfig():
            together = MixtureTask(config.name, {name: _read(part) for name, part in config.chosen.items()})
            refuse_leaks(together.parts)
            return together
        case ContinualTaskConfig():
            parts = MixtureTask(config.name, {name: _read(part) for name, part in config.chosen.items()})
            return ContinualTask(parts, config.heads == "shared")
        case _:
            return read_text(config)
