"""Answers that are quoted from a text: where they stand, and in which cells."""

import pytest

from harness.task.intake.quoted import Quoted, nearest_place, place_of

STANDS = [
    ("It is known that no one came.", "no", 17),
    ("In 2010 there were 10.", "10", 19),
    ("It is 1010, or 10%.", "10%", 15),
    ("The well-known man", "known", 9),
    ("ho\u0302tel, hotel", "hotel", 8),
    ("L'été dernier", "été", 2),
    ("hole and (hole)", "(hole)", 9),
    ("hotels (hotel", "hotel", 8),
    ("我住在北京市。", "北京", 3),
    ("서울은 수도이다", "서울", 0),
    ("2010年は10年", "10", 6),
    ("unknown", "unknown", 0),
]


@pytest.mark.parametrize(("context", "text", "place"), STANDS)
def test_an_answer_without_a_start_is_no_part_of_a_word(context, text, place):
    assert place_of(context, Quoted(text, None)) == nearest_place(context, Quoted(text, None)) == place


@pytest.mark.parametrize(
    ("context", "text", "said"),
    [
        ("It is known, unknown.", "no", "'no' stands only inside words of its context, at 7 and 16; give its start"),
        ("e\u0301t", "e", "'e' stands only inside words"),
        ("हिंदी", "हिंद", "'हिंद' stands only inside words"),
        ("Nothing", "no", "'no' stands nowhere in its context"),
    ],
)
def test_an_answer_that_stands_only_inside_words_stands_nowhere(context, text, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        place_of(context, Quoted(text, None))
    assert nearest_place(context, Quoted(text, None)) is None


def test_an_answer_with_a_start_may_be_part_of_a_word():
    assert place_of("It is known.", Quoted("no", 7)) == nearest_place("It is known.", Quoted("no", 3)) == 7
