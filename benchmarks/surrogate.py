"""Real trials of a search as a table, and what stands in for training: accuracy and seconds by point and step.

`benchmarks/data/search_trials.csv` has a row for each evaluation of each trial. A regression is fitted to them.
"""

import csv
import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import record
from harness.config import Choice, Range
from harness.config.arms import Point
from harness.config.space import Space

DATA = Path(__file__).parent / "data/search_trials.csv"
ENOUGH, WANTED = 100, 300
"""Trials from which a regression is fitted, and those that it should have."""
FLOOR = 0.7
"""Of an evaluation: below it a trial has diverged, and how far is chance, which a smooth regression would chase."""
RUN_SD, DISAGREEING, ITEMS = 0.006, 0.11, 742
"""As measured over seeds of one configuration: the spread of an accuracy over many rows, and the share of rows on which
two seeds disagree. The rows of validation, where the table does not say them.
"""
FOLDS = 5
"""Of the cross-validation, by trials."""

Matrix = np.ndarray[Any, np.dtype[np.float64]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One evaluation of a trial; `step_s` is the trial's median step in seconds, `items` the rows of validation."""

    trial: int
    lr: float
    scale: float
    rank: int
    targets: str
    step: int
    val_accuracy: float
    step_s: float | None = None
    items: int | None = None

    @property
    def point(self) -> Point:
        """The point as in a search."""
        return {
            "lora.rank": self.rank,
            "lora.targets": self.targets.split("+"),
            "optimizer.lr": self.lr,
            "lora.scale": self.scale,
        }


def read_rows(path: Path = DATA) -> list[Row]:
    """The table of a file."""
    with open(path, newline="") as file:
        return [
            Row(
                trial=int(row["trial"]),
                lr=float(row["lr"]),
                scale=float(row["scale"]),
                rank=int(row["rank"]),
                targets=row["targets"],
                step=int(row["step"]),
                val_accuracy=float(row["val_accuracy"]),
                step_s=float(row["step_s"]) if row["step_s"] else None,
                items=int(row["items"]) if row["items"] else None,
            )
            for row in csv.DictReader(file)
        ]


def write_rows(rows: Iterable[Row], path: Path = DATA) -> None:
    """Write the table."""
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(dataclasses.asdict(row) for row in rows)


def collect(folders: Sequence[Path]) -> list[Row]:
    """Every evaluation of the trials of LoRA that studies searched; trials are numbered through.

    Raises ValueError where a study has none, or scores by another objective than accuracy.
    """
    rows: list[Row] = []
    for folder in folders:
        found = [entry for entry in record.read(folder) if entry.phase == "search" and _is_plain_lora(entry)]
        if not found:
            raise ValueError(f"{folder}: no trial of LoRA with evaluations")
        if other := next((entry.objective for entry in found if entry.objective != "accuracy"), None):
            raise ValueError(f"{folder}: trainer.objective={other}; the surrogate is of accuracy")
        first = 1 + max((row.trial for row in rows), default=-1)
        for number, entry in enumerate(sorted(found, key=lambda entry: entry.trial), first):
            rows += _rows_of(entry, number)
    return rows


def _is_plain_lora(entry: record.Record) -> bool:
    plain = (
        entry.lora.name == "lora"
        and entry.lora.variant in (None, "lora")
        and entry.lora.scale is not None
        and entry.lora.rank is not None
    )
    return plain and entry.state != "fail" and bool(entry.reports)


def _rows_of(entry: record.Record, number: int) -> list[Row]:
    lora, lr, step_s = entry.lora, entry.optimizer.lr, entry.time.step_median_s
    assert lora.rank is not None
    assert lora.scale is not None
    assert lr is not None
    return [
        Row(
            trial=number,
            lr=lr,
            scale=lora.scale,
            rank=lora.rank,
            targets="+".join(lora.targets or ()),
            step=int(step),
            val_accuracy=round(value, 6),
            step_s=None if step_s is None else round(step_s, 5),
            items=entry.data.rows.get("validation"),
        )
        for step, value in entry.reports
    ]


class Surrogate:
    """Validation accuracy without noise by point and step, and what a step costs: a regression on real trials, over the
    box that they span, at the steps of their evaluations.

    Extra trees (Geurts et al., 2006): nothing they predict is above the trials, and no sampler models scores by
    them, as one does by a Gaussian process. Raises ValueError for trials that are too few.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows, self.space, self.steps = rows, _spanned(rows), tuple(sorted({row.step for row in rows}))
        self.trials = len({row.trial for row in rows})
        if self.trials < ENOUGH:
            raise ValueError(f"{self.trials} trials; a regression on them needs {ENOUGH}")
        self.items = round(statistics.median([row.items for row in rows if row.items] or [ITEMS]))
        self._costs = _costs(rows)
        self._sets = sorted({row.targets for row in rows})
        inputs, outputs = self._inputs([(row.point, row.step) for row in rows]), _column(rows)
        groups = np.array([row.trial for row in rows])
        self.error, self.spread = _unseen_error(inputs, outputs, groups), float(np.std(outputs))
        self._model = _fitted(inputs, outputs)
        self._known: dict[str, dict[int, float]] = {}

    def at(self, point: Point, step: int) -> float:
        """The accuracy of a point after so many steps."""
        key = str(sorted(point.items()))
        if key not in self._known:
            found = self._predicted([(point, each) for each in self.steps]).tolist()
            self._known[key] = dict(zip(self.steps, found, strict=True))
        return self._known[key][step]

    def best(self, values: Point | None = None) -> float:
        """The greatest value after the last step, over a fine grid of the space, or of its part with these values."""
        return float(self._predicted([(point, self.steps[-1]) for point in self.grid(values)]).max())

    @property
    def item_sd(self) -> float:
        """The standard deviation of an accuracy by the rows on which seeds disagree: all trials of a study see the same
        ones.
        """
        return math.sqrt(DISAGREEING / 2 / self.items)

    @property
    def said(self) -> str:
        """Describe the model and its error on the trials."""
        outputs = _column(self.rows)
        floored, noise = float((outputs == FLOOR).mean()), math.hypot(RUN_SD, self.item_sd)
        few = "" if self.trials >= WANTED else f"; fewer than the {WANTED} that it should have"
        return (
            f"surrogate: extra trees, fitted to {self.trials} real trials, {len(self.rows)} evaluations{few}; "
            f"below {FLOOR:g}, as are {floored:.0%}, they count as {FLOOR:g}; root mean squared error in points on "
            f"trials that were left out: {100 * self.error:.2f}; noise alone is {100 * noise:.2f}, the trials spread "
            f"by {100 * self.spread:.2f}"
        )

    def _predicted(self, asked: Sequence[tuple[Point, int]]) -> Matrix:
        found: Matrix = np.clip(self._model.predict(self._inputs(asked)), 0.0, 1.0)
        return found

    def _inputs(self, asked: Sequence[tuple[Point, int]]) -> Matrix:
        """On log scales ranks, rates, scales, their product, and that times the root of the rank; targets; steps."""
        lines = []
        for point, step in asked:
            lr, scale, targets = point["optimizer.lr"], point["lora.scale"], "+".join(point["lora.targets"])
            rank, product = math.log2(point["lora.rank"]), math.log(lr * scale)
            numbers = [rank, math.log(lr), math.log(scale), product, product + 0.5 * math.log(2) * rank]
            lines.append([*numbers, step / self.steps[-1], *(float(targets == each) for each in self._sets)])
        return np.array(lines)

    def seconds(self, point: Point) -> float:
        """Return the seconds of a step at a point: linear in the rank for each set of targets, as measured. 1 without
        measurements.
        """
        least, slope = self._costs.get("+".join(point["lora.targets"]), (1.0, 0.0))
        return least + slope * float(point["lora.rank"])

    @property
    def costs(self) -> str:
        """Describe the costs of a step."""
        if not self._costs:
            return "no step was timed: every step counts as one second"
        lines = (f"{1000 * a:.0f} + {1000 * b:.2f}·rank ms with {targets}" for targets, (a, b) in self._costs.items())
        return f"seconds of a trial: its steps, evaluations aside, at {'; '.join(lines)}"

    def grid(self, values: Point | None = None) -> list[Point]:
        """Points that are dense in the space, or in its part with these values."""
        ranks = [
            rank for rank in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128) if self.space["lora.rank"].holds(rank)
        ]
        ranks = sorted({*ranks, *(int(end) for end in self.space["lora.rank"].ends)})
        sets = self.space["lora.targets"].ends
        fractions = np.linspace(0, 1, 41)
        rates, scales = (
            [_ranged(self.space, key, float(f)) for f in fractions] for key in ("optimizer.lr", "lora.scale")
        )
        keys = ("lora.rank", "lora.targets", "optimizer.lr", "lora.scale")
        found = [dict(zip(keys, each, strict=True)) for each in itertools.product(ranks, sets, rates, scales)]
        return [point for point in found if point == point | (values or {})]


def _ranged(space: Space, key: str, fraction: float) -> float:
    """Not rounded, as a proposal is: the grid would fall on few values."""
    dimension = space[key]
    assert isinstance(dimension, Range)
    low, high = math.log(dimension.low), math.log(dimension.high)
    return min(max(math.exp(low + fraction * (high - low)), dimension.low), dimension.high)


def _costs(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """Fit, by targets, the line through the median step of each rank: its value at rank 0 and slope, at least 0."""
    timed: dict[str, dict[int, dict[int, float]]] = {}
    for row in rows:
        if row.step_s is not None:
            timed.setdefault(row.targets, {}).setdefault(row.rank, {})[row.trial] = row.step_s
    found = {}
    for targets, by_rank in timed.items():
        ranks = np.array(sorted(by_rank), float)
        medians = np.array([statistics.median(by_rank[int(rank)].values()) for rank in ranks])
        slope = float(np.polyfit(ranks, medians, 1)[0]) if len(ranks) > 1 else 0.0
        slope = max(slope, 0.0)
        found[targets] = (float(np.mean(medians - slope * ranks)), slope)
    return found


def _spanned(rows: Sequence[Row]) -> Space:
    return {
        "lora.rank": _span([row.rank for row in rows], integer=True),
        "lora.targets": Choice(choices=[name.split("+") for name in sorted({row.targets for row in rows})]),
        "optimizer.lr": _span([row.lr for row in rows]),
        "lora.scale": _span([row.scale for row in rows]),
    }


def _span(values: Sequence[float], *, integer: bool = False) -> Range:
    return Range(low=float(min(values)), high=float(max(values)), integer=integer, log=True)


def _column(rows: Sequence[Row]) -> Matrix:
    return np.array([max(row.val_accuracy, FLOOR) for row in rows])


def _fitted(inputs: Matrix, outputs: Matrix) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(200, min_samples_leaf=2, random_state=0).fit(inputs, outputs)


def _unseen_error(inputs: Matrix, outputs: Matrix, groups: Matrix) -> float:
    """The root mean squared error on trials that a model was not fitted to, over folds of whole trials."""
    trials = np.random.default_rng(1).permutation(np.unique(groups))
    squares: list[float] = []
    for fold in np.array_split(trials, FOLDS):
        out = np.isin(groups, fold)
        model = _fitted(inputs[~out], outputs[~out])
        squares += list((model.predict(inputs[out]) - outputs[out]) ** 2)
    return math.sqrt(statistics.fmean(squares))
