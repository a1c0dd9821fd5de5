"""The record of a trial that is running."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from harness.record.sections import Record


@dataclass
class Draft:
    """The record of a trial that is running; `record` is replaced by one with another section as that is reached."""

    record: Record
    probed: list[float] = field(default_factory=list)  # the probe's loss on each passage, before training

    def add_scores(self, split: str, scores: Mapping[str, float]) -> None:
        """Note the scores of a split, in place of those it had."""
        self.record = replace(self.record, scores=self.record.scores | {split: dict(scores)})
