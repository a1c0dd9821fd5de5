"""Transcripts that a trained trial writes of recordings of no split."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from harness.config import TranscriptsConfig
from harness.devices import resolve_device
from harness.model import model_tokens
from harness.task.frames import SpeechSplit
from harness.task.own_transcripts import named_recordings
from harness.task.sound import read_sound
from harness.task.transcript_inputs import encode_transcripts
from harness.training import generate_texts
from harness.trial.predict import write_table
from harness.trial.trained import Trained, load_trained


def write_transcripts(trained: Trained, source: Path, target: Path) -> None:
    """A CSV file: item (the recording), written. `source` names recordings: a table as the task reads, or a .txt of one
    a line.

    Raises ConfigError for what cannot be read.
    """
    config = cast(TranscriptsConfig, trained.config.task)
    names, heard = zip(*named_recordings(config, source), strict=True)
    texts = transcribe(trained, names, [each.samples for each in heard], f"input={source}")
    write_table(target, ["item", "written"], list(zip(names, texts, strict=True)))


def transcribe(trained: Trained, names: Sequence[str], heard: Sequence[np.ndarray], where: str) -> list[str]:
    """Transcribe recordings at the task's rate. Raises ConfigError, with `where`, for one that is too long."""
    config = cast(TranscriptsConfig, trained.config.task)
    tokens = model_tokens(trained.config.model, trained.outputs)
    assert tokens is not None
    assert tokens.sample_rate is not None
    count = len(heard)
    split = SpeechSplit(tuple(heard), (0,) * count, ("",) * count, config.sample_rate)
    sound = read_sound(split, tokens.sample_rate, tokens.most_samples)
    inputs = encode_transcripts(sound, [""] * count, tokens, config.max_target, where, list(names))
    device = resolve_device(trained.config.trainer.accelerator, 1)
    return generate_texts(load_trained(trained).to(device), inputs, count, config.max_target, device)
