"""A comparison of rules to select the better of an arm's trials on validation, judged by test: score, loss, or a mean.

    python -m benchmarks.selection results/STUDY …

The studies are searches that were scored on test (sweep.test=true), best of several seeds. In each arm every rule picks
one of the complete trials; what its pick scores on test, less what the best pick would have, is its regret. `smoothed`
is the mean of the objective over the last two evaluations, `chance` a trial drawn evenly. ± is the standard error over
arms.
"""

import csv
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import harness
from harness.record import Record, direction, headline_metric, trial_path
from harness.system.study_files import CURVE

Rule = Callable[[Record, Path], float]


def main(folders: Sequence[Path]) -> None:
    """Print the table."""
    arms = [(group, folder) for folder in folders for group in by_arm(harness.read(folder)) if len(group) > 1]
    print(f"{len(arms)} arms of {len(folders)} studies, {sum(len(group) for group, _ in arms)} trials scored on test\n")
    print(f"{'selected by':14}{'regret on test, points':>26}{'picks the best':>18}")
    for name, rule in {"score": score, "loss": loss, "smoothed": smoothed}.items():
        found = [regret(group, max(group, key=lambda entry: rule(entry, folder))) for group, folder in arms]
        print(f"{name:14}{_mean(found):>26}{sum(value == 0 for value in found):>12} of {len(found)}")
    chance = [statistics.fmean(regret(group, entry) for entry in group) for group, _ in arms]
    print(f"{'chance':14}{_mean(chance):>26}")


def by_arm(records: Sequence[Record]) -> list[list[Record]]:
    """The complete trials of the search that were scored on test, arm by arm."""
    done = [
        entry for entry in records if entry.phase == "search" and entry.state == "complete" and "test" in entry.scores
    ]
    return [[entry for entry in done if entry.arm == arm] for arm in dict.fromkeys(entry.arm for entry in done)]


def score(entry: Record, _: Path) -> float:
    """The objective on validation, higher is better."""
    return direction(entry.objective) * entry.score("val", entry.objective)


def loss(entry: Record, _: Path) -> float:
    """The loss on validation, its sign turned."""
    return -entry.score("val", "loss")


def smoothed(entry: Record, folder: Path) -> float:
    """The mean of the objective over the last two evaluations."""
    with open(folder / trial_path(entry.trial) / CURVE, newline="") as file:
        values = [
            float(row[f"val_{entry.objective}"]) for row in csv.DictReader(file) if row.get(f"val_{entry.objective}")
        ]
    return direction(entry.objective) * statistics.fmean(values[-2:])


def regret(group: Sequence[Record], picked: Record) -> float:
    """Return by how many points a trial is below the best of its group on test."""
    name = headline_metric(picked)
    tested = [direction(name) * entry.score("test", name) for entry in group]
    return 100 * (max(tested) - direction(name) * picked.score("test", name))


def _mean(values: Sequence[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):.2f} ± {error:.2f}"


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
