"""What a network knows of every task of a sequence, asked after each of them."""

import csv
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from harness.config import Config
from harness.model import Network
from harness.task import ContinualTask
from harness.training import DivergenceCheck, Plan, make_trainer, test
from harness.trial.continual.learning import Splits, TaskSnapshots
from harness.trial.inputs import loader
from harness.trial.single import make_module, measure

Predicted = tuple[int, int, Tensor, Tensor]  # tasks learned, task asked, rows (N), what was said of each (N, columns)


class ContinualEvaluation:
    """Scores every task on validation and test, and keeps what was predicted for each test item."""

    def __init__(
        self,
        config: Config,
        model: Network,
        task: ContinualTask,
        splits: Splits,
        state: TaskSnapshots,
        device: torch.device,
        precision: str,
        folder: Path,
    ) -> None:
        self.config, self.model, self.state, self.device = config, model, state, device
        self.trainer = make_trainer(folder, Plan(1, 1), device, 1, "auto", precision, None, [DivergenceCheck()])
        self.modules = {
            name: make_module(config, model, measure(part), 1, precision) for name, part in task.parts.items()
        }
        self.splits = {"val": splits["validation"], "test": splits["test"]}
        self.rows: dict[str, list[dict[str, float]]] = {"val": [], "test": []}
        self.predictions: list[Predicted] = []

    def sit(self, learned: int) -> dict[str, float]:
        """A row of both matrices, after `learned` tasks; returns the validation scores.

        One that is interrupted leaves nothing, and is sat again.
        """
        found: dict[str, dict[str, dict[str, float]]] = {"val": {}, "test": {}}
        predictions: list[Predicted] = []
        for number, (name, module) in enumerate(self.modules.items()):
            self.state.show(number)
            for split, inputs in self.splits.items():
                found[split][name] = test(self.trainer, module, loader(self.config, inputs[name], False))
            predictions += [(learned, number, rows, items) for rows, items in module.predictions]
        self.predictions += predictions
        for split, scores in found.items():
            self.rows[split].append(_joined(scores))
        self.model.to(self.device)
        return self.rows["val"][-1]

    def matrices(self) -> dict[str, list[list[float]]]:
        """R of each split: a row for the start and for each task learned, a column for each task."""
        return {
            split: [[_score(row, name) for name in self.modules] for row in rows] for split, rows in self.rows.items()
        }

    def save(self, path: Path) -> None:
        """One line for each test item and each row of the matrix."""
        with open(path, "w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["learned", "task", "row", "label", "predicted"])
            table.writerows(
                sorted(
                    [learned, task, row, *item]
                    for learned, task, rows, items in self.predictions
                    for row, item in zip(rows.tolist(), items.tolist(), strict=True)
                )
            )


def _score(row: Mapping[str, float], name: str) -> float:
    return row.get(f"{name}/accuracy", row.get(f"{name}/r2", 0.0))


def _joined(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """As a mixture's: means over the tasks, and each task's own."""
    flat = {f"{name}/{key}": value for name, own in scores.items() for key, value in own.items()}
    means = {
        "score": sum(_score(flat, name) for name in scores) / len(scores),
        "loss": sum(flat[f"{name}/loss"] for name in scores) / len(scores),
    }
    return means | flat
