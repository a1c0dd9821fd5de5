"""Forgetting in continual learning: figures of the matrix R of scores.

R has a row for the start and one after each of T tasks: R[i][j] is the score on task j (0…T−1) after i tasks were
learned; so R[j+1][j] is task j's score when it had just been learned.
"""

from collections.abc import Sequence

from harness.record import ContinualSummary

Matrix = Sequence[Sequence[float]]


def summary(matrix: Matrix) -> ContinualSummary:
    """The figures of a matrix of T + 1 rows and T columns, on the scale of its scores.

    acc, bwt and fwt after Lopez-Paz and Ranzato (2017): the mean of the last row; the mean of R[T][j] − R[j+1][j] over
    all tasks but the last; the mean of R[j][j] − R[0][j] over all but the first, what earlier tasks gave before task j
    was learned. forgetting after Chaudhry et al. (2018): the mean over all tasks but the last of the best score that
    task had since it was learned, less its last, so never below −bwt. new: the mean of R[j+1][j]. Of one task alone
    bwt, fwt and forgetting are 0.
    """
    tasks = len(matrix) - 1
    assert tasks >= 1
    assert all(len(row) == tasks for row in matrix)
    last = matrix[-1]
    learned = [matrix[task + 1][task] for task in range(tasks)]
    best = [max(row[task] for row in matrix[task + 1 :]) for task in range(tasks - 1)]
    return ContinualSummary(
        acc=_mean(last),
        bwt=_mean([last[task] - learned[task] for task in range(tasks - 1)]),
        fwt=_mean([matrix[task][task] - matrix[0][task] for task in range(1, tasks)]),
        forgetting=_mean([best[task] - last[task] for task in range(tasks - 1)]),
        new=_mean(learned),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
