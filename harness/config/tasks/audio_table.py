"""The configuration of tables of recordings, each row with its label or labels, or a number."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self

from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, Count, Text
from harness.config.tasks.file_table import FileTableConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class AudioTableConfig(FileTableConfig):
    """Recordings are brought to `sample_rate`. `channels`: of several the mean, or an error."""

    builder = "harness.task.audio_table:read_audio_table"
    predictor = "harness.trial.predict_files:write_of_recordings"
    answers_files = True
    needs_model = "speech"
    extra = "speech"
    file_key = "audio"

    reader: Literal["audio_table"]
    audio: Text | None
    sample_rate: Count
    channels: Literal["one", "mix"] = "one"

    @property
    def shares(self) -> Mapping[str, float]:
        """The share of rows in each split that is not given."""
        return {"validation": self.validation_share, "test": self.test_share}

    @property
    def file_column(self) -> str | None:
        return self.audio

    def of_column(self, name: str) -> Self:
        return replace(self, audio=name)
