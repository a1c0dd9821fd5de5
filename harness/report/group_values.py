"""Measures that are no mean over test rows, as one value for each group of rows, of which the mean is the measure.

What a group of rows is worth is what leaving it out changes: the delete-a-group jackknife (Kott, 2001), by
pseudo-values (Tukey, 1958), of a measure m over N rows in G groups of about the same size

    value of group g = m + G · (1 − n_g / N) · (m − m without group g)

Of a mean over rows that is the group's own sum, in units of N / G rows. Shapes: N rows, G groups, C classes; M, the
measured sets of rows, are G + 1: all rows, and all without each group.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

GROUPS = 200


def group_values(measured: Floats, groups: Whole) -> Floats:
    """The values (G) of groups, by the measure of all rows and without each group (M); `groups` (N) has each row's."""
    count = len(measured) - 1
    shares = np.bincount(groups, minlength=count) / len(groups)
    found: Floats = measured[0] + count * (1 - shares) * (measured[0] - measured[1:])
    return found


def groups_of(rows: int) -> Whole:
    """The group of each of so many rows (N), drawn once: rows of a class may lie together in a file."""
    return np.random.default_rng(0).permutation(rows) % min(rows, GROUPS)


def _left_out(by_group: Floats) -> Floats:
    """Sums over all rows, and without each group (M, …), of sums by group (G, …)."""
    whole = by_group.sum(0)
    return np.concatenate([whole[None], whole - by_group])


def of_classes(name: str, labels: Whole, predicted: Whole, groups: Whole) -> Floats | None:
    """A measure of the classes that are predicted (M); None where there is none of that name."""
    if (measure := _OF_COUNTS.get(name)) is None:
        return None
    classes, count = int(max(labels.max(), predicted.max())) + 1, int(groups.max()) + 1
    right = labels == predicted
    of_each = [(labels[right], groups[right]), (labels, groups), (predicted, groups)]
    counted = [
        np.bincount(where * classes + each, minlength=count * classes).reshape(count, classes).astype(float)
        for each, where in of_each
    ]
    return measure(*map(_left_out, counted))


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN where it is 0 / 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _f1(right: Floats, true: Floats, guessed: Floats) -> Floats:
    return _ratio(2 * right, true + guessed)


def _matthews(right: Floats, true: Floats, guessed: Floats) -> Floats:
    total = true.sum(-1)
    spread = (total**2 - (guessed**2).sum(-1)) * (total**2 - (true**2).sum(-1))
    return np.nan_to_num(_ratio(right.sum(-1) * total - (true * guessed).sum(-1), np.sqrt(spread)))


_OF_COUNTS: Mapping[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "balanced_accuracy": lambda right, true, guessed: np.nanmean(_ratio(right, true), -1),
    "f1": lambda right, true, guessed: np.nan_to_num(_f1(right, true, guessed)[:, 1]),
    "f1_macro": lambda right, true, guessed: np.nanmean(_f1(right, true, guessed), -1),
    "f1_micro": lambda right, true, guessed: right.sum(-1) / true.sum(-1),
    "matthews": _matthews,
}
"""By the rows of each class (M, C) that are right, that are there, and that were guessed to be of it."""


def of_shares(name: str, labels: Whole, shares: Floats, groups: Whole) -> Floats | None:
    """A measure of the order of rows by the classes' probabilities (N, C), (M); None where there is none of that name.

    Of two classes it is of the second, of several the mean of each against the others; NaN without rows of a class.
    """
    if (measure := {"auroc": _areas, "average_precision": _precisions}.get(name)) is None:
        return None
    if shares.shape[1] == 2:
        logs = np.log(np.maximum(shares, 1e-300))  # near 1 a probability has fewer digits than near 0
        return measure(labels == 1, logs[:, 1] - logs[:, 0], groups)
    of_each = [measure(labels == each, shares[:, each], groups) for each in range(shares.shape[1])]
    mean: Floats = np.stack(of_each).mean(0)
    return mean


def _areas(positive: NDArray[np.bool_], scores: Floats, groups: Whole) -> Floats:
    """Areas under the ROC curve: pairs in the right order, less those that a group has a part in."""
    count = int(groups.max()) + 1
    wins = np.zeros(len(scores))
    wins[positive] = _below(scores[positive], scores[~positive])
    wins[~positive] = positive.sum() - _below(scores[~positive], scores[positive])
    there = np.stack([np.bincount(groups, side, count) for side in (positive, ~positive)], 1).astype(float)
    lost = np.bincount(groups, wins, count) - _inside(positive, scores, groups, there[:, 1])
    found = wins[positive].sum() - np.concatenate([[0.0], lost])
    return _ratio(found, _left_out(there).prod(1))


def _below(scores: Floats, others: Floats) -> Floats:
    """Count the others that are below each score, ties counted half."""
    ordered = np.sort(others)
    found: Floats = (np.searchsorted(ordered, scores) + np.searchsorted(ordered, scores, "right")) / 2
    return found


def _inside(positive: NDArray[np.bool_], scores: Floats, groups: Whole, negative: Floats) -> Floats:
    """Pairs in the right order of which both are in a group (G); `negative` (G) is how many of its rows are."""
    places = np.unique(scores, return_inverse=True)[1]
    keys = (groups * len(scores) + places).astype(float)  # in the order of scores within a group, group by group
    before = np.cumsum(negative) - negative
    pairs = _below(keys[positive], keys[~positive]) - before[groups[positive]]
    return np.bincount(groups[positive], pairs, len(negative)).astype(float)


def _precisions(positive: NDArray[np.bool_], scores: Floats, groups: Whole) -> Floats:
    """Mean precisions at each recall."""
    order = np.argsort(-scores, kind="stable")
    positive, scores, groups = positive[order], scores[order], groups[order]
    kept = [np.full(len(scores), True), *(groups != each for each in range(int(groups.max()) + 1))]
    return np.array([_precision(positive[rows], scores[rows]) for rows in kept])


def _precision(positive: NDArray[np.bool_], ordered: Floats) -> float:
    """The average precision of rows by falling score; rows with equal scores are taken together."""
    if not positive.any():
        return float("nan")
    last = np.append(ordered[1:] != ordered[:-1], True)
    hits, taken = np.cumsum(positive)[last], np.flatnonzero(last) + 1
    return float((np.diff(hits, prepend=0) * hits / taken).sum() / hits[-1])


def of_numbers(name: str, labels: Floats, predicted: Floats, groups: Whole) -> Floats | None:
    """A measure of predicted numbers (M); None where there is none of that name."""
    if name == "spearman":
        return _spearman(labels, predicted, groups)
    if (measure := _OF_MOMENTS.get(name)) is None:
        return None
    first, second = labels - labels.mean(), predicted - labels.mean()  # without it, squares would lose digits
    terms = (np.ones_like(first), first, second, first**2, second**2, first * second, abs(second - first))
    sums = _left_out(np.stack([np.bincount(groups, term) for term in terms], 1))
    return measure(*(sums[:, 1:] / sums[:, :1]).T)


def _correlation(together: Floats, squares: Floats) -> Floats:
    """The correlation from a covariance and the product of both variances; 0 where a variance is 0."""
    return np.nan_to_num(_ratio(together, np.sqrt(np.maximum(0.0, squares))))


_OF_MOMENTS: Mapping[str, Callable[[Floats, Floats, Floats, Floats, Floats, Floats], Floats]] = {
    "mae": lambda x, y, xx, yy, xy, apart: apart,
    "rmse": lambda x, y, xx, yy, xy, apart: np.sqrt(np.maximum(0.0, xx + yy - 2 * xy)),
    "r2": lambda x, y, xx, yy, xy, apart: 1 - (xx + yy - 2 * xy) / (xx - x**2),
    "pearson": lambda x, y, xx, yy, xy, apart: _correlation(xy - x * y, (xx - x**2) * (yy - y**2)),
}
"""By means over rows: of labels, of answers, of their squares and product, and of how far they are apart (each M)."""


def _spearman(labels: Floats, predicted: Floats, groups: Whole) -> Floats:
    from scipy.stats import rankdata

    kept = [np.full(len(labels), True), *(groups != each for each in range(int(groups.max()) + 1))]
    ranks = [np.stack([rankdata(labels[rows]), rankdata(predicted[rows])]) for rows in kept]
    moved = [each - each.mean(1, keepdims=True) for each in ranks]
    together = np.array([first @ second for first, second in moved])
    return _correlation(together, np.array([(first @ first) * (second @ second) for first, second in moved]))


def _sums(terms: Floats, groups: Whole) -> Floats:
    """Sums of rows' terms (N, K), over all and without each group (M, K)."""
    by_group = np.zeros((int(groups.max()) + 1, terms.shape[1]))
    np.add.at(by_group, groups, terms)
    return _left_out(by_group)


def of_tags(name: str, counts: Floats, groups: Whole) -> Floats | None:
    """A measure of tagged tokens (M), by each row's spans that are right, found and there and its tokens that are right
    and all (N, 5); None where there is none of that name.
    """
    right, found, there, right_tokens, tokens = _sums(counts, groups).T
    ratios = {
        "f1": (2 * right, found + there),
        "precision": (right, found),
        "recall": (right, there),
        "accuracy": (right_tokens, tokens),
    }
    return np.nan_to_num(_ratio(*ratios[name])) if name in ratios else None


def of_sets(name: str, marks: Whole, groups: Whole) -> Floats | None:
    """A measure of sets of classes (M); a class (N, C) is there (1), answered (2), both (3) or neither (0)."""
    right, either = (_sums(terms, groups) for terms in ((marks == 3).astype(float), (marks & 1) + (marks >> 1) * 1.0))
    if name == "f1_micro":
        return np.nan_to_num(_ratio(2 * right.sum(1), either.sum(1)))
    return np.nan_to_num(_ratio(2 * right, either)).mean(1) if name == "f1_macro" else None


def of_texts(name: str, written: Sequence[str], wanted: Sequence[str], groups: Whole) -> Floats:
    """BLEU or chrF of all texts (M), from what sacrebleu counts in each of them."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    metric = BLEU() if name == "bleu" else CHRF()
    counts = metric._extract_corpus_statistics(list(written), [list(wanted)])  # no public name gives them by text
    sums = _sums(np.array(counts, dtype=np.float64), groups)
    return np.array([metric._compute_score_from_stats(each.astype(int).tolist()).score for each in sums])


def perplexity(nats: Floats, tokens: Floats, groups: Whole) -> Floats:
    """The exponential of the mean nats of a token (M), by those of rows."""
    sums = _left_out(np.stack([np.bincount(groups, term) for term in (nats, tokens)], 1))
    found: Floats = np.exp(np.minimum(sums[:, 0] / sums[:, 1], 700.0))
    return found
