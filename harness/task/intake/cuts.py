"""The held-out rows of a user's own data: drawn by groups, evenly from the classes, or the last in time."""

import hashlib
from collections.abc import Collection, Hashable, Mapping, Sequence, Sized
from typing import Protocol

import numpy as np

from harness.config import ConfigError
from harness.task.intake.labels import is_gap
from harness.task.intake.scored import left_uncut

SplitRows = dict[str, np.ndarray]
"""The places of each split's rows, in their order; train last of those that are named."""


_FEW = 5  # rows more or less than a share
TOGETHER = "rows that belong together stay in one split"
EVENLY = "each class of three rows or more has one there, and rows that are alike stay together"
OF_GROUPS = "rows of a group stay together, and each class is there where that can be"
OF_TIMES = "rows of one time stay together"


class SharedOut(Protocol):
    """The settings of how much of the data is held out."""

    @property
    def validation_share(self) -> float:
        """The share of validation among all rows that are cut."""

    @property
    def test_share(self) -> float:
        """The share of test among all rows that are cut."""

    @property
    def time(self) -> str | None:
        """The column whose latest rows are."""


def refuse_empty(where: str, splits: Mapping[str, Sized]) -> None:
    """Raise ConfigError, which begins with `where`, for a split without rows."""
    for split, rows in splits.items():
        if not len(rows):
            train = len(splits.get("train", ()))
            alike = f"; of {train} rows of training those that are alike, or of one group, stay in one split"
            rule = f"{alike}; another task.{split}_share or task.split_seed, or a file of its own, task.{split}"
            raise ConfigError(f"{where}: the {split} split has no rows{rule if train else ''}")


def drawn(groups: Sequence[Hashable], shares: Mapping[str, float], seed: int) -> SplitRows:
    """Whole groups at random: of a share of them the rows go to that split, the others to train.

    Where there are as many groups as splits, each split has one at least.
    """
    numbers = numbered(groups)
    order = np.random.default_rng(seed).permutation(int(numbers.max(initial=-1)) + 1)
    split_of, start = dict.fromkeys(order.tolist(), "train"), 0
    counts = {name: round(share * len(order)) for name, share in shares.items()}
    if len(order) > len(shares):
        counts = {name: max(1, count) for name, count in counts.items()}
        while sum(counts.values()) >= len(order):
            counts[max(counts, key=lambda name: counts[name])] -= 1
    for name, count in counts.items():
        end = start + count
        split_of |= dict.fromkeys(order[start:end].tolist(), name)
        start = end
    return split_rows([split_of[number] for number in numbers.tolist()], shares)


def stratified(
    groups: Sequence[Hashable], labels: Sequence[Hashable], shares: Mapping[str, float], seed: int
) -> SplitRows:
    """Whole groups, drawn from each class by its size; a group is of the class of its first row.

    A class of three groups or more has one in every split.
    """
    numbers = numbered(groups)
    firsts = {number: place for place, number in reversed(list(enumerate(numbers.tolist())))}
    members: dict[Hashable, list[int]] = {}
    for number in sorted(firsts):
        members.setdefault(labels[firsts[number]], []).append(number)
    split_of: dict[int, str] = {}
    # A class's own draw: rows of another class do not change it.
    for label in sorted(members, key=str):
        mine = np.array(members[label])
        order = mine[np.random.default_rng(seed).permutation(len(mine))].tolist()
        for name, count in _counts(len(mine), shares).items():
            split_of |= dict.fromkeys(order[:count], name)
            order = order[count:]
        split_of |= dict.fromkeys(order, "train")
    return split_rows([split_of[number] for number in numbers.tolist()], shares)


def split_of(group: str, seed: int, validation_share: float, test_share: float) -> str:
    """The split of a group, from its text alone: the same whatever else is in the data, so that a base trained on
    one language has seen no test source of another.
    """
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"


def joined(texts: Sequence[Hashable], groups: Sequence[Hashable]) -> list[Hashable]:
    """Groups that hold near-identical texts become one; a row without a group is one of its own."""
    parent: dict[Hashable, Hashable] = {}

    def root(item: Hashable) -> Hashable:
        while parent.setdefault(item, item) != item:
            parent[item] = item = parent[parent[item]]
        return item

    named = [("group", group if not is_gap(group) else ("row", place)) for place, group in enumerate(groups)]
    for text, group in zip(texts, named, strict=True):
        parent[root(("text", text))] = root(group)
    return [root(group) for group in named]


def by_time(moments: Sequence[object], shares: Mapping[str, float]) -> SplitRows:
    """The latest rows are held out, the very last for test; those of one moment stay together in the later split."""
    values = np.asarray(moments)
    order = np.argsort(values, kind="stable")
    split_of = np.full(len(values), "train", dtype=object)
    end = len(values)
    for name in sorted(shares, key=["validation", "test"].index, reverse=True):
        begin = max(0, end - round(shares[name] * len(values)))
        while 0 < begin < end and values[order[begin]] == values[order[begin - 1]]:
            begin -= 1
        split_of[order[begin:end]] = name
        end = begin
    return split_rows(split_of.tolist(), shares)


def _counts(size: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return each held-out split's number of rows of a class, at least one if that leaves one to train on."""
    counts = {name: round(share * size) for name, share in shares.items()}
    if size > len(shares):
        counts = {name: max(1, count) for name, count in counts.items()}
    return counts if sum(counts.values()) < size else dict.fromkeys(shares, 0)


def odd_cuts(splits: Mapping[str, Sized], given: Collection[str], config: SharedOut, why: str = TOGETHER) -> list[str]:
    """Return warnings about cut splits far from their shares, with some `given`; `why` is a possible reason."""
    rows = {split: len(found) for split, found in splits.items() if split == "train" or split not in given}
    whole, told = sum(rows.values()), []
    why = OF_TIMES if config.time is not None else why
    for split, share in {"validation": config.validation_share, "test": config.test_share}.items():
        wanted = round(share * whole)
        if split in rows and abs(rows[split] - wanted) > max(_FEW, wanted / 2):
            said = f"{rows[split]} of {whole} rows, where task.{split}_share={share:g} is {wanted}"
            told.append(f"{split}: {said}: {why}")
    return told


def numbered(groups: Sequence[Hashable]) -> np.ndarray:
    """Groups as numbers in the order of their first rows."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def split_rows(split_of: Sequence[str], shares: Mapping[str, float]) -> SplitRows:
    """The places of the rows of each split; `split_of` names the split of each row."""
    if left_uncut(shares):
        return dict.fromkeys((*shares, "train"), np.arange(len(split_of)))
    names = np.array(split_of, dtype=object)
    return {name: np.flatnonzero(names == name) for name in (*shares, "train")}
