"""Evaluates every task after each training stage: the matrix R[i][j]."""

import csv
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from harness.task.metrics import share_name
from harness.training import Plan, Trainer, make_fabric
from harness.trial.continual.snapshots import TaskSnapshots
from harness.trial.running import RunningTrial, make_module

Predicted = tuple[int, int, Tensor, Tensor]  # tasks learned, task asked, rows (N), what was said of each (N, columns)


class ContinualEvaluation:
    """Scores every task on validation and test, and keeps what was predicted for each test item."""

    def __init__(self, trial: RunningTrial, snapshots: TaskSnapshots) -> None:
        self.trial, self.snapshots = trial, snapshots
        self.trainer = Trainer(make_fabric(trial.device, trial.precision), Plan(0, ()), [])
        self.modules = {
            name: make_module(trial, trial.model, part.metrics(), 1) for name, part in trial.task.parts.items()
        }
        self.shares = {name: f"{name}/{share_name(name, each.metrics)}" for name, each in self.modules.items()}
        splits = trial.splits
        self.splits = {"val": splits["validation"], "test": splits["test"]}
        self.rows: dict[str, list[dict[str, float]]] = {"val": [], "test": []}
        self.predictions: list[Predicted] = []

    def evaluate_all_tasks(self, learned: int) -> dict[str, float]:
        """A row of both matrices, after `learned` tasks; returns the validation scores.

        One that is interrupted leaves nothing, and is begun again.
        """
        found: dict[str, dict[str, dict[str, float]]] = {"val": {}, "test": {}}
        predictions: list[Predicted] = []
        for number, (name, module) in enumerate(self.modules.items()):
            self.snapshots.show(number)
            for split, inputs in self.splits.items():
                found[split][name] = self.trainer.test(module, self.trial.evaluation_batches(inputs[name]))
            predictions += [(learned, number, rows, items) for rows, items in module.predictions]
        self.predictions += predictions
        for split, scores in found.items():
            self.rows[split].append(_joined(scores, self.shares))
        self.trial.model.to(self.trial.device)
        return self.rows["val"][-1]

    def matrix(self, split: str) -> list[list[float]]:
        """R of a split: a row for the start and for each task learned, a column for each task."""
        return [[row[share] for share in self.shares.values()] for row in self.rows[split]]

    def save(self, path: Path) -> None:
        """One line for each test item and each row of the matrix."""
        with open(path, "w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["learned", "task", "row", "label", "predicted"])
            table.writerows(
                sorted(
                    [learned, task, row, *item[:2]]
                    for learned, task, rows, items in self.predictions
                    for row, item in zip(rows.tolist(), items.tolist(), strict=True)
                )
            )


def _joined(scores: Mapping[str, Mapping[str, float]], shares: Mapping[str, str]) -> dict[str, float]:
    """Scores as a mixture has them: means over the tasks, and each task's own."""
    flat = {f"{name}/{key}": value for name, own in scores.items() for key, value in own.items()}
    means = {
        "score": sum(flat[shares[name]] for name in scores) / len(scores),
        "loss": sum(flat[f"{name}/loss"] for name in scores) / len(scores),
    }
    return means | flat
