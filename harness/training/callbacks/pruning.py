"""Reports each evaluation to the search, and ends the trial if the search prunes it."""

from collections.abc import Callable
from typing import Any

from harness.training.distributed import all_reduce_max
from harness.training.loop import Callback, Trainer
from harness.training.module import Pruned

Report = Callable[[int, dict[str, float]], bool]
"""Called with the step and the validation scores after each evaluation; returns whether to prune the trial."""

_LEFT = 2  # the code of a process that leaves the trial in the middle of a report


class PruningCallback(Callback):
    """Raises Pruned, or has `halt` do so once the trial is saved. A trial that is resumed reports all its evaluations
    again, and halts where its last report says so: it was killed before that was known of it.

    Evaluations before step `not_before` are not reported.
    """

    def __init__(self, report: Report, not_before: int = 0, halt: Callable[[Pruned], None] | None = None) -> None:
        self.report, self.not_before, self.halt = report, not_before, halt or _raise
        self._halts = halt is not None
        self._why = "below the median of its arm" if halt is None else "halted"
        self.reports: list[tuple[int, dict[str, float]]] = []

    def state_dict(self) -> dict[str, Any]:
        """All reports so far."""
        return {"reports": self.reports}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reports = state_dict["reports"]
        answers = [self.report(step, scores) for step, scores in self.reports]
        if self._halts and answers and all_reduce_max(int(answers[-1])):
            self.halt(Pruned(f"{self._why} at step {self.reports[-1][0]}"))

    def after_evaluation(self, trainer: Trainer) -> None:
        step, scores = trainer.step, trainer.module.scores
        if step < self.not_before:
            return
        self.reports.append((step, dict(scores)))
        if self._prunes(step, scores) and step < trainer.length.steps:  # after its last step a trial is complete
            self.halt(Pruned(f"{self._why} at step {step}"))

    def _prunes(self, step: int, scores: dict[str, float]) -> bool:
        """The answer to the first process, for all of them; if one leaves the trial here, all do."""
        try:
            prune = self.report(step, scores)
        except BaseException:
            all_reduce_max(_LEFT)
            raise
        verdict = all_reduce_max(int(prune))
        if verdict == _LEFT:
            raise RuntimeError("another process of this trial left it")
        return bool(verdict)


def _raise(pruned: Pruned) -> None:
    raise pruned
