"""Graceful stops: a signal requests a stop, the current step is finished, then the trial ends and can be resumed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # SLURM sends the last when the time is nearly up


class Interrupted(Exception):
    """A signal requested a stop; `exit_code` is 128 plus its number."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class _Request:
    """The first signal that requested a stop, if any; and since when the program itself requests one."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.since = 0.0
        self.own_since: float | None = None
        self.before_exit: Callable[[], None] | None = None

    def receive(self, signum: int, _: FrameType | None) -> None:
        if self.signum is None:
            self.signum, self.since = signum, time.monotonic()
            with suppress(OSError):  # the terminal or the pipe is gone
                os.write(2, b"\nstopping after this step; once more to stop at once\n")
        elif signum == signal.SIGINT:
            if self.before_exit is not None:
                self.before_exit()
            os._exit(128 + signum)  # a second Ctrl-C means at once; a cluster just repeats its signal


_request = _Request()


def stop_signal(patience_s: float = 0.0) -> int:
    """The signal that requested a stop, 0 if none did or if it came less than `patience_s` seconds ago.

    SIGTERM where the program itself requests one.
    """
    latest = time.monotonic() - patience_s
    if _request.signum is not None and _request.since <= latest:
        return _request.signum
    return signal.SIGTERM if _request.own_since is not None and _request.own_since <= latest else 0


def raise_if_stop_requested() -> None:
    """Raise Interrupted if a stop was requested of this process; for several, see training.distributed."""
    if signum := stop_signal():
        raise Interrupted(signum)


def request_stop() -> Callable[[], None]:
    """Request a stop as SIGTERM would, where several trials train in one process; returns what takes it back.

    A signal that comes meanwhile is received as the first one, and stays when the request is taken back.
    """
    if _request.own_since is not None:
        return lambda: None
    _request.own_since = time.monotonic()

    def take_back() -> None:
        _request.own_since = None

    return take_back


def on_second_interrupt(action: Callable[[], None]) -> None:
    """Run an action in the signal handler before a second SIGINT exits at once; until `graceful_stop` ends."""
    _request.before_exit = action


@contextmanager
def graceful_stop() -> Iterator[None]:
    """Inside, the first SIGINT, SIGTERM or SIGUSR2 requests a stop at the next step; a second SIGINT exits at once.

    Within another one it changes nothing: a stop that was requested before stays.
    """
    if signal.getsignal(signal.SIGTERM) == _request.receive:
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    _request.signum = _request.own_since = None
    try:
        for signum in _SIGNALS:
            signal.signal(signum, _request.receive)
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _request.signum = _request.own_since = _request.before_exit = None
