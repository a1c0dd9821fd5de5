"""Recordings and their transcripts, in fixed splits that share no recording and no speaker."""

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from harness.config import Tokens, Transcribed, TranscriptsConfig
from harness.task.base import SPLITS, Generation, Inputs
from harness.task.error_rates import error_rates, normaliser
from harness.task.frames import SpeechSplit
from harness.task.intake.findings import DataFindings
from harness.task.own_transcripts import read_own_transcripts
from harness.task.sound import read_sound
from harness.task.transcript_inputs import encode_transcripts
from harness.task.writing import WritingTask, WrittenTexts, first_line


@dataclasses.dataclass(frozen=True)
class TranscriptsTask(WritingTask):
    """Three splits of recordings and their transcripts; `normalise` is how these are compared, as in TranscriptsConfig.

    With `score_base` what the base writes before training is scored, too.
    """

    name: str
    source: str
    sounds: Mapping[str, SpeechSplit]
    transcripts: Mapping[str, tuple[str, ...]]
    sha256: str
    max_target: int
    generate_rows: int
    normalise: str
    score_base: bool
    facts: DataFindings
    answer: None = None

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        """Raises ConfigError for what the model cannot be taught of them."""
        assert tokens is not None
        assert tokens.sample_rate is not None
        sound = read_sound(self.sounds[split], tokens.sample_rate, tokens.most_samples)
        names = self.facts.kept[split]
        where, texts = f"task={self.name}", self.transcripts[split]
        return encode_transcripts(sound, texts, tokens, self.max_target, where, names, self.normalise)

    @property
    def outputs(self) -> Transcribed:
        """No classes, but characters."""
        return Transcribed(self._alphabet)

    @property
    def _alphabet(self) -> str:
        """The characters that training transcripts are written in."""
        return "".join(sorted(set("".join(self.transcripts["train"]))))

    @property
    def splits(self) -> dict[str, WrittenTexts]:
        return {split: WrittenTexts(texts) for split, texts in self.transcripts.items()}

    @property
    def longest_answer(self) -> int:
        return self.max_target

    def generation_of(self, split: str) -> Generation | None:
        found = super().generation_of(split)
        score = partial(error_rates, normalise=self.normalise)
        return None if found is None else dataclasses.replace(found, score=score, of_base=self.score_base)

    def constant_texts(self, split: str) -> Mapping[str, Sequence[str]]:
        """The transcript that training has most, as it is compared."""
        usual = self._usual_transcript
        count = len(self.transcripts[split][: self.generate_rows])
        return {f"always writing the most frequent transcript, {first_line(usual)!r}": [usual] * count} if count else {}

    @functools.cached_property
    def baselines(self) -> dict[str, object]:
        """None in chrF: for transcripts the baseline is the WER of the most frequent one."""
        return {}

    def texts(self, split: str) -> tuple[str, ...]:
        return self.transcripts[split]

    @property
    def unit(self) -> str:
        """Seconds tell it."""
        return ""

    def lengths(self, split: str) -> dict[str, list[float]]:
        texts = self.transcripts[split]
        return {
            "words of transcripts": [len(text.split()) for text in texts],
            "characters of transcripts": [len(text) for text in texts],
            "seconds": self.sounds[split].seconds,
        }

    def describe(self) -> dict[str, object]:
        """With the hours and the characters of each split, the characters that training transcripts are written in,
        and what the most frequent of them would score.
        """
        hours = {name: sum(map(len, part.samples)) / part.rate / 3600 for name, part in self.sounds.items()}
        speakers = {name: sorted(set(part.speakers) - {""}) for name, part in self.sounds.items()}
        return super().describe() | {
            "hours": {name: round(total, 4) for name, total in hours.items()},
            "alphabet": self._alphabet,
            "normalise": self.normalise,
            "usual_transcript": self._usual(),
            **({"speakers": speakers} if any(speakers.values()) else {}),
        }

    @property
    def _usual_transcript(self) -> str:
        """The most frequent transcript of training, as it is compared."""
        return Counter(map(normaliser(self.normalise), self.transcripts["train"])).most_common(1)[0][0]

    def _usual(self) -> dict[str, object]:
        """The most frequent transcript, and the WER of always writing it."""
        usual = self._usual_transcript
        rates = {
            split: error_rates([usual] * len(texts), texts, self.normalise).scores["wer"]
            for split, texts in self.transcripts.items()
            if split != "train"
        }
        return {"text": usual, **rates}


def read_transcripts(config: TranscriptsConfig) -> TranscriptsTask:
    """Read and split a user's recordings. Raises ConfigError for data that cannot be learned from."""
    source, splits, facts = read_own_transcripts(config)
    sounds = {
        name: SpeechSplit(
            tuple(each.heard.samples for each in splits[name]),
            (0,) * len(splits[name]),
            tuple(each.speaker for each in splits[name]),
            config.sample_rate,
        )
        for name in SPLITS
    }
    transcripts = {name: tuple(each.text for each in splits[name]) for name in SPLITS}
    digest = hashlib.sha256()
    for name in SPLITS:
        digest.update(repr((name, sounds[name].sha256, sounds[name].speakers, transcripts[name])).encode())
    return TranscriptsTask(
        name=config.name,
        source=source,
        sounds=sounds,
        transcripts=transcripts,
        sha256=digest.hexdigest(),
        max_target=config.max_target,
        generate_rows=config.generate_rows,
        normalise=config.normalise,
        score_base=config.score_base,
        facts=facts,
    )
