"""Few groups that hold several classes each, shared out among splits: sites of patients, folds, authors."""

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

from harness.system.paths import listed
from harness.task.intake.cuts import SplitRows, numbered, split_rows

_SWAPPED = 100  # groups at most of which each is tried in the place of each
_TRIED = 20  # cuts to begin with
_LEAST = 1e-9  # by which another cut is nearer to the shares

Cost = tuple[int, int, float]
Split = Mapping[int, int]
"""The number of a split for some groups, train the last."""


class Uncut(Exception):
    """The message when no cut of whole groups can be learned from and scored."""


def learnable(labels: Sequence[Hashable], parts: SplitRows) -> bool:
    """Return whether a cut has rows in every split, all classes in training, and several in what is held out."""
    classes = {split: {labels[place] for place in places.tolist()} for split, places in parts.items()}
    least = min(2, len(set(labels)))
    return classes["train"] == set(labels) and all(len(found) >= least for found in classes.values())


def whole_groups(
    groups: Sequence[Hashable], labels: Sequence[Hashable], shares: Mapping[str, float], seed: int
) -> SplitRows:
    """Whole groups so that each split has one, training every class, the others as many as can be, and all of them
    about their shares of the rows and of each class. Raises Uncut where there is no such cut.
    """
    numbers, classes = numbered(groups), numbered(labels)
    counts = np.zeros((numbers.max() + 1, classes.max() + 1), dtype=np.int64)
    np.add.at(counts, (numbers, classes), 1)
    names = (*shares, "train")
    order = np.random.default_rng(seed).permutation(len(counts)).tolist()
    if len(counts) < len(names):
        raise Uncut(f"{len(counts)} groups are too few for {len(names)} splits, {listed(names)}")
    why = "training would lack a class"
    for held_out in itertools.islice(_held_out(counts, order, len(shares)), _TRIED):
        split_of = np.full(len(counts), len(shares))
        split_of[held_out] = range(len(shares))
        _settle(counts, split_of, order, np.array([*shares.values(), 1 - sum(shares.values())]))
        parts = split_rows([names[split_of[number]] for number in numbers.tolist()], shares)
        if learnable(labels, parts):
            return parts
        why = "a split would have one class alone"
    raise Uncut(f"{why}, since {_in_few(counts, len(names), labels)}")


def _held_out(counts: np.ndarray, order: Sequence[int], splits: int) -> Iterator[list[int]]:
    """One group for each of so many splits, without which training has every class."""
    with_class = (counts > 0).sum(0)
    free = [group for group in order if not (with_class[counts[group] > 0] == 1).any()]
    for chosen in itertools.permutations(free, splits):
        if (with_class > (counts[list(chosen)] > 0).sum(0)).all():
            yield list(chosen)


def _in_few(counts: np.ndarray, splits: int, labels: Sequence[Hashable]) -> str:
    """Describe the classes that have no group for each split."""
    names, with_class = list(dict.fromkeys(labels)), (counts > 0).sum(0).tolist()
    few = {str(name): count for name, count in zip(names, with_class, strict=True) if count < splits}
    return f"of {len(counts)} groups " + listed(f"{count} have {name!r}" for name, count in sorted(few.items()))


def _settle(counts: np.ndarray, split_of: np.ndarray, order: Sequence[int], shares: np.ndarray) -> None:
    """Move groups to other splits, and put one in another's place, until that brings no split nearer to its share."""
    table = np.stack([counts[split_of == split].sum(0) for split in range(len(shares))])
    cost, before = _cost(table, shares), None
    while cost != before:
        before = cost
        for group in order:
            for change in _changes(split_of, group, len(shares)):
                tried = table.copy()
                for moved, split in change.items():
                    tried[split_of[moved]] -= counts[moved]
                    tried[split] += counts[moved]
                if (found := _cost(tried, shares)) < (*cost[:2], cost[2] - _LEAST):
                    table, cost = tried, found
                    split_of[list(change)] = list(change.values())
                    break


def _changes(split_of: np.ndarray, group: int, splits: int) -> Iterator[Split]:
    mine = int(split_of[group])
    yield from ({group: split} for split in range(splits) if split != mine)
    if len(split_of) <= _SWAPPED:
        others = np.flatnonzero(split_of != mine).tolist()
        yield from ({group: int(split_of[other]), other: mine} for other in others)


def _cost(table: np.ndarray, shares: np.ndarray) -> Cost:
    """Compute the cost of the rows of each class in each split: obstacles to learning and scoring, the classes that
    splits lack, and the distance of splits from their shares.
    """
    there = table > 0
    least = min(2, table.shape[1])
    wrong = (~there[-1]).sum() + (there.sum(1) < least).sum()
    off = np.square(table / table.sum(0) - shares[:, None]).mean(1).sum()
    off += np.square(table.sum(1) / table.sum() - shares).sum()
    return int(wrong), int((~there).sum()), float(off)
