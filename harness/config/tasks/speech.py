"""The configuration of spoken keywords."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, AssetConfig, Count, Natural, Text
from harness.config.tasks.base import Name, TaskConfig


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SpokenTaskConfig(TaskConfig):
    """A folder of recorded words, LABEL_SPEAKER_INDEX.wav, split by speaker.

    `validation_speakers` and `test_speakers` are names, or how many speakers to draw by `split_seed`.
    """

    builder = "harness.task.speech:read_speech"
    needs_model = "speech"
    part_of_several = True

    reader: Literal["spoken"]
    name: Name
    data: Text | None
    asset: AssetConfig | None
    sample_rate: Count
    classes: Annotated[int, Strict(), Field(ge=2)] | None
    validation_speakers: Count | Annotated[list[Text], Field(min_length=1)]
    test_speakers: Count | Annotated[list[Text], Field(min_length=1)]
    split_seed: Natural

    @property
    def known_outputs(self) -> int | None:
        return self.classes

    @property
    def paths(self) -> Mapping[str, str | None]:
        return {"data": self.data}

    @property
    def read_early(self) -> bool:
        return self.asset is None
