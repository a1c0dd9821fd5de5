"""Regret of samplers and pruners against trials and against seconds, on a surrogate of real trials.

    python -m benchmarks.search [--seeds 20] [--trials 24] [--only tpe,gp]
    python -m benchmarks.search --collect results/STUDY [results/STUDY …]

The second command writes `benchmarks/data/search_trials.csv` anew from the trials of LoRA that studies searched, a row
for each of their evaluations. The surrogate is that of benchmarks.surrogate, fitted to those trials; the lines above
the table say how far it is from them. Noise is as measured over seeds of one configuration on the same validation
items, 1.05 points. Regret: how far the surrogate at the point that a search would confirm is below its best, in points.
Seconds are those of steps trained, by what a step of that rank and those targets took. A second table is of arms that
are compared, each against its own best: what `sweep.transfer` gains in the mean, and by how much it favours one arm
over another.
"""

import argparse
import dataclasses
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.surrogate import DATA, RUN_SD, Surrogate, collect, read_rows, write_rows
from harness.config import Choice
from harness.config.arms import Arm, Point
from harness.config.space import Space
from harness.record import Record, Steps
from harness.search.halving import BracketTrial, asynchronous, reduction_of, synchronous
from harness.search.methods import sampler_kind
from harness.search.plan import Earlier, SearchPlan
from harness.search.proposals import propose
from harness.search.pruning import rule

LAG = 4
HALVING = {"name": "successive_halving", "reduction_factor": 2}
HYPERBAND = {"name": "hyperband", "reduction_factor": 2}
SYNCHRONOUS = {"name": "synchronous_halving", "reduction_factor": 2, "bracket": 8}
USUAL = {"lora.rank": 8, "lora.targets": ["all-linear"], "optimizer.lr": 1.6e-3, "lora.scale": 2.0}
"""What the literature starts from: rank 8 (Hu et al., 2022, on GLUE), all linear layers (Dettmers et al., 2023), alpha
twice the rank, and ten times the middle of full fine-tuning's rates here (Schulman et al., 2025).
"""
ASYNCHRONOUS = {"name": "asynchronous_halving", "reduction_factor": 2}


@dataclasses.dataclass(frozen=True)
class Scheme:
    """A way to split a space into arms and to search those; one `joint` arm by default, with its lag."""

    arms: Callable[[Space], Sequence[Arm]]
    sampler: Mapping[str, Any] | None = None
    pruner: Mapping[str, Any] | None = None
    startup: int = 8
    prune_after: int | None = None
    enqueued: Sequence[Point] = ()

    @property
    def lacks(self) -> str:
        """The package that its sampler needs and that is not installed."""
        package = sampler_kind(self.sampler).package
        return package if package is not None and find_spec(package) is None else ""


def joint(**search: Any) -> Scheme:
    """One arm of all dimensions, with the lag of the joint mode; trials that wait at rungs have none."""
    pruner = search.get("pruner") or {}
    bracket, hasty = pruner.get("bracket", 0), pruner.get("name") == "asynchronous_halving"
    lag = 0 if bracket or hasty else LAG
    return Scheme(lambda space: [Arm("joint", {}, space, lag=lag, bracket=bracket, hasty=hasty)], **search)


def _grid(space: Space) -> Sequence[Arm]:
    """Three values of each number."""
    values = {key: [dimension.at(share) for share in (0.0, 0.5, 0.999)] for key, dimension in space.items()}
    choices: Space = {key: Choice(choices=list(dict.fromkeys(values[key]))) for key in space if key != "lora.targets"}
    return [Arm("joint", {}, {**space, **choices}, lag=LAG)]


def _compared(space: Space, *, transfer: bool = False) -> Sequence[Arm]:
    """Ranks 1, 4 and 16 with each set of targets; rates and scales are tuned for each."""
    nuisance = {key: space[key] for key in ("optimizer.lr", "lora.scale")}
    return [
        Arm(f"{targets},{rank}", {"lora.rank": rank, "lora.targets": targets}, nuisance, transfer=transfer)
        for targets in space["lora.targets"].ends
        for rank in (1, 4, 16)
        if space["lora.rank"].holds(rank)
    ]


def _transferring(space: Space) -> Sequence[Arm]:
    return _compared(space, transfer=True)


def _by_targets(space: Space) -> Sequence[Arm]:
    """An arm for each set of targets, for samplers of numbers alone."""
    numbers = {key: dimension for key, dimension in space.items() if key != "lora.targets"}
    sets = space["lora.targets"].ends
    return [Arm(str(targets), {"lora.targets": targets}, numbers, lag=LAG // len(sets)) for targets in sets]


SCHEMES = {
    "random": joint(sampler={"name": "random"}),
    "grid": Scheme(_grid, sampler={"name": "grid"}),
    "compared + median": Scheme(_compared, startup=3, prune_after=2),
    "compared + median + transfer": Scheme(_transferring, startup=3, prune_after=2),
    "tpe": joint(sampler={"name": "tpe"}),
    "gp": joint(sampler={"name": "gp"}),
    "cmaes (an arm for each set of targets)": Scheme(_by_targets, sampler={"name": "cmaes"}, startup=4),
    "nsgaii": joint(sampler={"name": "nsgaii", "population_size": 8}),
    "random + halving": joint(sampler={"name": "random"}, pruner=HALVING),
    "random + synchronous halving": joint(sampler={"name": "random"}, pruner=SYNCHRONOUS),
    "random + asynchronous halving (ASHA)": joint(sampler={"name": "random"}, pruner=ASYNCHRONOUS),
    "tpe + median": joint(prune_after=3),
    "tpe + halving": joint(pruner=HALVING, prune_after=3),
    "tpe + hyperband": joint(pruner=HYPERBAND, prune_after=3),
    "tpe + synchronous halving": joint(pruner=SYNCHRONOUS),
    "random from the usual point": joint(sampler={"name": "random"}, enqueued=[USUAL]),
    "tpe from the usual point": joint(enqueued=[USUAL]),
    "tpe + halving from the usual point": joint(pruner=HALVING, prune_after=3, enqueued=[USUAL]),
    "compared + median from the usual rate and scale": Scheme(
        _compared, startup=3, prune_after=2, enqueued=[{key: USUAL[key] for key in ("optimizer.lr", "lora.scale")}]
    ),
}


COMPARED = {
    "random": Scheme(_compared, sampler={"name": "random"}),
    "tpe": Scheme(_compared, startup=3),
    "tpe + transfer": Scheme(_transferring, startup=3),
    "gp": Scheme(_compared, sampler={"name": "gp"}, startup=3),
    "gp + transfer": Scheme(_transferring, sampler={"name": "gp"}, startup=3),
}
"""How the points of arms that are compared may be proposed."""


@dataclasses.dataclass(frozen=True)
class Moment:
    """The state of a search: steps and seconds trained so far, and the surrogate's value at its best point."""

    steps: int
    seconds: float
    value: float


@dataclasses.dataclass
class Trial:
    """A trial on the surrogate: its noise, the scores reported so far, those at which it halted, and its end."""

    index: int
    point: Point
    run: float
    items: float
    reports: dict[int, float] = dataclasses.field(default_factory=dict)
    halted: list[float] = dataclasses.field(default_factory=list)
    halted_at: int = 0
    waiting: bool = False
    entry: Record | None = None

    @property
    def standing(self) -> BracketTrial:
        """Among the trials that wait at rungs."""
        return BracketTrial(self.halted, self.entry is not None and not self.waiting, self.waiting)


class Search:
    """One search by one worker, arm after arm in turn, as the harness has it."""

    def __init__(self, scheme: Scheme, seed: int, surrogate: Surrogate) -> None:
        pruner = scheme.pruner
        if pruner is not None and pruner["name"] == "hyperband":
            pruner = {**pruner, "max_resource": surrogate.steps[-1]}
        self.surrogate = surrogate
        self.plan = SearchPlan(
            seed=seed,
            startup=scheme.startup,
            objective="accuracy",
            sampler=scheme.sampler,
            pruner=pruner,
            prune_after=scheme.prune_after,
            enqueued=scheme.enqueued,
        )
        self.arms = list(scheme.arms(surrogate.space))
        self._known: dict[str, list[Trial]] = {arm.name: [] for arm in self.arms}
        self._draw = np.random.default_rng([seed, 17])
        self._best = -1.0
        self.path = [Moment(0, 0.0, 0.5)]

    def run(self, steps: int) -> list[Moment]:
        """Train until so many steps are made; a moment for each trial that was put down or ended."""
        turn = 0
        while self.path[-1].steps < steps:
            arm = self.arms[turn % len(self.arms)]
            self._train(arm, self._next(arm))
            turn += 1
        return self.path

    def _next(self, arm: Arm) -> Trial:
        """A trial that goes on from its rung, or a new one."""
        known = self._known[arm.name]
        for trial in known:
            if trial.waiting and trial.index in self._promoted(arm, trial.index):
                return trial
        index = len(known)
        point = propose(arm, index, self.plan, self._seen(arm, index), self._near(arm, index))
        known.append(Trial(index, point, self._draw.normal(0, RUN_SD), self._draw.normal(0, 1)))
        return known[-1]

    def _promoted(self, arm: Arm, index: int) -> frozenset[int]:
        """The trials beside one that go on; those that have ended are as if they never waited."""
        assert self.plan.pruner is not None
        factor, known = reduction_of(self.plan.pruner), self._known[arm.name]
        if arm.hasty:
            more = [*(trial.standing for trial in known), BracketTrial()]  # there is always another to come
            return asynchronous(more, factor).promoted
        first = arm.seen_by(index)
        bracket = [trial.standing for trial in known[first : first + arm.bracket]]
        bracket += [BracketTrial()] * (arm.bracket - len(bracket))
        return frozenset(first + at for at in synchronous(bracket, factor).promoted)

    def _seen(self, arm: Arm, index: int) -> list[Earlier]:
        seen = arm.seen_by(index)
        known = self._known[arm.name][:index]
        return [Earlier(trial.point, trial.entry if at < seen else None) for at, trial in enumerate(known)]

    def _near(self, arm: Arm, index: int) -> list[list[Earlier]]:
        seen = arm.seen_by(index)
        others = [other for other in self.arms if arm.transfer and other.transfer and other.name != arm.name]
        return [[Earlier(trial.point, trial.entry) for trial in self._known[other.name][:seen]] for other in others]

    def chosen(self, arm: Arm, trials: int) -> float:
        """The surrogate's value at the point that the arm's first trials choose."""
        ended = [trial for trial in self._known[arm.name][:trials] if trial.entry and trial.entry.state == "complete"]
        best = max(ended, key=lambda trial: max(trial.reports.values()))
        return self.surrogate.at(arm.values | best.point, self.surrogate.steps[-1])

    def _train(self, arm: Arm, trial: Trial) -> None:
        """Until the trial ends or waits."""
        before = max(trial.reports, default=0)
        prunes = rule(self.plan, self._seen(arm, trial.index), halted_at=trial.halted_at)
        trial.waiting, stopped = False, False
        for step in (step for step in self.surrogate.steps if step > before):
            trial.reports[step] = self._score(arm.values | trial.point, step, trial)
            if stopped := step < self.surrogate.steps[-1] and prunes(trial.reports, step):
                break
        trial.entry = _record(arm, trial, self.surrogate.steps[-1], complete=not stopped)
        score = trial.entry.score("val", "accuracy")
        if stopped and self.plan.halves:
            trial.waiting, trial.halted_at = True, max(trial.reports)
            trial.halted.append(score)
        self._note(arm, trial, before, score if not stopped else -1.0)

    def _score(self, point: Point, step: int, trial: Trial) -> float:
        """With the noise of the run, and of items that are the same at each step."""
        true = self.surrogate.at(point, step)
        return true + trial.run + self.surrogate.item_sd * (0.8 * trial.items + 0.6 * float(self._draw.normal(0, 1)))

    def _note(self, arm: Arm, trial: Trial, before: int, score: float) -> None:
        last, point, made = self.path[-1], arm.values | trial.point, max(trial.reports) - before
        value = last.value
        if score > self._best:
            self._best, value = score, self.surrogate.at(point, self.surrogate.steps[-1])
        self.path.append(Moment(last.steps + made, last.seconds + made * self.surrogate.seconds(point), value))


def _record(arm: Arm, trial: Trial, planned: int, *, complete: bool) -> Record:
    last = max(trial.reports)
    return Record(
        study="benchmark",
        trial=trial.index,
        arm=arm.name,
        point=trial.point,
        objective="accuracy",
        state="complete" if complete else "pruned",
        scores={"val": {"accuracy": float(max(trial.reports.values()))}},
        steps=Steps(made=last, planned=planned),
        reports=[[float(step), float(value)] for step, value in trial.reports.items()],
        task="benchmark",
        model="benchmark",
    )


Course = Sequence[Moment]


def mean_regret(paths: Sequence[Course], best: float, spent: Callable[[Moment], float], most: float) -> float:
    """Over searches, once so much was spent."""
    return statistics.fmean(regret_at(path, best, spent, most) for path in paths)


def regret_at(path: Course, best: float, spent: Callable[[Moment], float], most: float) -> float:
    """Return the regret of one search, once so much was spent."""
    return best - next(moment.value for moment in reversed(path) if spent(moment) <= most)


def reached(paths: Sequence[Course], best: float, goal: float) -> float | None:
    """The seconds from which on the mean regret is no more than the goal; None: it is more in the end.

    A search may go back to a worse point, by noise: a moment at the goal by luck does not count.
    """
    after = None
    for end in sorted({moment.seconds for path in paths for moment in path}, reverse=True):
        if mean_regret(paths, best, _seconds, end) > goal + 1e-12:
            break
        after = end
    return after


def _seconds(moment: Moment) -> float:
    return moment.seconds


def _steps(moment: Moment) -> float:
    return moment.steps


def table(schemes: Mapping[str, Scheme], surrogate: Surrogate, *, seeds: int, trials: int) -> None:
    """Print a line for each scheme; the first is the one that the others are held against."""
    best, full = surrogate.best(), surrogate.steps[-1]
    marks = [trials // 3, 2 * trials // 3, trials]
    heads = [f"regret after {mark}" for mark in marks]
    heads += [f"seconds to the regret of {next(iter(schemes))} after {trials}", "share of its seconds"]
    print("| scheme | " + " | ".join(heads) + " |")
    print("|---" * (1 + len(heads)) + "|")
    goal = whole = math.nan
    for name, scheme in schemes.items():
        paths = [Search(scheme, seed, surrogate).run(trials * full) for seed in range(seeds)]
        regrets = [[regret_at(path, best, _steps, mark * full) for path in paths] for mark in marks]
        if math.isnan(goal):
            goal = statistics.fmean(regrets[-1])
            whole = statistics.fmean(path[-1].seconds for path in paths)
        after = reached(paths, best, goal)
        found = ["not reached", ""] if after is None else [f"{after:,.0f}", f"{after / whole:.2f}"]
        print(f"| {name} | " + " | ".join([*map(_points, regrets), *found]) + " |", flush=True)


def arm_table(surrogate: Surrogate, *, seeds: int, marks: Sequence[int] = (4, 8, 12)) -> None:
    """Print how far arms are below their own bests after so many trials of each: the mean, and between which arms it
    differs most, on average over the seeds.
    """
    heads = [f"{what} after {mark}" for mark in marks for what in ("regret", "of an arm over another")]
    print("| trials of an arm | " + " | ".join(heads) + " |")
    print("|---" * (1 + len(heads)) + "|")
    for name, scheme in COMPARED.items():
        searches = [Search(scheme, seed, surrogate) for seed in range(seeds)]
        for search in searches:
            search.run(marks[-1] * len(search.arms) * surrogate.steps[-1])
        shown, best = [], {arm.name: surrogate.best(arm.values) for arm in searches[0].arms}
        for mark in marks:
            by_arm = [[best[arm.name] - search.chosen(arm, mark) for search in searches] for arm in searches[0].arms]
            means = [statistics.fmean(regrets) for regrets in by_arm]
            shown += [_points([statistics.fmean(each) for each in zip(*by_arm, strict=True)])]
            shown += [f"{100 * (max(means) - min(means)):.2f}"]
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)


def _points(values: Sequence[float]) -> str:
    spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{100 * statistics.fmean(values):.2f} ± {100 * spread:.2f}"


def main() -> None:
    """Print the table, or collect the trials that it rests on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=24, help="in steps of full trials")
    parser.add_argument("--only", default="", help="names of schemes, joined by commas; random always stands first")
    parser.add_argument("--data", type=Path, default=DATA, help="the table of trials")
    parser.add_argument("--collect", nargs="+", type=Path, metavar="STUDY", help="write the table from these studies")
    asked = parser.parse_args()
    if asked.collect:
        rows = collect(asked.collect)
        write_rows(rows, asked.data)
        print(f"{asked.data}: {len(rows)} evaluations of {len({row.trial for row in rows})} trials")
        return
    surrogate, wanted = (
        Surrogate(read_rows(asked.data)),
        ["random", *filter(None, asked.only.split(","))],
    )
    if unknown := [name for name in wanted if name not in SCHEMES]:
        sys.exit(f"--only {unknown[0]}: no such scheme; valid: {', '.join(SCHEMES)}")
    schemes = {name: scheme for name, scheme in SCHEMES.items() if not asked.only or name in wanted}
    print(f"{surrogate.said}\n{surrogate.costs}\n{asked.seeds} seeds\n")
    table(
        {name: scheme for name, scheme in schemes.items() if not scheme.lacks},
        surrogate,
        seeds=asked.seeds,
        trials=asked.trials,
    )
    if not asked.only:
        print(f"\nSix arms that are compared, without pruning, {asked.seeds} seeds\n")
        arm_table(surrogate, seeds=asked.seeds)
    for name, scheme in schemes.items():
        if scheme.lacks:
            print(f"\nleft out: {name}, which needs the package {scheme.lacks}")


if __name__ == "__main__":
    main()
