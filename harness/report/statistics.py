"""Is the difference real? Intervals of one accuracy, paired tests of two on the same items."""

import math
from collections.abc import Sequence

_Z95 = 1.959963984540054


def wilson_interval(share: float, items: int) -> tuple[float, float]:
    """The 95 % interval of a share of `items` (Wilson, 1927)."""
    z2 = _Z95**2
    centre = (share + z2 / (2 * items)) / (1 + z2 / items)
    half = _Z95 / (1 + z2 / items) * math.sqrt(share * (1 - share) / items + z2 / (4 * items**2))
    return centre - half, centre + half


def mcnemar_exact(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Two-sided p that two classifiers err equally often on the same items: exact binomial on those they disagree on.

    McNemar (1947); no approximation.
    """
    pairs = list(zip(first, second, strict=True))
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    n, k = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n) if n else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for that many comparisons at once (Holm, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
