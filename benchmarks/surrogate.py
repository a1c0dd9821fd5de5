"""Real trials of a search as a table, and what stands in for training: accuracy and seconds by point and step.

`benchmarks/data/search_trials.csv` has a row for each evaluation of each trial. From 100 trials on a regression is
fitted to them, a Gaussian process or boosted trees, whichever predicts trials better that it has not seen; below that
the shape is set by hand, from what is known of LoRA, and held against the trials there are.
"""

import csv
import dataclasses
import functools
import itertools
import math
import statistics
import warnings
from abc import ABC, abstractmethod
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
RUN_SD, ITEMS = 0.006, 742
"""Of an accuracy from seed to seed, as measured; validation rows where the table does not say them."""
FOLDS, TUNED_ON = 5, 250
"""Of the cross-validation, by trials; the rows that a Gaussian process settles its length scales on."""

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
        """As a search has it."""
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


class Surrogate(ABC):
    """Validation accuracy without noise by point and step, over a space; what a step costs; and what is said of it."""

    def __init__(self, rows: Sequence[Row], space: Space, steps: tuple[int, ...]) -> None:
        self.rows, self.space, self.steps = rows, space, steps
        self.trials = len({row.trial for row in rows})
        self.items = round(statistics.median([row.items for row in rows if row.items] or [ITEMS]))
        self._costs = _costs(rows)

    @abstractmethod
    def at(self, point: Point, step: int) -> float:
        """The accuracy of a point after so many steps."""

    @abstractmethod
    def best(self, values: Point | None = None) -> float:
        """The greatest value after the last step, over a fine grid of the space, or of its part with these values."""

    @property
    @abstractmethod
    def said(self) -> str:
        """What it is made of and how far it is from the trials."""

    def seconds(self, point: Point) -> float:
        """Of a step at a point: on a line in the rank for each set of targets, as measured. 1 without measurements."""
        least, slope = self._costs.get("+".join(point["lora.targets"]), (1.0, 0.0))
        return least + slope * float(point["lora.rank"])

    @property
    def costs(self) -> str:
        """What a step costs, in words."""
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
    """By targets, the line through the median step of each rank: its value at rank 0 and its slope, not below 0."""
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


_STEPS = (75, 110, 150)
_SPACE: Space = {
    "lora.rank": Range(low=1, high=64, integer=True, log=True),
    "lora.targets": Choice(choices=[["query", "value"], ["all-linear"]]),
    "optimizer.lr": Range(low=2e-4, high=1e-2, log=True),
    "lora.scale": Range(low=0.25, high=8.0, log=True),
}


class ByHand(Surrogate):
    """A shape set by hand.

    With r the rank in doublings, w for all linear layers and u the logarithm of lr·scale over its best value, which
    falls with r and w: accuracy grows with r and w, falls with u² (faster above the best than below, and faster with
    w), and a trial that is above the best is further behind at step 75 than others.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__(rows, _SPACE, _STEPS)

    def at(self, point: Point, step: int) -> float:
        """The curve's value, not below guessing; between the two steps on a line."""
        r, w = math.log2(point["lora.rank"]), float(point["lora.targets"] == ["all-linear"])
        u = math.log(point["optimizer.lr"] * point["lora.scale"] / 2e-3) + 0.12 * r + 0.4 * w - 0.3
        late = 0.790 + 0.0022 * r + w * (0.002 + 0.0022 * r) - (0.008 + 0.02 * w if u > 0 else 0.006) * u * u
        early = late - 0.022 - 0.008 * w * r - 0.03 * w * max(u, 0.0)
        share = (step - _STEPS[0]) / (_STEPS[-1] - _STEPS[0])
        return max(early, 0.5) + share * (max(late, 0.5) - max(early, 0.5))

    def best(self, values: Point | None = None) -> float:
        return max(self.at(point, _STEPS[-1]) for point in self.grid(values))

    @property
    def said(self) -> str:
        distances = (
            (step, [abs(self.at(row.point, step) - row.val_accuracy) for row in self.rows if row.step == step])
            for step in _STEPS
        )
        shown = ", ".join(f"{100 * statistics.median(far):.1f} points at step {step}" for step, far in distances if far)
        return (
            f"surrogate: a shape set by hand, since {self.trials} real trials are fewer than {ENOUGH}; its median "
            f"distance from them: {shown or 'none at these steps'}"
        )


class Fitted(Surrogate):
    """A regression on real trials, over the box that they span, at the steps of their evaluations."""

    def __init__(self, rows: Sequence[Row]) -> None:
        steps = tuple(sorted({row.step for row in rows}))
        super().__init__(rows, _spanned(rows), steps)
        self._sets = sorted({row.targets for row in rows})
        inputs, outputs = self._inputs([(row.point, row.step) for row in rows]), _column(rows)
        groups = np.array([row.trial for row in rows])
        self.errors = {name: _unseen_error(make, inputs, outputs, groups) for name, make in MODELS.items()}
        self.name = min(self.errors, key=lambda name: self.errors[name])
        self.spread = float(np.std(outputs))
        self._model = MODELS[self.name](inputs, outputs)
        self._known: dict[tuple[str, int], float] = {}

    def at(self, point: Point, step: int) -> float:
        key = (str(sorted(point.items())), step)
        if key not in self._known:
            self._known[key] = float(self._predicted([(point, step)])[0])
        return self._known[key]

    def best(self, values: Point | None = None) -> float:
        return float(self._predicted([(point, self.steps[-1]) for point in self.grid(values)]).max())

    @property
    def said(self) -> str:
        shown = ", ".join(f"{100 * error:.2f} ({name})" for name, error in self.errors.items())
        p = statistics.fmean(row.val_accuracy for row in self.rows)
        noise = math.sqrt(RUN_SD**2 + p * (1 - p) / self.items)
        few = "" if self.trials >= WANTED else f"; fewer than the {WANTED} that it should have"
        return (
            f"surrogate: {self.name}, fitted to {self.trials} real trials, {len(self.rows)} evaluations{few}; "
            f"root mean squared error in points on trials that were left out: {shown}; noise alone is "
            f"{100 * noise:.2f}, the trials spread by {100 * self.spread:.2f}"
        )

    def _predicted(self, asked: Sequence[tuple[Point, int]]) -> Matrix:
        found: Matrix = np.clip(self._model.predict(self._inputs(asked)), 0.0, 1.0)
        return found

    def _inputs(self, asked: Sequence[tuple[Point, int]]) -> Matrix:
        """Ranks, rates and scales on log scales, with the product of both, the set of targets, the share of steps."""
        lines = []
        for point, step in asked:
            lr, scale, targets = point["optimizer.lr"], point["lora.scale"], "+".join(point["lora.targets"])
            numbers = [math.log2(point["lora.rank"]), math.log(lr), math.log(scale), math.log(lr * scale)]
            lines.append([*numbers, step / self.steps[-1], *(float(targets == each) for each in self._sets)])
        return np.array(lines)


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
    return np.array([row.val_accuracy for row in rows])


def _gaussian_process(inputs: Matrix, outputs: Matrix) -> Any:
    """Length scales by likelihood on some rows, then all rows with those."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = np.random.default_rng(0).permutation(len(inputs))[:TUNED_ON]
    wide = Matern(np.ones(inputs.shape[1]), (0.05, 1e3), nu=2.5)
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * wide + WhiteKernel(0.1, (1e-4, 1e1))
    tuned = make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of a length scale without end: what does not matter
        tuned.fit(inputs[chosen], outputs[chosen])
    settled = GaussianProcessRegressor(tuned[-1].kernel_, optimizer=None, normalize_y=True)
    return make_pipeline(StandardScaler(), settled).fit(inputs, outputs)


def _boosted_trees(inputs: Matrix, outputs: Matrix) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    trees = GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.05, max_depth=3, subsample=0.7, min_samples_leaf=5, random_state=0
    )
    return trees.fit(inputs, outputs)


MODELS = {"Gaussian process": _gaussian_process, "boosted trees": _boosted_trees}


def _unseen_error(make: Any, inputs: Matrix, outputs: Matrix, groups: Matrix) -> float:
    """The root mean squared error on trials that a model was not fitted to, over folds of whole trials."""
    trials = np.random.default_rng(1).permutation(np.unique(groups))
    squares: list[float] = []
    for fold in np.array_split(trials, FOLDS):
        out = np.isin(groups, fold)
        model = make(inputs[~out], outputs[~out])
        squares += list((model.predict(inputs[out]) - outputs[out]) ** 2)
    return math.sqrt(statistics.fmean(squares))


@functools.cache
def surrogate_of(path: Path = DATA) -> Surrogate:
    """What the trials of a file allow."""
    rows = read_rows(path)
    return Fitted(rows) if len({row.trial for row in rows}) >= ENOUGH else ByHand(rows)
