"""The joint gain of several tasks over single-task training, scored at every evaluation: Δm (Maninis et al., 2019)."""

from collections.abc import Collection, Mapping

from torch import Tensor

from harness.record import gain
from harness.task.metrics import Metrics

DELTA = "delta_m"


class MetricsAgainstAlone(Metrics):
    """Scores of several tasks, and `delta_m`: the mean over tasks of what each gains, in percent of its score alone.

    `alone` has, by the name of a task's score (task/measure), what the task scored alone and whether it is an error.
    """

    def __init__(self, own: Metrics, alone: Mapping[str, tuple[float, bool]]) -> None:
        super().__init__()
        self.own, self.alone = own, dict(alone)
        self.names, self.columns = (*own.names, DELTA), own.columns

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return self.own.update(logits, batch)

    def beside(self, rows: Tensor) -> Tensor:
        return self.own.beside(rows)

    def leave_out(self, names: Collection[str]) -> None:
        self.own.leave_out(names)

    def compute_and_reset(self) -> dict[str, float]:
        scores = self.own.compute_and_reset()
        gains = [gain(scores[name], alone, error) for name, (alone, error) in self.alone.items()]
        return scores | {DELTA: sum(gains) / len(gains)}
