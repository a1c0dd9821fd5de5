"""The configuration of spoken keywords."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, AssetConfig, Count, Text
from harness.config.tasks.labelled import LabelledTaskConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SpokenTaskConfig(LabelledTaskConfig):
    """A folder of recorded words, LABEL_SPEAKER_INDEX.wav, split by speaker, brought to `sample_rate`.

    `channels`: of several the mean, or an error. `gaps`: files that cannot be read are left out.
    `validation_speakers` and `test_speakers` are names, or how many speakers to draw by `split_seed`.
    """

    builder = "harness.task.speech:read_speech"
    predictor = "harness.trial.predict_files:write_of_recordings"
    answers_files = True
    needs_model = "speech"
    extra = "speech"

    reader: Literal["spoken"]
    asset: AssetConfig | None
    sample_rate: Count
    validation_speakers: Count | Annotated[list[Text], Field(min_length=1)]
    test_speakers: Count | Annotated[list[Text], Field(min_length=1)]
    channels: Literal["one", "mix"] = "one"
    gaps: Literal["refuse", "leave_out"] = "refuse"

    @property
    def read_early(self) -> bool:
        return self.asset is None
