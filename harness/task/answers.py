"""The final answer in a text, as `task.answer` says: a number, a letter, the last line, or what a pattern finds."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal

import pandas as pd

from harness.config import ConfigError
from harness.system.paths import listed

Extract = Callable[[str], str | None]
"""The answer in a text, in the one form in which answers are compared; None where it holds none."""

_MARKED = re.compile(r"####(.*)")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{(-?\d+)\}\s*\{(\d+)\}")
_THIN = re.compile(r"\\[,!;]|\{,\}|\\(?=\$)")  # what LaTeX writes inside a number, and before a dollar sign
_NUMBER = re.compile(
    r"(?:(?<![\w)\]])-)?\$?"  # behind a digit, a letter or a bracket it is a dash or a subtraction
    r"(?:(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[eE][+-]?\d{1,3}(?!\d)|/\d+)?"
)
# As in MMLU-Pro's rules (Wang et al., 2024): the phrase, else the last capital that stands alone.
_SAID_LETTER = re.compile(r"(?i:answer\s*(?:is)?)[\s:*]*\(?([A-J])\b")
_FIRST_LETTER = re.compile(r"\W*([A-Ja-j])(?:[).:]|\W*$)")
_LETTER = re.compile(r"\b(?:[A-HJ]|I(?!['\N{RIGHT SINGLE QUOTATION MARK}]| [a-z]))\b")


def extraction(answer: str | None) -> Extract | None:
    """What takes the answer out of a text; None where texts are compared as a whole."""
    if answer is None:
        return None
    kind, _, pattern = answer.partition(":")
    return _found_by(re.compile(pattern)) if kind == "pattern" else _KINDS[kind]


def number_in(text: str) -> str | None:
    r"""The number behind GSM8K's mark `####`, else in the last `\boxed{}`, else the last of the text; 72.0 is 72."""
    plain = _THIN.sub("", _FRACTION.sub(r"\1/\2", text.replace("\N{MINUS SIGN}", "-")))
    marked, boxed = _MARKED.search(plain), _BOXED.findall(plain)
    for part in (*([marked[1]] if marked else ()), *boxed[-1:]):
        if found := _NUMBER.search(part):
            return _in_digits(found[0])
    found_all = _NUMBER.findall(plain)
    return _in_digits(found_all[-1]) if found_all else None


def _in_digits(found: str) -> str | None:
    try:
        value = Fraction(re.sub(r"[,$]", "", found))
        whole = value.denominator == 1
        return str(value.numerator) if whole else f"{Decimal(value.numerator) / Decimal(value.denominator):f}"
    except (ZeroDivisionError, ValueError):  # of more digits than Python reads
        return None


def letter_in(text: str) -> str | None:
    """The letter of an option: behind the word answer, at the beginning as in 'b) Paris', else the last capital."""
    found = _SAID_LETTER.search(text) or _FIRST_LETTER.match(text)
    letters = [found[1]] if found else _LETTER.findall(text)
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
    """Without case, further blanks and a full stop at the end."""
    return " ".join(text.split()).rstrip(".").rstrip().casefold() or None


_KINDS: Mapping[str, Extract] = {"number": number_in, "letter": letter_in, "last_line": last_line_of}


def are_right(written: Sequence[str], references: Sequence[str], extract: Extract) -> list[bool]:
    """Of each text whether it holds the answer of its reference; without an answer it is wrong."""
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
    """Splits whose held-out targets all hold an answer, and what is told of those of training that hold none.

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


def usual_answer(references: Mapping[str, Sequence[str]], extract: Extract) -> dict[str, object]:
    """The most frequent answer of training, and the share of the texts of each held-out split that it is right for."""
    answers = {split: [extract(text) for text in texts] for split, texts in references.items()}
    common = Counter(said for said in answers["train"] if said is not None).most_common(1)
    if not common:
        return {}
    most = common[0][0]
    shares = {split: found.count(most) / len(found) for split, found in answers.items() if split != "train" and found}
    return {"answer": most, **shares}
