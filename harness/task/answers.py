"""The final answer in a text, as `task.answer` says: a number, a letter, the last line, or what a pattern finds."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import pandas as pd

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.number_answers import number_in

Extract = Callable[[str], str | None]
"""The answer in a text, in the one form in which answers are compared; None where it holds none."""

# As in MMLU-Pro's rules (Wang et al., 2024): the phrase, else the last capital that stands alone.
_CAPITAL = r"(?:[A-HJ]|I(?!['\N{RIGHT SINGLE QUOTATION MARK}]| +[a-z]))\b"
_SAID_LETTER = re.compile(
    r"(?i:\banswer(?:\s+is)?)[\s:*(]*(?i:(?:the\s+)?(?:option|choice|letter)\b[\s:*(]*)?"
    rf"({_CAPITAL}|[a-j](?=[ \t]*(?:[),:;!?*]|\.(?![a-z])|(?m:$))))"
)
_FIRST_LETTER = re.compile(r"\W*([A-Ja-j])(?:[):]|\.(?![a-z])|\W*$)")
_LETTER = re.compile(rf"\b{_CAPITAL}")


def extraction(answer: str | None) -> Extract | None:
    """Return the function that extracts the answer from a text; None if texts are compared as a whole."""
    if answer is None:
        return None
    kind, _, pattern = answer.partition(":")
    return _found_by(re.compile(pattern)) if kind == "pattern" else _KINDS[kind]


def letter_in(text: str) -> str | None:
    """The letter of an option: behind the last 'answer', at the beginning as in 'b) Paris', else the last capital."""
    first = _FIRST_LETTER.match(text)
    letters = _SAID_LETTER.findall(text) or ([first[1]] if first else _LETTER.findall(text))
    return letters[-1].upper() if letters else None


def last_line_of(text: str) -> str | None:
    """The last line that is not blank."""
    lines = [line for line in text.splitlines() if line.strip()]
    return _compared(lines[-1]) if lines else None


def _found_by(pattern: re.Pattern[str]) -> Extract:
    """The first match of a pattern: its group, where it has one."""

    def find(text: str) -> str | None:
        found = pattern.search(text)
        return _compared(found[pattern.groups] or "") if found else None

    return find


def _compared(text: str) -> str | None:
    """The text without case, repeated blanks and a full stop at the end."""
    return " ".join(text.split()).rstrip(".").rstrip().casefold() or None


_KINDS: Mapping[str, Extract] = {"number": number_in, "letter": letter_in, "last_line": last_line_of}


def are_right(written: Sequence[str], references: Sequence[str], extract: Extract) -> list[bool]:
    """Return whether each text holds the answer of its reference; a text without an answer is wrong."""
    found = zip(map(extract, written), map(extract, references), strict=True)
    return [said is not None and said == wanted for said, wanted in found]


def answer_scores(written: Sequence[str], references: Sequence[str], extract: Extract) -> dict[str, float]:
    """The share of texts with the right answer, and the share of those that hold none, which are wrong."""
    none = sum(extract(text) is None for text in written)
    right = sum(are_right(written, references, extract))
    return {"answer_accuracy": right / len(written), "no_answer": none / len(written)}


def with_answers(
    answer: str | None,
    gaps: Literal["refuse", "leave_out"],
    frames: Mapping[str, pd.DataFrame],
    left: dict[str, list[str]],
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Splits whose held-out targets all hold an answer, and a warning about those of training that hold none.

    Raises ConfigError, with the rows, for held-out ones without; what is left out is noted in `left`.
    """
    extract = extraction(answer)
    if extract is None:
        return dict(frames), []
    without = {
        split: [row for row, target in frame["target"].items() if extract(target) is None]
        for split, frame in frames.items()
    }
    told = {
        split: f"{len(rows)} of {len(frames[split])} targets of the {split} split hold no answer (rows {listed(rows)})"
        for split, rows in without.items()
        if rows
    }
    of_training = [told.pop("train")] if "train" in told else []
    if told and gaps == "refuse":
        raise ConfigError(
            *(f"task.answer={answer}: {said}; task.gaps=leave_out leaves them out" for said in told.values())
        )
    for split in told:
        left.setdefault("no answer", []).extend(f"{split} {row}" for row in without[split])
    return {
        split: frame.drop(without[split]) if split in told else frame for split, frame in frames.items()
    }, of_training


def most_frequent(texts: Sequence[str], extract: Extract) -> str | None:
    """The most frequent answer in texts; None where none of them holds one."""
    common = Counter(said for text in texts if (said := extract(text)) is not None).most_common(1)
    return common[0][0] if common else None


def usual_answer(references: Mapping[str, Sequence[str]], extract: Extract) -> dict[str, object]:
    """The most frequent answer of training, and the share of the texts of each held-out split that it is right for."""
    answers = {split: [extract(text) for text in texts] for split, texts in references.items()}
    if (most := most_frequent(references["train"], extract)) is None:
        return {}
    shares = {split: found.count(most) / len(found) for split, found in answers.items() if split != "train" and found}
    return {"answer": most, **shares}
