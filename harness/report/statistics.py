"""Is the difference real? Intervals of one accuracy, paired tests of two on the same items.

What scipy has is scipy's; it is imported where it is used, since it takes longer to load than a report to write.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

_Z95 = NormalDist().inv_cdf(0.975)


def wilson_interval(share: float, items: int) -> tuple[float, float]:
    """The 95 % interval of a share of `items` (Wilson, 1927)."""
    from scipy.stats import binomtest

    found = binomtest(round(share * items), items).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def mcnemar_exact(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Two-sided p that two classifiers err equally often on the same items: exact binomial on those they disagree on.

    McNemar (1947); no approximation.
    """
    from scipy.stats import binomtest

    pairs = list(zip(first, second, strict=True))
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    apart = only_first + only_second
    return float(binomtest(only_first, apart).pvalue) if apart else 1.0


def stratified_interval(strata: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The 95 % interval of the mean of several groups' means, the items within each group independent.

    It uses the variance of a stratified mean (Cochran, 1977, section 5.3), each group with the same weight.
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

    It uses the linearised variance of a ratio (Cochran, 1977, section 6.4).
    """
    total, items = sum(counts), len(sums)
    ratio = sum(sums) / total
    squares = sum((value - ratio * count) ** 2 for value, count in zip(sums, counts, strict=True))
    half = _Z95 * math.sqrt(items / max(1, items - 1) * squares) / total
    return ratio - half, ratio + half


def sign_flip(differences: Sequence[float], draws: int = 9_999) -> float:
    """Two-sided p that paired differences are as often up as down: their sum against that of randomly flipped signs.

    A Monte Carlo permutation test with a fixed seed; the smallest p is 1/(draws + 1). Scipy's permutation_test draws
    other signs from the same seed: p-values of published tables would move.
    """
    values = np.asarray(differences, dtype=float)
    observed = abs(values.sum())
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(draws, len(values)))
    reached = (np.abs(signs @ values) >= observed - 1e-12 * max(1.0, observed)).sum()
    return float((reached + 1) / (draws + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for that many comparisons at once (Holm, 1979), in the order given; scipy has no Holm."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """A mean of at least two independent values and its interval by Student's t."""
    from scipy.stats import t

    array = np.asarray(values, dtype=float)
    half = float(t.ppf(0.5 + level / 2, len(array) - 1)) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return float(array.mean()), float(array.mean()) - half, float(array.mean()) + half


def median_ratio(first: Sequence[float], second: Sequence[float], draws: int = 9_999) -> tuple[float, float, float]:
    """The ratio of two medians and its 95 % percentile bootstrap interval, both groups drawn anew (fixed seed).

    Scipy's bootstrap draws the same, and refuses a group of one value.
    """
    draw = np.random.default_rng(0)
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    medians = [np.median(draw.choice(values, (draws, len(values))), axis=1) for values in (one, other)]
    low, high = np.quantile(medians[0] / medians[1], (0.025, 0.975))
    return float(np.median(one) / np.median(other)), float(low), float(high)
