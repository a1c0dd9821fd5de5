"""Regret of samplers and pruners against trials, on a surrogate of real trials.

    python -m benchmarks.search [--seeds 20] [--trials 24] [--only tpe,gp]

`benchmarks/data/search_trials.csv` holds the evaluations of 18 real trials (the LoRA arms of the rank sweep on movie
snippets): too few to fit curves to. So the shape of the surrogate is set by hand, from what is known of LoRA, and the
table's first line says how far it is from those trials. Noise is as measured over seeds (0.6 points of a run, and 742
items). Regret: how far the surrogate at the point that a search would confirm is below its best, in points.
"""

import argparse
import csv
import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import Choice, Range
from harness.config.arms import Arm, Point
from harness.config.space import Space
from harness.record import Record, Steps
from harness.search.plan import Earlier, SearchPlan
from harness.search.proposals import propose
from harness.search.pruning import rule

DATA = Path(__file__).parent / "data/search_trials.csv"
STEPS = (75, 110, 150)
RUN_SD, ITEMS = 0.006, 742
TARGETS = (["query", "value"], ["all-linear"])

JOINT: Space = {
    "lora.rank": Range(low=1, high=64, integer=True, log=True),
    "lora.targets": Choice(choices=list(TARGETS)),
    "optimizer.lr": Range(low=2e-4, high=1e-2, log=True),
    "lora.scale": Range(low=0.25, high=8.0, log=True),
}
NUISANCE = {key: JOINT[key] for key in ("optimizer.lr", "lora.scale")}
GRID: Space = {
    "lora.rank": Choice(choices=[1, 8, 64]),
    "lora.targets": Choice(choices=list(TARGETS)),
    "optimizer.lr": Choice(choices=[2e-4, 1.4e-3, 1e-2]),
    "lora.scale": Choice(choices=[0.25, 1.4, 8.0]),
}
HALVING = {"name": "successive_halving", "reduction_factor": 2}
HYPERBAND = {"name": "hyperband", "reduction_factor": 2, "max_resource": 150}


@dataclasses.dataclass(frozen=True)
class Scheme:
    """Arms, and how they are searched."""

    arms: Sequence[Arm]
    sampler: Mapping[str, Any] | None = None
    pruner: Mapping[str, Any] | None = None
    startup: int = 8
    prune_after: int | None = None


def joint(space: Space = JOINT, **search: Any) -> Scheme:
    """One arm of all dimensions, with the lag of the joint mode."""
    return Scheme([Arm("joint", {}, space, lag=4)], **search)


COMPARED = [Arm(f"{t[0]},{r}", {"lora.rank": r, "lora.targets": t}, NUISANCE) for t in TARGETS for r in (1, 4, 16)]
SCHEMES = {
    "random": joint(sampler={"name": "random"}),
    "grid": joint(GRID, sampler={"name": "grid"}),
    "compared (6 arms) + median": Scheme(COMPARED, startup=3, prune_after=2),
    "tpe": joint(sampler={"name": "tpe"}),
    "gp": joint(sampler={"name": "gp"}),
    "nsgaii": joint(sampler={"name": "nsgaii", "population_size": 8}),
    "random + halving (ASHA)": joint(sampler={"name": "random"}, pruner=HALVING),
    "tpe + median": joint(prune_after=3),
    "tpe + halving": joint(pruner=HALVING, prune_after=3),
    "tpe + hyperband": joint(pruner=HYPERBAND, prune_after=3),
    "gp + median": joint(sampler={"name": "gp"}, prune_after=3),
    "gp + halving": joint(sampler={"name": "gp"}, pruner=HALVING, prune_after=3),
}


class Surrogate:
    """Validation accuracy by point and step, without noise: a shape set by hand, held against real trials.

    With r the rank in doublings, w for all linear layers and u the logarithm of lr·scale over its best value, which
    falls with r and w: accuracy grows with r and w, falls with u² (faster above the best than below, and faster with
    w), and a trial that is above the best is further behind at step 75 than others.
    """

    def __init__(self, path: Path = DATA) -> None:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        self.trials = sum(row["step"] == "75" for row in rows)
        self.residuals = [
            statistics.median(
                abs(self.at(_point(row), int(step)) - float(row["val_accuracy"])) for row in rows if row["step"] == step
            )
            for step in ("75", "150")
        ]

    def at(self, point: Point, step: int) -> float:
        """The curve's value, not below guessing; between the two steps on a line."""
        r, w = math.log2(point["lora.rank"]), float(point["lora.targets"] == ["all-linear"])
        u = math.log(point["optimizer.lr"] * point["lora.scale"] / 2e-3) + 0.12 * r + 0.4 * w - 0.3
        late = 0.790 + 0.0022 * r + w * (0.002 + 0.0022 * r) - (0.008 + 0.02 * w if u > 0 else 0.006) * u * u
        early = late - 0.022 - 0.008 * w * r - 0.03 * w * max(u, 0.0)
        share = (step - STEPS[0]) / (STEPS[-1] - STEPS[0])
        return max(early, 0.5) + share * (max(late, 0.5) - max(early, 0.5))

    def best(self) -> float:
        """The greatest value of the space, over a fine grid."""
        fractions = np.linspace(0, 1, 41)
        rates, scales = ([JOINT[key].at(float(f)) for f in fractions] for key in ("optimizer.lr", "lora.scale"))
        points = itertools.product([1, 2, 4, 8, 16, 32, 64], TARGETS, rates, scales)
        return max(self.at(dict(zip(JOINT, values, strict=True)), STEPS[-1]) for values in points)


def _point(row: Mapping[str, str]) -> Point:
    return {
        "lora.rank": int(row["rank"]),
        "lora.targets": row["targets"].split("+"),
        "optimizer.lr": float(row["lr"]),
        "lora.scale": float(row["scale"]),
    }


def search(scheme: Scheme, seed: int, steps: int, surrogate: Surrogate) -> list[tuple[int, float]]:
    """One search: after each trial, the steps made so far and the fit's value at the best point on noisy validation."""
    plan = SearchPlan(
        seed=seed,
        startup=scheme.startup,
        objective="accuracy",
        sampler=scheme.sampler,
        pruner=scheme.pruner,
        prune_after=scheme.prune_after,
    )
    earlier: dict[str, list[Record]] = {arm.name: [] for arm in scheme.arms}
    made, best, path, number = 0, (-1.0, 0.0), [(0, 0.5)], 0
    draw = np.random.default_rng([seed, 17])
    while made < steps:
        arm = scheme.arms[number % len(scheme.arms)]
        known = earlier[arm.name]
        index = len(known)
        seen = [Earlier(each.point, each if at < index - arm.lag else None) for at, each in enumerate(known)]
        point = propose(arm, index, plan, seen)
        entry = _trained(arm, point, number, plan, seen, surrogate, draw)
        known.append(entry)
        made += entry.steps.made
        score = entry.score("val", "accuracy")
        if entry.state == "complete" and score > best[0]:
            best = (score, surrogate.at(arm.values | point, STEPS[-1]))
        path.append((made, best[1]))
        number += 1
    return path


def _trained(
    arm: Arm, point: Point, number: int, plan: SearchPlan, seen: Sequence[Earlier], surrogate: Surrogate, draw: Any
) -> Record:
    prunes, reports = rule(plan, seen), {}
    run, items = draw.normal(0, RUN_SD), draw.normal(0, 1)
    state = "complete"
    for step in STEPS:
        true = surrogate.at(arm.values | point, step)
        spread = math.sqrt(true * (1 - true) / ITEMS)
        reports[step] = true + run + spread * (0.8 * items + 0.6 * draw.normal(0, 1))  # the same items at each step
        if step < STEPS[-1] and prunes(reports, step):
            state = "pruned"
            break
    last = max(reports)
    return Record(
        study="benchmark",
        trial=number,
        arm=arm.name,
        point=point,
        objective="accuracy",
        state="complete" if state == "complete" else "pruned",
        scores={"val": {"accuracy": float(reports[last])}},
        steps=Steps(made=last, planned=STEPS[-1]),
        reports=[[float(step), float(value)] for step, value in reports.items()],
        task="benchmark",
        model="benchmark",
    )


def regret_at(path: Sequence[tuple[int, float]], steps: float, best: float) -> float:
    """Regret once so many steps were made."""
    return best - max((value for made, value in path if made <= steps), default=0.5)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=24, help="in steps of full trials")
    parser.add_argument("--only", default="", help="names of schemes, joined by commas")
    asked = parser.parse_args()
    surrogate = Surrogate()
    best, full = surrogate.best(), STEPS[-1]
    marks = [asked.trials // 3, 2 * asked.trials // 3, asked.trials]
    early, late = (100 * value for value in surrogate.residuals)
    print(
        f"surrogate held against {surrogate.trials} real trials: median distance {early:.1f} points at step 75, "
        f"{late:.1f} at 150; {asked.seeds} seeds"
    )
    print("| scheme | " + " | ".join(f"regret after {mark}" for mark in marks) + " | trials to random's last |")
    print("|---" * (2 + len(marks)) + "|")
    goal: float | None = None  # of the first scheme
    for name, scheme in SCHEMES.items():
        if asked.only and name not in asked.only.split(","):
            continue
        paths = [search(scheme, seed, asked.trials * full, surrogate) for seed in range(asked.seeds)]
        means = [[regret_at(path, mark * full, best) for path in paths] for mark in marks]
        goal = statistics.mean(means[-1]) if goal is None else goal
        reached = next((t for t in range(1, asked.trials + 1) if _mean_regret(paths, t * full, best) <= goal), None)
        cells = [f"{100 * statistics.mean(m):.2f} ± {100 * statistics.stdev(m) / math.sqrt(len(m)):.2f}" for m in means]
        print(f"| {name} | " + " | ".join(cells) + f" | {reached or 'not reached'} |", flush=True)


def _mean_regret(paths: Sequence[Sequence[tuple[int, float]]], steps: int, best: float) -> float:
    return statistics.mean(regret_at(path, steps, best) for path in paths)


if __name__ == "__main__":
    main()
