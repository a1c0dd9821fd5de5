"""Splits that are given as files, of every kind of data."""

import re

import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.summary import short, summary
from tests.task.intake_inputs import (
    KINDS,
    config_of,
    folder_task,
    given_task,
    images_in,
    labelled,
    noun,
    picture,
    text_of,
    translated,
    written,
)


def grouped(make, rows, group):
    return [make(i) | {"who": group(i)} for i in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_a_given_split_are_kept_apart_from_those_of_training(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    train = grouped(make, range(60), lambda i: f"g{i // 6}")
    apart = grouped(make, range(60, 84), lambda i: f"h{i // 6}" if i % 6 else None)
    task = given_task(make_task, tmp_path, kind, train, apart, group="who")
    (line,) = [line for line in task.findings().suspicious if "task.group" in line]
    said = "test: 4 of 24 rows have no group, and each is taken for one of its own (task.group=who; rows "
    assert line.startswith(said)
    assert task.describe()["rows"]["test"] == 24
    shared = grouped(make, range(60, 84), lambda i: f"g{i % 10}")
    line = r"task\.group=who: [6-9] groups of test, which are (1|2)\d of its rows, stand in train too "
    with pytest.raises(
        ConfigError, match=line + r"\('g\d': train \d+, \d+, \d+, … and test .*; task\.leaks=allow"
    ) as caught:
        given_task(make_task, tmp_path, kind, train, shared, group="who")
    assert len(str(caught.value).splitlines()) == 1
    told = given_task(make_task, tmp_path, kind, train, shared, group="who", leaks="allow").findings().suspicious
    assert any(re.match(line, said) for said in told)


@pytest.mark.parametrize(("one", "other"), [(lambda i: i, float), (lambda i: f"Ann {i}", lambda i: f" ann  {i} ")])
@pytest.mark.parametrize("kind", KINDS)
def test_groups_are_one_however_their_numbers_and_names_are_spelled(make_task, tmp_path, own_cache, kind, one, other):
    make = KINDS[kind][1]
    train = grouped(make, range(60), lambda i: one(i // 6))
    held = grouped(make, range(60, 84), lambda i: other(i % 10) if i % 6 else None)  # as pandas has numbers with a gap
    with pytest.raises(ConfigError, match=r"task\.group=who: [6-9] groups of test, .* stand in train too"):
        given_task(make_task, tmp_path, kind, train, held, group="who")


UNTRAINED = [
    (
        "texts",
        lambda i: {"label": str(i % 2)},
        r"'0' \(3 rows: 1, 3, 5\), '1' .*, whose numbers are not taken for them",
    ),
    (
        "texts",
        lambda i: {"label": ("new", "pos", "odd")[i % 3]},
        r"'new' \(2 rows: 1, 4\), 'odd' \(2 rows: 3, 6\); .*'pos'$",
    ),
    (
        "several labels",
        lambda i: {"label": ["a", "new"] if i % 2 else ["odd"]},
        r"'odd' \(3 rows: 1, .*, 'new' \(3 rows: 2",
    ),
    ("images", lambda i: {"label": ("new", "odd")[i % 2]}, r"'new' \(3 rows: 1, 3, 5\), 'odd' \(3 rows: 2, 4, 6\)"),
]


@pytest.mark.parametrize(("kind", "label", "line"), UNTRAINED)
def test_labels_that_training_has_not_are_refused_with_file_and_rows(make_task, tmp_path, own_cache, kind, label, line):
    make = KINDS[kind][1]
    held = [make(60 + i) | label(i) for i in range(6)]
    with pytest.raises(ConfigError, match=rf"task\.test=.*test\.jsonl: 2 labels are absent from training: {line}"):
        given_task(make_task, tmp_path, kind, [make(i) for i in range(60)], held)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_a_group_and_names_that_are_taken_for_one_are_told(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    names = [None, "", "unknown", "[deleted]", "07", "7", "ann 8; ann 9", "Lee, Ann", "Lee, Tim"]
    names += ["José", "Jose", "@tim", "tim", "x.org/1/", "x.org/1", "Eva <eva@x.org>", "eva@x.org"]
    names += [f"{('Ann', 'ann ', 'ANN')[i % 3]} {i // 6}" for i in range(17, 60)]
    train, held = grouped(make, range(60), lambda i: names[i]), grouped(make, range(60, 84), lambda i: f"h{i // 6}")
    told = "\n".join(given_task(make_task, tmp_path, kind, train, held, group="who").findings().suspicious)
    where = {int(count): split for split, count in re.findall(r"(\w+): (\d+) of \d+ rows have no group", told)}
    assert sum(where) == 2 or len(where) == 1, "two rows, in one split or in two"
    for name in ("unknown", "[deleted]"):
        assert f"task.group=who: {name!r} (1 rows) often means that there is no group, and is taken for one" in told
    assert "task.group=who: '07' and '7' are two groups each: is it one number?" in told
    assert "task.group=who: 1 names are of several groups, and each is one of its own: 'ann 8; ann 9'" in told
    pairs = "'José' and 'Jose', '@tim' and 'tim', 'x.org/1/' and 'x.org/1', 'Eva <eva@x.org>' and 'eva@x.org'"
    (found,) = re.findall(r"task\.group=who: (.*) are groups of their own: are they one each\?", told)
    assert {frozenset(pair.split(" and ")) for pair in found.split(", ")} == {
        frozenset(pair.split(" and ")) for pair in pairs.split(", ")
    }
    line = r"task\.group=who: \d+ groups are written in several ways, .*: 'Ann \d' and 'ann \d' and 'ANN \d'"
    assert re.search(line, told)


def test_a_group_that_is_a_long_text_is_told_by_its_beginning(make_task, tmp_path):
    train, test = (
        grouped(labelled, rows, lambda i: f"{i % 10} " + 99 * "long ") for rows in (range(60), range(60, 84))
    )
    told = given_task(make_task, tmp_path, "texts", train, test, group="who", leaks="allow").findings().suspicious
    line = next(said for said in told if said.startswith("task.group=who"))
    assert "long lo…: train " in line
    assert len(line) < 2000


@pytest.mark.parametrize("kind", KINDS)
def test_a_given_split_without_the_column_of_groups_is_refused_by_key(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    train, test = grouped(make, range(60), lambda i: i // 6), [make(i) for i in range(60, 84)]
    with pytest.raises(ConfigError, match=r"task\.group=who: .*test\.jsonl has no column who.*task\.leaks=allow"):
        given_task(make_task, tmp_path, kind, train, test, group="who")
    task = given_task(make_task, tmp_path, kind, train, test, group="who", leaks="allow")
    assert task.describe()["rows"]["test"] == 24
    assert "test: no row has a group (task.group=who)" in task.findings().suspicious


TWICE = [kind for kind in KINDS if kind not in ("source and target", "conversations", "options")]


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_rows_of_given_splits_are_left_out_and_named(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    train = [make(i) for i in (*range(60), *range(7))]
    test = [make(i) for i in (*range(60, 70), *range(60, 66))]
    task = given_task(make_task, tmp_path, kind, train, test)
    told = task.describe()
    assert sum(told["rows"].values()) == 70
    assert told["rows"]["test"] == 10
    assert told["left_out"] == {"repeated": 13}
    names = [*(f"train {row}" for row in range(61, 68)), *(f"test {row}" for row in range(11, 17))]
    assert task.findings().left_out["repeated"] == names
    assert f"left out, repeated: 13 (rows {', '.join(names[:10])} and 3 more)" in summary(task, None)
    assert short(task).find("13 repeated") > 0


@pytest.mark.parametrize("kind", TWICE)
def test_repeats_of_a_given_held_out_split_stay_where_all_rows_are_kept(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    train, test = [make(i) for i in (*range(60), *range(7))], [make(i) for i in (*range(60, 70), 60, 61)]
    task = given_task(make_task, tmp_path, kind, train, test, duplicates="keep")
    assert task.describe()["rows"]["test"] == 12
    assert task.findings().left_out["repeated"] == [f"train {row}" for row in range(61, 68)]
    names = "11, 12" if kind in ("tags", "questions") else "test 11, test 12"
    said = f"test: 2 rows repeat others (rows {names}) and stay, as task.duplicates=keep says"
    assert said in task.findings().suspicious


def test_repeats_of_all_three_given_files_are_left_out(make_task, tmp_path):
    for name, rows in {"a": (*range(40), 0, 1), "v": (*range(40, 50), 40), "t": (*range(50, 60), 50, 51)}.items():
        written(tmp_path / f"{name}.csv", text_of([tuple(labelled(i).values()) for i in rows]))
    paths = {"data": f"{tmp_path}/a.csv", "validation": f"{tmp_path}/v.csv", "test": f"{tmp_path}/t.csv"}
    task = read_task(config_of(make_task, **paths))
    assert task.describe()["rows"] == {"train": 40, "validation": 10, "test": 10}
    assert task.findings().left_out["repeated"] == ["train 42", "train 43", "validation 12", "test 12", "test 13"]


def test_copies_in_given_folders_are_left_out_and_named(make_task, tmp_path, own_cache):
    root = images_in(tmp_path / "d", lambda i: "train" if i < 8 else "test")
    picture(root / "test" / "cat" / "z.png", 8)
    picture(root / "train" / "dog" / "z.png", 100)
    found = read_task(folder_task(make_task, root))
    assert len(found.splits["test"]) == 8
    assert found.findings().left_out == {"repeated": ["test/cat/z.png", "train/dog/z.png"]}
    kept = read_task(folder_task(make_task, root, duplicates="keep"))
    assert len(kept.splits["test"]) == 9
    assert kept.findings().left_out == {"repeated": ["train/dog/z.png"]}
    line = "test: 1 rows repeat others (rows test/cat/z.png) and stay, as task.duplicates=keep says"
    assert line in kept.findings().suspicious


def spoilt(row, text):
    """A row with a text at the end of what is read of it first."""
    name = next(iter(row))
    if name == "messages":
        return {name: [{**row[name][0], "content": text}, *row[name][1:]]}
    return row | {name: [text, *row[name][1:]] if isinstance(row[name], list) else text}


TEXTS = [kind for kind in KINDS if kind not in ("images", "recordings")]


@pytest.mark.parametrize(("text", "line"), [("a\0b", "a character of zero"), ("a\ud800", "half a character")])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_cannot_be_written_is_refused_with_its_row(make_task, tmp_path, kind, text, line):
    make = KINDS[kind][1]
    rows = [spoilt(make(i), text) if i == 4 else make(i) for i in range(60)]
    with pytest.raises(ConfigError, match=rf"row 5: .*{line}") as caught:
        given_task(make_task, tmp_path, kind, rows, [make(i) for i in range(60, 70)])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["source and target", "conversations", "options", "tags", "questions"])
def test_rows_that_are_alike_up_to_case_are_counted(make_task, tmp_path, kind):
    make = KINDS[kind][1]
    train = [make(i, change) for i in range(60) for change in ((str, str.upper) if i < 7 else (str,))]
    task = given_task(make_task, tmp_path, kind, train, [make(i) for i in range(60, 70)])
    near = task.findings().near
    assert near["train"] + near.get("validation", 0) == 7
    assert "nothing left out, nothing repeated, nothing suspicious" not in summary(task, None)


@pytest.mark.parametrize(("kind", "what"), [("source and target", "source"), ("conversations", "conversation")])
def test_sources_of_several_targets_are_told_and_kept(make_task, tmp_path, kind, what):
    make = KINDS[kind][1]
    first, other = (make(i) for i in (7, 8))
    if kind == "conversations":
        other = {"messages": [first["messages"][0], other["messages"][1]]}
    else:
        other = first | {"target": other["target"]}
    train = [*(make(i) for i in range(60)), other]
    task = given_task(make_task, tmp_path, kind, train, [make(i) for i in range(60, 70)])
    (line,) = (said for said in task.findings().suspicious if said.startswith("the same"))
    place = next(split for split, rows in task.findings().kept.items() if "61" in rows)
    assert line.startswith(
        f"the same {what} with different targets, 1 times (rows {place} 8 and {place} 61); all are kept"
    )
    assert sum(task.describe()["rows"].values()) == 71
    assert f"to be looked at: {line}" in summary(task, None)


def test_targets_that_differ_in_case_alone_are_no_others(make_task, tmp_path):
    rows = [translated(i) for i in range(60)] + [translated(3) | {"target": "SAID " + noun(3)}]
    task = given_task(make_task, tmp_path, "source and target", rows, [translated(i) for i in range(60, 70)])
    assert task.findings().suspicious == []
    assert sum(task.findings().near.values()) == 1
