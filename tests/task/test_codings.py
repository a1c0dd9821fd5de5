"""Classes that are one under two names, and several labels in one cell."""

import re

import pytest

from harness.config import ConfigError
from harness.task.intake.codings import settle_codings
from harness.task.intake.joined_labels import refuse_combined


def rows_of(labels):
    return [str(row) for row in range(2, len(labels) + 2)]


def told(labels, normalise=None):
    return settle_codings("task.data=x", labels, rows_of(labels), normalise)


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (["0", "1", "neg", "pos"], r"numbers beside as many words \('neg', 'pos'\).*'0' in rows 2; '1' in rows 3"),
        (["0", "neg", "1", "pos", "0"], "numbers beside as many words"),
        (["1", "2", "3", "1", "low", "mid", "high"], "numbers beside as many words"),
        (["I", "II", "I", "1", "2"], "numbers beside as many words"),
        (["1-2", "02-Jan", "3-4", "04-Mar"], "dates beside ranges.*'02-Jan' in rows 3; '04-Mar' in rows 5"),
        (["1/2", "Jan-02"], "dates beside ranges"),
    ],
)
def test_two_codings_of_a_class_are_refused_until_it_is_settled(labels, line):
    with pytest.raises(ConfigError, match=f"task.data=x: labels that are {line}.*task.labels.normalise=false"):
        told(labels)
    (said,) = told(labels, True)
    assert "beside" in said
    assert told(labels, False) == []


@pytest.mark.parametrize(
    "labels",
    [
        ["0", "1"],
        ["neg", "pos"],
        ["1", "2", "3", "other"],
        ["1", "2", "A", "B"],
        ["3", "7", "cat", "dog"],
        ["PK", "K", "1", "2"],
        ["PK", "1", "K", "2", "PK", "2", "1"],
        ["PK", "PK", "K", "K", "1", "1", "2", "2"],
        ["0", "1", "2", "neg", "pos"],
        ["18-24", "25-34", "35+"],
        ["02-Jan", "04-Mar"],
        ["grade1"] * 30 + ["grade2"],
        ["cat"] * 30 + ["car"],
        ["B-1"] * 30 + ["B-2"],
        ["sport"] * 5 + ["sports"] * 4,
        ["positive"] * 30 + ["negative"],
        ["male"] * 30 + ["female"],
    ],
)
def test_other_labels_are_not_told(labels):
    assert told(labels) == []


def test_refused_is_told_beside_others_that_did_not_decide_only():
    labels = [*["yes", "no"] * 20, "Don't know", "Refused"]
    assert [line.partition(" ")[0] for line in told(labels)] == ["\"Don't", "'Refused'"]
    assert told([*["granted", "sent back"] * 20, "refused"]) == []


def test_numbers_from_one_among_as_many_words_are_told():
    labels = ["1", "world", "2", "sport", "3", "trade", "world", "1"]
    line = "labels are numbers beside as many words ('sport', 'trade', 'world'): of one class each? "
    line += "task.labels.normalise=false takes them as they are"
    assert told(labels) == told(labels, True) == [line]
    assert told(labels, False) == []


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (["pos", "positive", "neg", "negative"], "'neg' and 'negative', 'pos' and 'positive'"),
        (["NEU", "Neutral", "pos", "neg"], "'NEU' and 'Neutral'"),
        (["M", "male", "F", "female"], "'F' and 'female', 'M' and 'male'"),
        (["mon", "monday", "tue", "tuesday", "rest"], "'mon' and 'monday', 'tue' and 'tuesday'"),
        (["LOC", "LOCATION", "O", "PER"], "'LOC' and 'LOCATION'"),
        (["0", "1", "LABEL_0", "LABEL_1"], "'0' and 'LABEL_0', '1' and 'LABEL_1'"),
        (["0: neg", "1: pos", "neg", "pos"], "'neg' and '0: neg', 'pos' and '1: pos'"),
        (["1 star", "2 stars", "1", "2", "3"], "'1' and '1 star', '2' and '2 stars'"),
        (["neg (0)", "pos (1)", "0", "1"], "'0' and 'neg \\(0\\)', '1' and 'pos \\(1\\)'"),
        (["café", "cafe", "bar"], "'cafe' and 'café'"),
        (["Größe", "Groesse", "Farbe"], "'Groesse' and 'Größe'"),
        (["2020-01-31", "31/01/2020", "2021-01-31"], "'2020-01-31' and '31/01/2020'"),
    ],
)
def test_two_forms_of_a_name_are_told_until_it_is_settled(labels, pairs):
    (line,) = told(labels)
    assert re.fullmatch(f"{pairs} may be of one class each: mend .* task.labels.normalise=false takes .*", line)
    assert told(labels, True) == [line]
    assert told(labels, False) == []


@pytest.mark.parametrize(
    "labels",
    [
        ["bee", "beetle", "sea", "seal", "cat", "category"],
        ["bee", "beetle"],
        ["cat", "category", "dog", "dogma", "car", "cargo", "tree", "house"],
        ["S", "M", "L"],
        ["p", "o", "positive", "other things", "person"],
        ["A", "AB", "B", "0"],
        ["1", "1a", "1b", "2"],
        ["10", "12", "10.5"],
        ["tú", "tu", "ma", "má", "mà"],
        ["01/02/2020", "02/01/2020"],
        ["2020-01-02", "2020-02-01"],
        ["4 doors", "2 doors"],
        ["0: a", "1: b"],
    ],
)
def test_names_of_classes_of_their_own_are_not_told(labels):
    assert told(labels) == []


@pytest.mark.parametrize("rare", ["postive", "positve", "positivee", "positlve", "psoitive"])
def test_a_rare_name_a_letter_away_from_a_frequent_one_is_told(rare):
    labels = ["positive"] * 20 + [rare] + ["negative"] * 20
    assert told(labels) == [f"{rare!r} (1 rows: 22) is a letter away from 'positive' (20 rows)"]
    assert told(["positive"] * 9 + [rare]) == []


def test_ten_misspelled_names_are_told_and_the_others_counted():
    names = [f"{letter}ational" for letter in "abcdefghijklm"]
    said = told(["national"] * 20 + [f"{name}" for name in names])
    assert len(said) == 11
    assert said[-1] == "3 more labels are a letter away from others that are frequent"


def combined(labels, policy="refuse", classes=None):
    return refuse_combined(
        "task.data=x", "label", dict(zip(rows_of(labels), labels, strict=True)), policy=policy, classes=classes
    )


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (["a", "b", "a,b", "b,a"], r"2 classes of label are others joined by ',', 'a,b', 'b,a', in 2 rows \(4, 5\)"),
        (["a, b", "b, a"], r"in 2 rows \(2, 3\); task.answer=labels reads"),
        (["a", "b", "a|b"], "task.answer=labels 'task.labels.separator=\"|\"' reads".replace("|", r"\|")),
        (["a", "b;c", "b", "c"], r"in 1 rows \(3\)"),
        (["0", "1", "2", "0,1", "1,2"], r"in 2 rows \(5, 6\)"),
        (["a", "b", "a/b"], "joined by '/'.*separator=\"/\"' reads"),
        (["a", "b", "a + b"], r"joined by '\+'.*separator=\"\+\"' reads"),
        (["a", "b", "a & b"], "joined by '&'.*separator=\"&\"' reads"),
        (["a", "b", "a and b"], "joined by 'and'.*separator=\" and \"' reads"),
        (["a", "b", "a\tb"], r"joined by a tab.*separator=\"\\t\"' reads"),
        (["a", "b", "a\nb"], r"joined by a line break.*separator=\"\\n\"' reads"),
        (["a", "b", "a\u3001b"], "joined by '\u3001'.*separator=\"\u3001\"' reads"),
        (["0", "5", "12", "5 0", "12 5 0"], 'joined by a blank.*separator=" "\' reads'),
    ],
)
def test_several_labels_in_a_cell_are_refused_until_it_is_settled(labels, line):
    with pytest.raises(ConfigError, match=line):
        combined(labels)
    combined(labels, "keep")
    combined(labels, classes=len(set(labels)))


@pytest.mark.parametrize(
    "labels",
    [
        ["Washington, D.C.", "Paris"],
        ["1", "1,5", "2", "2,5", "5"],
        ["news/sport", "news/politics", "art"],
        ["a,b", "c,d"],
        ["a,a", "a"],
        ["Food, drink", "Food, other", "Other"],
        ["en/de", "de/en", "en-de", "de-en"],
        ["0", "1/2", "1", "2"],
        ["0", "1", "2", "0-1", "1-2"],
        ["A", "B", "A+", "B+"],
        ["C", "C++", "C#"],
        ["hot dog", "hot soup", "ice cream"],
        ["card", "payment", "card payment"],
    ],
)
def test_other_names_with_commas_are_classes(labels):
    assert combined(labels) == []


@pytest.mark.parametrize("mark", [" ", "_", "-"])
def test_names_that_are_others_joined_as_words_are_told(mark):
    labels = ["red", "green", "blue", f"red{mark}green", f"green{mark}blue"]
    (line,) = combined(labels)
    assert line.startswith("2 classes of label are others joined by ")
    assert f"in 2 rows (5, 6); task.answer=labels 'task.labels.separator=\"{mark}\"' reads" in line
    assert combined(labels, "keep") == combined(labels, classes=5) == []
