"""Held-out files whose labels or numbers look as if they were counted, or measured, otherwise than training's."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

_BY_CHANCE = 1e-4
_ROWS = 20  # of both, at least, to compare how numbers are spread
_WIDER = 10  # times as wide, or as narrow
_FEW = 5


def shifts(answer: str, name: str, given: Mapping[str, Sequence[Hashable]]) -> list[str]:
    """Return warnings about the given splits, by the kind of their answers, which are called `name`."""
    given = {split: found for split, found in given.items() if found}
    if "train" not in given:
        return []
    if answer == "class":
        labels = {split: list(map(str, found)) for split, found in given.items()}
        return shifted_labels(labels.pop("train"), labels)
    if answer == "number":
        numbers = {split: [float(str(number)) for number in found] for split, found in given.items()}
        return other_scales(name, numbers.pop("train"), numbers)
    return []


def shifted_labels(trained: Sequence[str], held: Mapping[str, Sequence[str]]) -> list[str]:
    """Return warnings about held-out labels that are whole numbers and lack the first of training's, as if they were
    counted from one there, or the last. So many rows would hardly lack it by chance.
    """
    shares = Counter(trained)
    if not all(label.isdecimal() for label in shares):
        return []
    numbers = sorted(shares, key=int)
    whole = [int(label) for label in numbers] == list(range(int(numbers[0]), int(numbers[0]) + len(numbers)))
    told = []
    for split, labels in held.items():
        there = set(labels)
        for end, way in ((numbers[0], "higher"), (numbers[-1], "lower")):
            lacking = (1 - shares[end] / len(trained)) ** len(labels)
            if whole and there and there == set(numbers) - {end} and lacking < _BY_CHANCE:
                share = f"which is {100 * shares[end] / len(trained):.2g} % of training"
                told.append(
                    f"{split}: none of {len(labels)} rows is {end!r}, {share}: are labels counted one {way} there?"
                )
    return told


def other_scales(name: str, trained: Sequence[float], held: Mapping[str, Sequence[float]]) -> list[str]:
    """Messages about held-out numbers that mostly lie beyond all of training, or spread far more or less."""
    mine, told = sorted(trained), []
    for split, numbers in held.items():
        found = sorted(numbers)
        beyond = sum(not mine[0] <= number <= mine[-1] for number in found)
        spread = [each[-1 - len(each) // 4] - each[len(each) // 4] for each in (mine, found)]
        factor = spread[1] / spread[0] if all(spread) and min(len(mine), len(found)) >= _ROWS else 1.0
        if not (1 / _WIDER < factor < _WIDER) or (len(found) >= _FEW and beyond > len(found) / 2):
            ranges = [f"{each[0]:g} to {each[-1]:g}, median {each[len(each) // 2]:g}" for each in (found, mine)]
            said = f"{split}: {name} is {ranges[0]}, and in train {ranges[1]}"
            told.append(f"{said} ({beyond} of {len(found)} are beyond all of train): is it on the same scale?")
    return told
