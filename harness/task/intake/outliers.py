"""Numbers of the user's own that stand so far from all others that they decide every error."""

from collections.abc import Mapping, Sequence

from harness.system.paths import listed

_FAR = 50  # interquartile ranges from the median: of 10,000 normal numbers none is 4 away, of log-normal ones few


def outliers(name: str, numbers: Mapping[object, float]) -> list[str]:
    """What is told of numbers, by row, that are so far from all others that one outweighs them in an error."""
    if len(set(numbers.values())) < 3:
        return []
    found = sorted(numbers.values())
    median = found[len(found) // 2]
    spread = _spread(found)
    far = {row: number for row, number in numbers.items() if spread and abs(number - median) > _FAR * spread}
    if not far:
        return []
    row, number = max(far.items(), key=lambda item: abs(item[1] - median))
    count = f"{len(far)} numbers are" if len(far) > 1 else "a number is"
    most = f"{number:.10g} in row {row}, where the median is {median:g}"
    return [f"{count} far from all other numbers of {name} (rows {listed(far)}), as {most}: is it meant?"]


def _spread(found: Sequence[float]) -> float:
    """The interquartile range of sorted numbers; where half of them are one, what is between all but a few."""
    cuts = (len(found) // 4, len(found) // 20, len(found) // 100 + 1)
    return next((width for cut in cuts if (width := found[-1 - cut] - found[cut])), 0.0)
