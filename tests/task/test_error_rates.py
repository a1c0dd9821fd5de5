"""Word and character error rates against those that jiwer gives for the same random texts."""

import json
from pathlib import Path

import pytest

from harness.task.error_rates import distance, english, error_rates, plain

CASES = json.loads((Path(__file__).parents[1] / "cases" / "error_rates.json").read_text())


def test_rates_are_those_of_jiwer():
    written, wanted, wer, cer = map(list, zip(*CASES["cases"], strict=True))
    found = error_rates(written, wanted, "none")
    assert [found.scores["wer"], found.scores["cer"]] == pytest.approx(CASES["all"], abs=1e-12)
    by_name = {name: [errors / said for errors, said in zip(*sums, strict=True)] for name, sums in found.ratios.items()}
    assert by_name["wer"] == pytest.approx(wer, abs=1e-12)
    assert by_name["cer"] == pytest.approx(cer, abs=1e-12)
    assert found.scores["exact"] == sum(rate == 0 for rate in wer) / len(wer)
    assert "" in written


def test_blanks_are_no_errors_and_order_is():
    assert error_rates([" a  b "], ["a b"], "none").scores == {"wer": 0.0, "cer": 0.0, "exact": 1.0}
    assert distance("kitten", "sitting") == 3
    assert distance("ab", "ba") == 2
    assert (distance("", "abc"), distance("abc", ""), distance("", "")) == (3, 3, 0)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Don’t  STOP, now!", "don't stop now"),
        ("'Quoted' words' end", "quoted words end"),
        ("well-known: 5 €", "well known 5"),
        ("GROẞE Straße", "große straße"),
        ("हिन्दी।", "हिन्दी"),
        ("ﬁne", "fine"),
    ],
)
def test_plain_texts_keep_letters_marks_and_apostrophes(text, form):
    assert plain(text) == form
    assert error_rates([text], [form], "plain").scores["wer"] == 0.0


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Let's go, he's like [noise] that.", "let us go he is like that"),
        ("Mr. Park visited Assoc. Prof. Kim Jr.", "mister park visited associate professor kim junior"),
        ("Um, twenty-five km (or so)", "25 km"),
        ("she's been gone", "she has been gone"),
    ],
)
def test_english_texts_are_compared_as_whispers_paper_does(text, form):
    """The examples of its own tests and of its appendix C."""
    assert english(text) == form
    assert error_rates([text], [form], "english").scores["wer"] == 0.0
    assert error_rates([text], [form], "plain").scores["wer"] > 0
