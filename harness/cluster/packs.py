"""Several trials of a study in one worker at once, and which of them it may take beside those that it has."""

from collections.abc import Callable
from functools import partial

from harness.cluster.restart import WorkerUnhealthy
from harness.record import Record, process_suspect
from harness.system.signals import raise_if_stop_requested, request_stop
from harness.training import Pack


class PackedTrials:
    """The trials that a worker trains now, its pack; one trial at a time is the usual case.

    A trial whose last worker vanished runs alone: it may have been what ended that worker, and must not end others'
    attempts with its own. So does one that ran out of memory beside others: it may fit without them. After a trial
    whose failure may have left the process unhealthy no other one begins until those beside it have ended, and the
    process can be looked at.
    """

    def __init__(self) -> None:
        self._alone: dict[int, bool] = {}
        self._most: dict[int, int] = {}
        self._suspect = False

    def may_begin(self, alone: bool) -> bool:
        """Return whether another trial may begin, which runs `alone` or not."""
        return not self._alone or not (alone or self._suspect or any(self._alone.values()))

    def begin(self, trial: int, alone: bool) -> None:
        self._alone[trial] = alone
        self._most[trial] = 1
        for other in self._alone:
            self._most[other] = max(self._most[other], len(self._alone))

    def pack_size(self, trial: int) -> int:
        """Return the most trials that the worker had at once during this one, itself included."""
        return self._most.get(trial, 1)

    def end(self, trial: int, ended: Record | None) -> bool:
        """Note the end of a trial; returns whether the process, with no trial in it, is to be looked at."""
        del self._alone[trial]
        self._suspect |= ended is not None and process_suspect(ended)
        if self._alone or not self._suspect:
            return False
        self._suspect = False
        return True


def train_packs(train: Callable[[Pack], None], size: int) -> None:
    """Call `train` so many times at once, each of which trains trials in one pack until none is left.

    Where one of them raises, the trials of the others are saved and requeued as if a stop was requested. A signal that
    came meanwhile ends the process: it is not restarted.
    """
    try:
        _train_in_pack(train, size)
    except WorkerUnhealthy:
        raise_if_stop_requested()
        raise


def _train_in_pack(train: Callable[[Pack], None], size: int) -> None:
    pack, taken_back = Pack(), []
    try:
        pack.run([partial(train, pack)] * size, lambda: taken_back.append(request_stop()))
    finally:
        for take_back in taken_back:
            take_back()
