"""Unspoken text in transcripts: annotators' marks, times of subtitles, names of files."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.recordings import OTHERS, WAV

_NOTES = "inaudible|unintelligible|indistinct|laugh(?:s|ter)?|music|applause|noise|silence|pause|crosstalk|coughs?"
_BRACKETED = re.compile(rf"<[^<>\s][^<>]*>|\[[^\[\]]+\]|\(\([^()]*\)\)|\((?:{_NOTES})\)", re.IGNORECASE)
_NUMBERED = re.compile(r"(?=.*[^\W\d_]).*\d")  # as LJ001-0001, and not a word or a digit that is said
_OTHER = re.compile(r"\{[^{}]+\}|\*\*+|[♪♫|]|\d\d:\d\d(?::\d\d)?[.,]\d{3}")


def marks(texts: Iterable[str], normalise: str) -> list[str]:
    """Return warnings about marks in transcripts that are compared: of those in brackets, which Whisper's own rules
    leave out, not if `normalise` is english.
    """
    brackets = [] if normalise == "english" else [_BRACKETED]
    found = [mine for text in texts if (mine := [mark for kind in (*brackets, _OTHER) for mark in kind.findall(text)])]
    if not found:
        return []
    names = listed(sorted({mark for mine in found for mark in mine}))
    inside = any(_BRACKETED.fullmatch(mark) for mine in found for mark in mine)
    rule = "take them out" + ("; task.normalise=english compares nothing in brackets" if inside else "")
    return [f"{len(found)} transcripts have {names}, which are learned and compared as words; {rule}"]


def refuse_names(where: str, column: str, files: Sequence[str], texts: Sequence[str]) -> None:
    """Raise ConfigError where every transcript is the name of a recording."""
    if texts and all(
        _is_name(PurePosixPath(text), PurePosixPath(file)) for text, file in zip(texts, files, strict=True)
    ):
        rule = "task.text names the column of what is said"
        raise ConfigError(f"{where}: {column} has names of recordings ({listed(texts[:3])}), no transcripts; {rule}")


def _is_name(text: PurePosixPath, file: PurePosixPath) -> bool:
    """Return whether a transcript is the name of a recording, or that of its own without its suffix."""
    return text.suffix.lower() in (*WAV, *OTHERS) or (text.name == file.stem and bool(_NUMBERED.match(text.name)))
