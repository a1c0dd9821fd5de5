"""A stop that is asked for: the step in hand is finished, then the trial ends and its results so far stay."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harness.training.company import agree


class Interrupted(Exception):
    """The trial was asked to stop, by Ctrl-C or SIGTERM; `exit_code` is what the process should answer."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class _Request:
    """The signal that asked for a stop, if any."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def receive(self, signum: int, _: FrameType | None) -> None:
        if self.signum is not None:
            os._exit(128 + signum)  # asked twice: at once
        self.signum = signum
        os.write(2, b"\nstopping after this step; once more to stop at once\n")


_request = _Request()


def asked() -> int:
    """The signal that asked this process to stop, 0 if none did."""
    return _request.signum or 0


def raise_if_asked() -> None:
    """Called at step boundaries; with several processes of a trial by each of them, and they all stop if one must."""
    if signum := agree(asked()):
        raise Interrupted(signum)


@contextmanager
def graceful_stop() -> Iterator[None]:
    """Inside, the first SIGINT or SIGTERM ends the trial at its next step boundary, the second at once."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    _request.signum = None
    try:
        for signum in before:
            signal.signal(signum, _request.receive)
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _request.signum = None
