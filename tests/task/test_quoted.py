"""Answers that are quoted from a text: where they stand, and in which cells."""

import io

import numpy as np
import pandas as pd
import pytest

from harness.task.intake.quoted import Quoted, nearest_place, place_of, quoted_in

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


ANSWERS = [
    [],
    [("Tom1", 29)],
    [('He\'s "in" array([1])', 3), ("a, b", 40)],
    [(f"a long answer number {number}", number) for number in range(30)],
]


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("answers", ANSWERS)
def test_cells_that_pandas_writes_are_read(answers, dtype):
    """Of arrays, as Parquet files hold them, of numbers of numpy in lists, and of lists of mappings."""
    texts, starts = [text for text, _ in answers], np.array([start for _, start in answers], dtype=dtype)
    cells = [
        {"text": np.array(texts, dtype=object), "answer_start": starts},
        {"text": texts, "answer_start": list(starts)},
        [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)],
    ]
    written = io.StringIO(pd.DataFrame({"answers": cells}).to_csv(index=False))
    for cell in pd.read_csv(written)["answers"]:
        assert [(each.text, each.offset) for each in quoted_in(cell, None)] == answers


@pytest.mark.parametrize(
    "cell",
    [
        "{'text': array(['Tom1'",
        '{"text": ["Tom1"], "answer_start": [29',
        "{ 'text': [who], 'answer_start': [1]}",
        "[{'text': 'a'}\n {'text': 'b'}]",
    ],
)
def test_a_cell_of_answers_that_cannot_be_read_is_no_text(cell):
    with pytest.raises(ValueError, match=r"^the cell .* cannot be read as answers; JSONL and Parquet hold them"):
        quoted_in(cell, None)


@pytest.mark.parametrize(
    "cell", ["{'text': array(['a', 'b', ..., 'z'], dtype=object), 'answer_start': array([1, 2, ..., 9])}", "['a', ...]"]
)
def test_a_cell_that_numpy_shortened_is_refused(cell):
    with pytest.raises(ValueError, match=r"^the cell .* is shortened \(\.\.\.\), as numpy"):
        quoted_in(cell, None)


def test_other_texts_in_brackets_are_answers():
    assert [each.text for each in quoted_in("[sic]", None)] == ["[sic]"]
    assert [each.text for each in quoted_in("{'a' text}", None)] == ["{'a' text}"]
