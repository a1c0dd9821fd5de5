"""The distance of a rank curve that is cut out of one run from ranks that are trained one by one, over seeds.

    python -m harness --config-dir benchmarks run=study sweep=rank_and_seed study=rank_and_seed task=movie_snippets \
        'lora.targets=[all-linear]' lora.scale=2.0 optimizer.lr=1.0e-3 optimizer.head_lr=1.0e-2 model.dropout=0.0 \
        trainer.precision=fastest trainer.batch_size=16 trainer.max_steps=540 trainer.evaluations=3
    python -m benchmarks.rank_curve results/rank_and_seed [--steps 60]

The study trains each rank with each seed. Of each seed the trial of the highest rank is cut to the others by
`run=allocate method=truncate`, and with `--steps` trained on for so many after each cut, too. The table has validation
scores, means over the seeds, and what is cut less what is trained: mean, and 95 % interval by Student's t.
"""

import argparse
import csv
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scipy import stats

import harness
from harness.record import Record

CUT = {"cut": "score", "cut by layer": "allocated_score"}
TRAINED_ON = {"cut and trained on": "recovered_score"}
"""Columns of truncation.csv by what they are called here."""


def main(folder: Path, steps: int | None) -> None:
    """Print the table."""
    columns = CUT | (TRAINED_ON if steps else {})
    trained = {
        (entry.lora.rank, entry.seeds.trial): entry
        for entry in harness.read(folder)
        if entry.state == "complete" and entry.lora.rank is not None
    }
    ranks = sorted({rank for rank, _ in trained})
    seeds = sorted({seed for _, seed in trained})
    cuts = {seed: cut_curve(folder, trained[ranks[-1], seed], steps) for seed in seeds}
    told = f"; {steps} steps of training after a cut" if steps else ""
    print(f"{len(seeds)} seeds; what is cut is rank {ranks[-1]}{told}\n")
    print("| rank | trained | " + " | ".join(f"{name} | less trained, points" for name in columns) + " |")
    print("|---" * (2 + 2 * len(columns)) + "|")
    for rank in ranks:
        alone = [trained[rank, seed].score("val", "accuracy") for seed in seeds]
        cells = [f"{statistics.fmean(alone):.4f}"]
        for column in columns.values():
            found = [cuts[seed][rank][column] for seed in seeds]
            differences = [one - other for one, other in zip(found, alone, strict=True)]
            cells += [f"{statistics.fmean(found):.4f}", interval(differences)]
        print(f"| {rank} | " + " | ".join(cells) + " |")


def cut_curve(folder: Path, entry: Record, steps: int | None) -> dict[int, dict[str, float]]:
    """The scores of a trial that is cut, by rank and column."""
    words = ["run=allocate", "method=truncate", f"study={folder.name}", f"results={folder.parent}"]
    words += [f"trial={entry.trial}", *([f"steps={steps}"] if steps else [])]
    command = [sys.executable, "-m", "harness", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(folder / "truncation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row["rank"]): {name: float(cell) for name, cell in row.items() if cell} for row in rows}


def interval(values: Sequence[float]) -> str:
    """The mean in points, and its 95 % interval by Student's t."""
    mean, spread = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    far = float(stats.t.ppf(0.975, len(values) - 1)) * spread
    return f"{100 * mean:+.2f} [{100 * (mean - far):+.2f}, {100 * (mean + far):+.2f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("study", type=Path)
    parser.add_argument("--steps", type=int)
    asked = parser.parse_args()
    main(asked.study, asked.steps)
