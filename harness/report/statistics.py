"""Is the difference real? Intervals of one accuracy, paired tests of two on the same items."""

import math
from collections.abc import Sequence

import numpy as np

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


def stratified_interval(strata: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The 95 % interval of the mean of several groups' means, the items within each group independent.

    By the variance of a stratified mean (Cochran, 1977, section 5.3), each group with the same weight.
    """
    means = [sum(values) / len(values) for values in strata]
    squares = [
        sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1) / len(values)
        for values, mean in zip(strata, means, strict=True)
    ]
    centre, half = sum(means) / len(means), _Z95 * math.sqrt(sum(squares)) / len(means)
    return centre - half, centre + half


def ratio_interval(sums: Sequence[float], counts: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of Σ sums / Σ counts over independent items, as of a loss over the tokens of sentences.

    By the linearised variance of a ratio (Cochran, 1977, section 6.4).
    """
    total, items = sum(counts), len(sums)
    ratio = sum(sums) / total
    squares = sum((value - ratio * count) ** 2 for value, count in zip(sums, counts, strict=True))
    half = _Z95 * math.sqrt(items / max(1, items - 1) * squares) / total
    return ratio - half, ratio + half


def sign_flip(differences: Sequence[float], draws: int = 9_999) -> float:
    """Two-sided p that paired differences are as often up as down: their sum against that of randomly flipped signs.

    A Monte Carlo permutation test with a fixed seed; the smallest p is 1/(draws + 1).
    """
    values = np.asarray(differences, dtype=float)
    observed = abs(values.sum())
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(draws, len(values)))
    reached = (np.abs(signs @ values) >= observed - 1e-12 * max(1.0, observed)).sum()
    return float((reached + 1) / (draws + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for that many comparisons at once (Holm, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
