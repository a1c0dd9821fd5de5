"""Word and character error rates of transcripts, over all of them together, and what each comes to.

The least number of words, or characters, that are put in, left out or replaced, by the number of those that were said.
"""

import functools
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from harness.task.base import ScoredTexts
from harness.task.intake.duplicates import joined_blanks

COLUMNS = ("errors", "words", "character_errors", "characters")
SUMS = {"wer": ("errors", "words"), "cer": ("character_errors", "characters")}


def normaliser(name: str) -> Callable[[str], str]:
    """Return the function that normalises texts before comparison: none (except for blanks), plain, or english."""
    return {"none": joined_blanks, "plain": plain, "english": english}[name]


def plain(text: str) -> str:
    """The text in lower case, without punctuation and symbols except apostrophes within words."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    kept = [folded[at] if is_said(folded, at) else " " for at in range(len(folded))]
    return joined_blanks("".join(kept))


def english(text: str) -> str:
    """Normalise a text with transformers' version of Whisper's English normaliser (Radford et al., 2022).

    Without its list of British spellings, which lies beside some bases only: colour is not color.
    """
    return joined_blanks(_english()(text))


@functools.cache
def _english() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer  # transformers is slow to import

    found: Callable[[str], str] = EnglishTextNormalizer({})
    return found


def is_said(text: str, at: int) -> bool:
    """Return whether the character at a position is kept by `plain`, which drops punctuation."""
    if text[at] == "'":
        return 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum()
    return unicodedata.category(text[at])[0] not in "PS"


def distance(written: Sequence[str], wanted: Sequence[str]) -> int:
    """The edits between two sequences (Levenshtein, 1966), each of cost 1."""
    number: dict[str, int] = {}
    first, second = (np.array([number.setdefault(each, len(number)) for each in side]) for side in (written, wanted))
    places = np.arange(len(second) + 1)
    costs = places
    for row, each in enumerate(first, 1):
        costs = np.minimum(costs + 1, np.append(row, costs[:-1] + (second != each)))
        costs = np.minimum.accumulate(costs - places) + places  # what is left out of `wanted` on the way
    return int(costs[-1])


def error_rates(written: Sequence[str], references: Sequence[str], normalise: str) -> ScoredTexts:
    """WER and CER of all texts together, and the share that is right as a whole; by text, errors and what was said."""
    form = normaliser(normalise)
    pairs = [(form(text), form(wanted)) for text, wanted in zip(written, references, strict=True)]
    items = [
        [distance(text.split(), wanted.split()), len(wanted.split()), distance(text, wanted), len(wanted)]
        for text, wanted in pairs
    ]
    errors, words, character_errors, characters = np.array(items).sum(0).tolist()
    exact = sum(text == wanted for text, wanted in pairs) / len(pairs)
    scores = {"wer": errors / words, "cer": character_errors / characters, "exact": exact}
    return ScoredTexts(scores, COLUMNS, [[float(each) for each in item] for item in items], SUMS)
