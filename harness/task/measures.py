"""Measures of a whole split by name, as scikit-learn and SciPy define them.

N rows, C classes. For classes, `labels` (N) are numbers of classes and `outputs` (N, C) logits; of numbers, `labels`
(N) and `outputs` (N, 1) are in the labels' own unit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from torch import Tensor

from harness.config import ConfigError
from harness.config.tasks.base import ORDER_MEASURES
from harness.system.paths import listed

MetricFunction = Callable[[Tensor, Tensor], float]


def named_measure(name: str, classes: int) -> MetricFunction | None:
    """The measure of that name, of so many classes or, with none, of numbers; None where there is none.

    Raises ConfigError for one of two classes where there are more.
    """
    if name in _OF_TWO and classes != 2:
        other = "f1_macro" if name == "f1" else name
        raise ConfigError(f"trainer.objective={name}: of two classes, here are {classes}; such as {other}")
    score = (_OF_CLASSES if classes else _OF_NUMBERS).get(name)
    return None if score is None else lambda labels, outputs: score(labels.numpy(), outputs.double().numpy())


def without_value(names: Iterable[str], labels: Sequence[float], classes: Sequence[str]) -> dict[str, str]:
    """Return the measures without a value on such labels, numbers of `classes` or, with none, numbers; and why."""
    there = sorted(set(labels))
    if not classes:
        said = f"all {len(labels)} rows have the number {there[0]:g}"
        return {name: said for name in names if name in _OF_SPREAD and len(there) == 1}
    absent = [name for number, name in enumerate(classes) if number not in there]
    if not absent:
        return {}
    reasons = dict.fromkeys(ORDER_MEASURES, f"no row of {listed(map(repr, absent))}, and it is of all classes")
    if len(classes) == 2 and classes[1] in absent:
        reasons["f1"] = f"no row of {classes[1]!r}, of which it is"
    if len(there) == 1:
        reasons |= dict.fromkeys(_OF_SEVERAL, f"all {len(labels)} rows are of {classes[int(there[0])]!r}")
    return {name: reasons[name] for name in names if name in reasons}


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count the rows of each class (C) that were predicted as each (C)."""
    counts: np.ndarray = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    return counts


def balanced_accuracy(labels: np.ndarray, logits: np.ndarray) -> float:
    """The mean of the classes' recalls, of classes that have rows."""
    counts = confusion(labels, logits.argmax(1), logits.shape[1])
    there = counts.sum(1) > 0
    return float((np.diag(counts)[there] / counts.sum(1)[there]).mean())


def _f1_of_classes(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The F1 of each class that occurs in labels or predictions; NaN for the others."""
    counts = confusion(labels, logits.argmax(1), logits.shape[1])
    either = counts.sum(0) + counts.sum(1)
    return np.where(either > 0, 2 * np.diag(counts) / np.maximum(either, 1), np.nan)


def f1_macro(labels: np.ndarray, logits: np.ndarray) -> float:
    """The mean of the classes' F1."""
    return float(np.nanmean(_f1_of_classes(labels, logits)))


def f1_micro(labels: np.ndarray, logits: np.ndarray) -> float:
    """F1 of all decisions together; with one class a row, accuracy."""
    return float((labels == logits.argmax(1)).mean())


def f1_binary(labels: np.ndarray, logits: np.ndarray) -> float:
    """F1 of the second of two classes; 0 where it is neither in labels nor in predictions."""
    return float(np.nan_to_num(_f1_of_classes(labels, logits)[1]))


def matthews(labels: np.ndarray, logits: np.ndarray) -> float:
    """Matthews' correlation (Gorodkin, 2004, of several classes); 0 where one side is of one class alone."""
    counts = confusion(labels, logits.argmax(1), logits.shape[1]).astype(float)
    true, guessed, total = counts.sum(1), counts.sum(0), counts.sum()
    spread = (total**2 - guessed @ guessed) * (total**2 - true @ true)
    return float((np.trace(counts) * total - true @ guessed) / np.sqrt(spread)) if spread else 0.0


def auroc(labels: np.ndarray, logits: np.ndarray) -> float:
    """The area under the ROC curve; of several classes, the mean of each against the others."""
    return _one_against_the_others(labels, logits, _area)


def average_precision(labels: np.ndarray, logits: np.ndarray) -> float:
    """The mean precision at each recall; of several classes, the mean of each against the others."""
    return _one_against_the_others(labels, logits, _precision)


def _one_against_the_others(
    labels: np.ndarray, logits: np.ndarray, score: Callable[[np.ndarray, np.ndarray], float]
) -> float:
    if absent := sorted(set(range(logits.shape[1])) - set(labels.tolist())):
        raise ValueError(f"the split has no row of class {absent[0]}")
    if logits.shape[1] == 2:
        return score(labels == 1, logits[:, 1] - logits[:, 0])
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shares = shifted / shifted.sum(1, keepdims=True)
    return float(np.mean([score(labels == number, shares[:, number]) for number in range(logits.shape[1])]))


def _area(positive: np.ndarray, scores: np.ndarray) -> float:
    """The share of pairs of a positive and a negative row that are in the right order, ties counted half."""
    from scipy.stats import rankdata

    count = int(positive.sum())
    ranks = rankdata(scores)[positive].sum() - count * (count + 1) / 2
    return float(ranks / (count * (len(positive) - count)))


def _precision(positive: np.ndarray, scores: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    hits, ordered = np.cumsum(positive[order]), scores[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # of rows with one score, which are taken together
    hits, taken = hits[last], np.arange(1, len(scores) + 1)[last]
    gained = np.diff(hits, prepend=0) / hits[-1]
    return float((gained * hits / taken).sum())


def pearson(labels: np.ndarray, answers: np.ndarray) -> float:
    """Pearson's correlation; 0 where all answers are the same."""
    return _correlation(labels, answers.ravel())


def spearman(labels: np.ndarray, answers: np.ndarray) -> float:
    """Spearman's correlation of ranks; 0 where all answers are the same."""
    from scipy.stats import rankdata

    return _correlation(rankdata(labels), rankdata(answers.ravel()))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    spread = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / spread) if spread else 0.0


def mae(labels: np.ndarray, answers: np.ndarray) -> float:
    """The mean absolute error, in the labels' own unit."""
    return float(np.abs(labels - answers.ravel()).mean())


_OF_TWO = ("f1",)
_OF_SEVERAL = ("balanced_accuracy", "f1_macro", "matthews")  # of one class alone they are accuracy, or 0 or 1
_OF_SPREAD = ("r2", "pearson", "spearman")
_OF_CLASSES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "balanced_accuracy": balanced_accuracy,
    "f1": f1_binary,
    "f1_macro": f1_macro,
    "f1_micro": f1_micro,
    "matthews": matthews,
    "auroc": auroc,
    "average_precision": average_precision,
}
_OF_NUMBERS: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "pearson": pearson,
    "spearman": spearman,
    "mae": mae,
}
