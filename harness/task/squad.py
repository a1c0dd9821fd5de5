"""Answers compared as SQuAD's official script compares them (Rajpurkar et al., 2016 and 2018).

In lower case, without ASCII punctuation, English articles and further blanks. The script has scores of 0 to 100; here
they are 0 to 1.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised_answer(text: str) -> str:
    """Normalise an answer, so that equivalent ones are equal."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(answer: str, wanted: str) -> float:
    """1 where two answers count as one, else 0."""
    return float(normalised_answer(answer) == normalised_answer(wanted))


def token_f1(answer: str, wanted: str) -> float:
    """F1 of the words of an answer; where either has none, 1 if both have none, else 0."""
    said, there = (normalised_answer(text).split() for text in (answer, wanted))
    if not said or not there:
        return float(said == there)
    shared = sum((Counter(said) & Counter(there)).values())
    return 2 * shared / (len(said) + len(there))


def scores_of(answer: str, wanted: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 with the one of several right answers that is closest; of none, with saying nothing.

    Right answers of articles and punctuation alone are none, as in the script of SQuAD 2.
    """
    right = [text for text in wanted if normalised_answer(text)] or [""]
    return _best(exact_match, answer, right), _best(token_f1, answer, right)


def _best(score: Callable[[str, str], float], answer: str, right: Sequence[str]) -> float:
    return max(score(answer, each) for each in right)
