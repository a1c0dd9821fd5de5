"""Numbers of the user's own that stand so far from all others that they decide every error, or for none."""

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.system.paths import listed

_MISSING = (-1, -9, -99, -999, -9999, 0, 9, 99, 999, 9999)
_FEWEST = 4  # different numbers beside such a one
_FAR = 50  # interquartile ranges from the median: of 10,000 normal numbers none is 4 away, of log-normal ones few


def outliers(name: str, numbers: Mapping[object, float]) -> list[str]:
    """Return warnings about numbers, by row, so far from all others that one outweighs them in an error."""
    if len(set(numbers.values())) < 3:
        return []
    found = sorted(numbers.values())
    median = found[len(found) // 2]
    spread = _spread(found)
    far = {row: number for row, number in numbers.items() if spread and abs(number - median) > _FAR * spread}
    if not far:
        return missing_numbers(name, numbers)
    row, number = max(far.items(), key=lambda item: abs(item[1] - median))
    count = f"{len(far)} numbers are" if len(far) > 1 else "a number is"
    most = f"{number:.10g} in row {row}, where the median is {median:g}"
    return [f"{count} far from all other numbers of {name} (rows {listed(far)}), as {most}: is it meant?"]


def missing_numbers(name: str, numbers: Mapping[object, float]) -> list[str]:
    """Return warnings about a number that often stands for a missing value: outside the range of all others, and
    farther from them than they are apart, or more than twice as many as of each that is near, as -1 of others from 0
    on.
    """
    counts = Counter(numbers.values())
    for code in filter(counts.__contains__, _MISSING):
        others = sorted(number for number in counts if number != code)
        if len(others) >= _FEWEST and counts[code] > 1 and not others[0] < code < others[-1]:
            gap, span = min(abs(code - others[0]), abs(code - others[-1])), others[-1] - others[0]
            near = max(counts[number] for number in sorted(others, key=lambda number: abs(number - code))[:_FEWEST])
            is_apart = (code == -1 and others[0] >= 0) or 4 * gap >= span
            if gap > span or (is_apart and counts[code] >= _FEWEST and counts[code] > 2 * near):
                rows = listed(row for row, number in numbers.items() if number == code)
                said = (
                    f"{name} is {code:g} in {counts[code]} rows ({rows}), and from {others[0]:g} to {others[-1]:g} in"
                )
                return [f"{said} all others: does it stand for a number that is missing?"]
    return []


def _spread(found: Sequence[float]) -> float:
    """The interquartile range of sorted numbers; where half of them are one, what is between all but a few."""
    cuts = (len(found) // 4, len(found) // 20, len(found) // 100 + 1)
    return next((width for cut in cuts if (width := found[-1 - cut] - found[cut])), 0.0)
