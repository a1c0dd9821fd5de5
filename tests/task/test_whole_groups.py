"""Few groups of several classes: cut whole wherever a search of all cuts, or scikit-learn, finds one, or refused."""

import dataclasses
import itertools

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.intake.cuts import stratified
from harness.task.intake.whole_groups import Uncut, learnable, whole_groups

SHARES = {"validation": 0.1, "test": 0.2}


def drawn_rows(seed):
    """Groups and classes of few rows."""
    rng = np.random.default_rng(seed)
    groups, classes = int(rng.integers(2, 7)), int(rng.integers(1, 5))
    rows = int(rng.integers(groups, 25))
    named = [*range(groups), *rng.integers(0, groups, rows - groups).tolist()]
    return named, [f"class {label}" for label in rng.integers(0, classes, rows).tolist()]


def some_cut(groups, labels):
    """Whether any of all cuts has every class in training, and several held out."""
    there = [{label for label, mine in zip(labels, groups, strict=True) if mine == group} for group in set(groups)]
    every, least = set(labels), min(2, len(set(labels)))
    for cut in itertools.product(range(3), repeat=len(there)):
        held = [set().union(*(mine for mine, at in zip(there, cut, strict=True) if at == split)) for split in range(3)]
        if held[2] == every and all(len(found) >= least for found in held):
            return True
    return False


def check_whole(groups, parts):
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(groups)))
    of = {split: {groups[place] for place in places} for split, places in parts.items()}
    assert not any(of[a] & of[b] for a, b in itertools.combinations(of, 2))


@pytest.mark.parametrize("seed", range(150))
def test_there_is_a_cut_where_a_search_of_all_finds_one(seed):
    groups, labels = drawn_rows(seed)
    if not some_cut(groups, labels):
        with pytest.raises(Uncut):
            whole_groups(groups, labels, SHARES, seed)
        return
    parts = whole_groups(groups, labels, SHARES, seed)
    check_whole(groups, parts)
    assert {labels[place] for place in parts["train"]} == set(labels)


@pytest.mark.parametrize(("groups", "classes"), [(5, 50), (6, 3), (4, 2), (10, 10), (40, 7)])
@pytest.mark.parametrize("seed", [1, 2])
def test_shares_are_as_near_as_of_folds_by_scikit_learn(groups, classes, seed):
    """Its folds, one for test and one for validation, have every class; so have ours, no farther from their shares."""
    rng = np.random.default_rng(groups)
    mine = rng.integers(0, groups, 40 * groups * max(1, classes // 5)).tolist()
    labels = rng.integers(0, classes, len(mine)).tolist()
    count = min(5, groups)
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(labels, labels, mine)
    usual = [len(held) / len(mine) for _, held in itertools.islice(folds, 2)]
    parts = whole_groups(mine, labels, SHARES, seed)
    check_whole(mine, parts)
    assert all({labels[place] for place in places} == set(labels) for places in parts.values())
    got = [len(parts[split]) / len(mine) for split in SHARES]
    off = [sum(abs(a - b) for a, b in zip(found, SHARES.values(), strict=True)) for found in (got, sorted(usual))]
    assert off[0] <= off[1] + 0.02
    again = whole_groups(mine, labels, SHARES, seed)
    assert all(np.array_equal(parts[split], again[split]) for split in parts)


def table(folder, groups, labels):
    words = [f"n{i} m{i * i} here of k{7 * i}" for i in range(len(labels))]
    lines = [f"{text},{label},{group}" for text, label, group in zip(words, labels, groups, strict=True)]
    (folder / "a.csv").write_text("text,label,site\n" + "\n".join(lines) + "\n")
    return str(folder / "a.csv")


def read(make, data, **keys):
    return read_task(dataclasses.replace(make("task=text_csv", "task.data=x"), data=data, group="site", **keys))


@pytest.mark.parametrize(("sites", "classes"), [(6, 3), (4, 2), (5, 8)])
def test_a_table_of_few_groups_is_read(make_task, tmp_path, sites, classes):
    rng = np.random.default_rng(0)
    groups, labels = rng.integers(0, sites, 300), [f"c{i}" for i in rng.integers(0, classes, 300)]
    counts = read(make_task, table(tmp_path, groups, labels)).describe()["labels"]
    assert sum(map(sum, counts.values())) == 300
    assert all(min(count) > 0 for count in counts.values())


def test_a_cut_that_was_learnable_stays_as_it_was(make_task, tmp_path):
    rng = np.random.default_rng(0)
    groups, labels = [f"g{i}" for i in rng.integers(0, 60, 300)], [f"c{i}" for i in rng.integers(0, 3, 300)]
    former = stratified(groups, labels, SHARES, 0)
    assert learnable(labels, former)
    task = read(make_task, table(tmp_path, groups, labels), split_seed=0)
    rows = {split: [int(text.split()[0][1:]) for text in task.splits[split].texts] for split in former}
    assert rows == {split: places.tolist() for split, places in former.items()}


@pytest.mark.parametrize(
    ("groups", "labels", "said"),
    [
        ([0, 1] * 20, ["a", "b"] * 20, "2 groups are too few for 3 splits, validation, test, train"),
        ([0, 1, 2, 3] * 10, ["a", "b", "b", "b"] * 10, "since of 4 groups 1 have 'a'"),
        ([0, 1, 2] * 14, ["a", "b", "a"] * 14, "training would lack a class, since of 3 groups 2 have 'a', 1 have 'b'"),
    ],
)
def test_why_none_can_be_cut_is_said_and_the_key_works(make_task, tmp_path, groups, labels, said):
    data = table(tmp_path, groups, labels)
    with pytest.raises(ConfigError, match="task.group=site: no cut of whole groups") as error:
        read(make_task, data)
    assert said in str(error.value)
    assert "task.group=null cuts rows one by one" in str(error.value)
    task = make_task("task=text_csv", "task.data=x")
    assert len(read_task(dataclasses.replace(task, data=data, group=None)).names("test"))
