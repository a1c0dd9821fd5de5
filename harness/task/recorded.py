"""The common base of tasks whose rows are recordings: how a model reads them, and how long they are."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.config import Tokens
from harness.task.base import Task
from harness.task.frames import FrameSplit, SpeechSplit, read_frames
from harness.task.intake.findings import DataFindings
from harness.task.sound import SoundSplit, read_sound


class RecordedTask(Task):
    """Splits of recordings, and what was found out while they were read."""

    if TYPE_CHECKING:  # fields of the subclasses; a property here would be their default

        @property
        def splits(self) -> Mapping[str, SpeechSplit]: ...

        @property
        def facts(self) -> DataFindings: ...

    def heard(self, split: str, tokens: Tokens | None) -> FrameSplit | SoundSplit:
        """A split as a model hears it."""
        return heard_by(self.splits[split], tokens)

    def findings(self) -> DataFindings:
        return self.facts

    @property
    def unit(self) -> str:
        return "frames"

    def lengths(self, split: str) -> dict[str, list[float]]:
        return {"seconds": self.splits[split].seconds}


def heard_by(split: SpeechSplit, tokens: Tokens | None) -> FrameSplit | SoundSplit:
    """Recordings as mel frames, or as samples at the rate that a model names."""
    if tokens is None or tokens.sample_rate is None:
        return read_frames(split)
    return read_sound(split, tokens.sample_rate, tokens.most_samples)
