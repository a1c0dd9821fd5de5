"""The configuration of folders of recordings, one a class."""

import re
from collections.abc import Mapping
from typing import Literal

from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, Count, HeldOut, Text
from harness.config.tasks.labelled import LabelledTaskConfig
from harness.config.tasks.own import OwnLabelledConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class AudioFolderConfig(OwnLabelledConfig, LabelledTaskConfig):
    """A user's own folder of class-named folders of recordings, or of train, validation and test, each such a folder.

    `speaker` is a pattern that is searched for in a file's name, whose group is who speaks: a speaker's recordings are
    in one split. Copies of a recording are in one split, too. `channels`: of several the mean, or an error. `leaks`:
    splits that are given may share recordings.
    """

    builder = "harness.task.own_recordings:read_audio_folder"
    predictor = "harness.trial.predict_files:write_of_recordings"
    answers_files = True
    needs_model = "speech"
    extra = "speech"

    reader: Literal["audio_folder"]
    sample_rate: Count
    validation_share: HeldOut
    test_share: HeldOut
    speaker: Text | None = None
    channels: Literal["one", "mix"] = "one"
    leaks: Literal["refuse", "allow"] = "refuse"

    @property
    def shares(self) -> Mapping[str, float]:
        """The share of recordings in each split that is not given."""
        return {"validation": self.validation_share, "test": self.test_share}

    def mistakes(self, model: ModelConfig) -> list[str]:
        try:
            groups = re.compile(self.speaker or "()").groups
        except re.error as error:
            return [f"task.speaker={self.speaker}: no regular expression ({error})"]
        rule = "it needs a group in round brackets, which is who speaks, as in _([a-z]+)_"
        return [] if groups else [f"task.speaker={self.speaker}: {rule}"]

    @property
    def read_early(self) -> bool:
        return True
