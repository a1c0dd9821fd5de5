"""A stop that is asked for: the step in hand is finished, then the trial ends and its results so far stay."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # the last is how SLURM says that the time is nearly up


class Interrupted(Exception):
    """The trial was asked to stop, by a signal; `exit_code` is what the process should answer."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class _Request:
    """The signal that asked for a stop, if any."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.since = 0.0
        self.active = False
        self.at_once: Callable[[], None] | None = None

    def receive(self, signum: int, _: FrameType | None) -> None:
        if self.signum is None:
            self.signum, self.since = signum, time.monotonic()
            with suppress(OSError):  # a terminal that is gone asked for it, or what it was piped into
                os.write(2, b"\nstopping after this step; once more to stop at once\n")
        elif signum == signal.SIGINT:
            if self.at_once is not None:
                self.at_once()
            os._exit(128 + signum)  # a person who asks twice means at once; a cluster just repeats itself


_request = _Request()


def stop_requested() -> bool:
    """Whether a signal has asked this process for a stop."""
    return _request.signum is not None


def stop_signal(patience_s: float = 0.0) -> int:
    """The signal that asked this process to stop so many seconds ago, 0 if none did."""
    return _request.signum if _request.signum and time.monotonic() - _request.since >= patience_s else 0


def raise_if_stop_requested() -> None:
    """The same between two trials, which one process decides upon."""
    if signum := stop_signal():
        raise Interrupted(signum)


def on_second_interrupt(action: Callable[[], None]) -> None:
    """What is to be done, of a signal's handler, before this process leaves at once; until `graceful_stop` ends."""
    _request.at_once = action


def reinstall_handlers() -> None:
    """Be the one who hears of signals again, where a library has put itself before us."""
    if _request.active:
        for signum in _HEARD:
            signal.signal(signum, _request.receive)


@contextmanager
def graceful_stop() -> Iterator[None]:
    """Inside, the first SIGINT, SIGTERM or SIGUSR2 ends the trial at its next step boundary, another SIGINT at once."""
    before = {signum: signal.getsignal(signum) for signum in _HEARD}
    _request.signum = None
    _request.active = True
    try:
        reinstall_handlers()
        yield
    finally:
        _request.active = False
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _request.signum, _request.at_once = None, None
