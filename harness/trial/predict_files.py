"""Predictions of a trial on images or recordings for files of no split."""

import logging
from pathlib import Path

import numpy as np

from harness.devices import resolve_device
from harness.model import model_tokens
from harness.task.asked_files import asked_files
from harness.task.audio_table import recording_files
from harness.task.base import Inputs
from harness.task.frames import SpeechSplit
from harness.task.image_table import image_files
from harness.task.images import ImageSplit, Rendering, image_inputs
from harness.task.own_file_tables import C, Files, NamedFile
from harness.task.pictures import told_of, values_of
from harness.task.recorded import heard_by
from harness.trial.answers import class_columns
from harness.trial.predict import answers_of, logits_of, write_table
from harness.trial.trained import Trained, load_trained

_LOG = logging.getLogger(__name__)


def write_of_images(trained: Trained, source: Path, target: Path) -> None:
    """A CSV file: item (the file), predicted, and for classes the probability of each.

    Raises ConfigError for unread files.
    """
    _write(trained, *_images(trained, source), target)


def write_of_recordings(trained: Trained, source: Path, target: Path) -> None:
    """The same of recordings."""
    _write(trained, *_recordings(trained, source), target)


def _write(trained: Trained, names: list[str], inputs: Inputs, target: Path) -> None:
    device = resolve_device(trained.config.trainer.accelerator, 1)
    logits = logits_of(load_trained(trained).to(device), inputs, len(names), device)
    rows = [[name, *row] for name, row in zip(names, answers_of(trained, logits), strict=True)]
    write_table(target, ["item", *class_columns(trained.classes)], rows)


def _images(trained: Trained, source: Path) -> tuple[list[str], Inputs]:
    keys = vars(trained.config.task)
    rendering = Rendering(keys.get("background", "white"), keys.get("range"))
    found = _asked(trained, source, image_files(rendering), "image")
    named, contents = [(each.name, each.content) for each in found], [each.content for each in found]
    odd = told_of(named, rendering, key=False)
    for line in (*odd, *(f"{what}: {said}" for what, said in values_of(contents, rendering).items())):
        _LOG.warning("%s", line)
    files = tuple(each.content.file for each in found)
    split = ImageSplit(tuple(each.source for each in found), np.zeros(len(found), np.int64), files, (), rendering)
    return [each.name for each in found], image_inputs(split, keys["image_size"])


def _recordings(trained: Trained, source: Path) -> tuple[list[str], Inputs]:
    keys = vars(trained.config.task)
    found = _asked(trained, source, recording_files(keys["sample_rate"], keys.get("channels") == "mix"), "audio")
    count, heard = len(found), tuple(each.content.heard.samples for each in found)
    split = SpeechSplit(heard, (0,) * count, ("",) * count, keys["sample_rate"])
    return [each.name for each in found], heard_by(split, model_tokens(trained.config.model))


def _asked(trained: Trained, source: Path, files: Files[C], key: str) -> list[NamedFile[C]]:
    """The files as a trial on a table names them by the column `key` of its task, else by a usual name."""
    keys = vars(trained.config.task)
    return asked_files(
        source,
        files,
        key=f"task.{key}",
        column=keys.get(key),
        encoding=keys.get("encoding"),
        separator=keys.get("separator"),
        columns=keys.get("columns"),
    )
