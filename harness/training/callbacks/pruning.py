"""Reports each evaluation to the search, and ends the trial if the search prunes it."""

from collections.abc import Callable
from typing import Any

import lightning as L

from harness.training.distributed import all_reduce_max
from harness.training.module import Pruned, TrialModule

Report = Callable[[int, dict[str, float]], bool]
"""Called with the step and the validation scores after each evaluation; returns whether to prune the trial."""

_LEFT = 2  # the code of a process that leaves the trial in the middle of a report


class PruningCallback(L.Callback):
    """Raises Pruned, or has `halt` do so once the trial is saved. A trial that is resumed reports all its evaluations
    again, and halts where its last report says so: it was killed before that was known of it.

    Evaluations before step `not_before` are not reported.
    """

    def __init__(self, report: Report, not_before: int = 0, halt: Callable[[Pruned], None] | None = None) -> None:
        self.report, self.not_before, self.halt = report, not_before, halt or _raise
        self._halts, self._halts_again = halt is not None, False
        self._why = "below the median of its arm" if halt is None else "halted"
        self.reports: list[tuple[int, dict[str, float]]] = []

    def state_dict(self) -> dict[str, Any]:
        """All reports so far."""
        return {"reports": self.reports}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reports = state_dict["reports"]
        for step, scores in self.reports:
            self._halts_again = self.report(step, scores) and self._halts

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not (self._halts and self.reports):
            return
        *_, (step, _) = self.reports
        if all_reduce_max(int(self._halts_again)) and step < trainer.max_steps:
            self.halt(Pruned(f"{self._why} at step {step}"))

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrialModule)
        step = trainer.global_step
        if step < self.not_before:
            return
        self.reports.append((step, dict(module.scores)))
        if self._prunes(step, module.scores) and step < trainer.max_steps:  # after its last step a trial is complete
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
