"""Labels that look alike, or are one word as programs change it: one class, or several, by a key."""

import pytest

from harness.config import ConfigError
from harness.task.intake.labels import alike, settle_alike
from harness.task.intake.look_alike import drawn_as, repaired, shape_of

ALIKE = [
    ("A", "\u0410"),
    ("pace", "\u0440\u0430\u0441\u0435"),
    ("OXO", "\u039f\u03a7\u039f"),
    ("non-toxic", "non\u2013toxic"),
    ("non-toxic", "non\u2011toxic"),
    ("don't know", "don\u2019t know"),
    ("R&D", "R&amp;D"),
    ("a<b", "a&lt;b"),
    ("f\u00fcr", "f\u00c3\u00bcr"),
    ("\u00c0 voir", "\u00c3\u0080 voir"),
    ("caf\u00e9", "cafe\u0301"),
    ("\u0130yi", "iyi"),
    ("I\u015f\u0131k", "\u0131\u015f\u0131k"),
    ("one", "1"),
    ("\u2764", "\u2764\ufe0f"),
    ("Two", "2.0"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_look_alike_are_refused_until_it_is_settled(one, other):
    assert [set(group) for group in alike([one, other, "neither"])] == [{one, other}]
    with pytest.raises(ConfigError, match=r"rows: 2, 5\).*task\.labels\.normalise=true makes them one class") as error:
        settle_alike("task.data=x", [one, other, "neither", one], ["2", "3", "4", "5"], None)
    assert ascii(other)[1:-1] in str(error.value) or other in str(error.value)
    names = settle_alike("task.data=x", [one, one, other], ["2", "3", "4"], True)
    assert names == {one: one, other: one}
    assert settle_alike("task.data=x", [one, other], ["2", "3"], False) == {one: one, other: other}


@pytest.mark.parametrize(
    "names",
    [
        ("\u0434\u0430", "\u043d\u0435\u0442"),
        ("s\u0131n\u0131r", "sinir"),
        ("\u03b1", "a"),
        ("f\u00fcr", "fur"),
        ("O", "0"),
        ("l", "1", "I"),
        ("grade1", "grade2"),
        ("cat", "car"),
        ("B-1", "B-2"),
        ("C", "C++", "C#"),
        ("I", "II", "III"),
        ("AT&T", "ATT"),
        ("one", "two"),
    ],
)
def test_other_names_are_not(names):
    assert alike(names) == []


def test_what_looks_the_same_is_told_apart_by_its_characters():
    with pytest.raises(ConfigError, match=r"'A' \(1 rows: 2\) and '\u0410', '\\u0410' \(1 rows: 3\)"):
        settle_alike("task.data=x", ["A", "\u0410", "B"], ["2", "3", "4"], None)


def test_plain_names_stay_as_they_are():
    for name in ("na\u00efve", "\u5206\u985e", "R&D", "5 \u20ac", "\u00e4\u00f6\u00fc"):
        assert repaired(name) == name
    assert (drawn_as("\u0421-1"), shape_of(" Three ")) == ("C-1", "3")
