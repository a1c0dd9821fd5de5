"""The configuration of recordings and their transcripts, which a model learns to write."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, Count, Flag, Positive, Text
from harness.config.tasks.base import ERROR_RATES
from harness.config.tasks.own import Duplicates, GapWords, OwnDatasetConfig, time_mistakes
from harness.config.tasks.seq2seq import WritingTaskConfig


def _named(value: Any) -> Any:
    """Labels that are digits are numbers in YAML."""
    return {str(label): said for label, said in value.items()} if isinstance(value, Mapping) else value


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TranscriptsConfig(OwnDatasetConfig, WritingTaskConfig):
    """A user's own recordings with a transcript of each: a table of files and texts, a folder that holds one, or
    a data set of the datasets library.

    `audio` and `text` null: found by their usual names. A `speaker`, who is named in a column, is in one split, and so
    are copies of a recording. `said` has the transcripts of recordings named LABEL_SPEAKER_INDEX.wav, by label.
    With `time`, the latest recordings are held out, whoever speaks, and `time_format` says how times are written.
    `channels`: of several the mean, or an error. Recordings of more than `longest_s` seconds are refused, or, as
    `gaps` has it, left out. `max_target` is in tokens of the model. `normalise` plain: texts are compared in lower
    case and without punctuation; english: by Whisper's own normaliser, numbers in digits and contractions written out.
    `duplicates`: of rows of one recording with other transcripts. `gap_words`: of those whose transcript is a word for
    a gap, as nan.
    """

    builder = "harness.task.transcripts:read_transcripts"
    predictor = "harness.trial.predict_transcripts:write_transcripts"
    needs_model = "recognition"
    extra = "speech"

    reader: Literal["transcripts"]
    audio: Text | None
    text: Text | None
    speaker: Text | None
    said: Annotated[dict[str, Text] | None, BeforeValidator(_named)]
    sample_rate: Count
    channels: Literal["one", "mix"]
    longest_s: Positive | None
    max_target: Annotated[int, Strict(), Field(ge=2)]
    normalise: Literal["none", "plain", "english"]
    score_base: Flag
    duplicates: Duplicates = "refuse"
    gap_words: GapWords = "keep"
    time: Text | None = None
    time_format: Text | None = None

    @property
    def objectives(self) -> tuple[str, ...]:
        return ("loss", "perplexity", *ERROR_RATES, "exact")

    @property
    def transcribes(self) -> bool:
        return True

    @property
    def shares(self) -> Mapping[str, float]:
        """The share of recordings in each split that is not given."""
        return {"validation": self.validation_share, "test": self.test_share}

    def kind_of(self, path: Path) -> str:
        return "folder" if path.is_dir() else "file"

    def mistakes(self, model: ModelConfig) -> list[str]:
        if self.answer is not None:
            return [f"task.answer={self.answer}: of texts that are written; transcripts are compared as a whole; null"]
        if self.score_base and not self.generate_rows:
            return ["task.score_base=true task.generate_rows=0: the base is scored by texts; set one of them otherwise"]
        if self.time is not None and self.speaker is not None:
            rule = "splits are cut by one of them; the other is null"
            return [f"task.speaker={self.speaker} task.time={self.time}: {rule}"]
        return [*time_mistakes(self.time, self.time_format, None), *self.source_mistakes()]
