"""Functions that take turns: each in a thread of its own, one of them running at a time, until all wait."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from harness.system.signals import Interrupted
from harness.training.checkpoint import random_state, set_random_state

log = logging.getLogger(__name__)


def _process_state() -> dict[str, Any]:
    """What a trial sets of its process when it begins, and draws from: the others have their own."""
    drawn = {"random": random_state(), "numpy": np.random.get_state()}  # noqa: NPY002  a user's code may draw from it
    return drawn | {"tf32": torch.backends.cudnn.allow_tf32}


def _set_process_state(state: dict[str, Any]) -> None:
    set_random_state(state["random"])
    np.random.set_state(state["numpy"])  # noqa: NPY002  as above
    torch.backends.cudnn.allow_tf32 = state["tf32"]


class Turn:
    """The place of one function among those that take turns."""

    def __init__(self) -> None:
        self.go = threading.Lock()  # held while it is not this function's turn
        self.go.acquire()
        self.ready = True
        self.until: float | None = None
        """When it goes on by itself, by the monotonic clock, where it pauses."""
        self.state: dict[str, Any] = {}


class Turns:
    """Runs functions in threads, one at a time; each draws from random generators as if it ran alone.

    Whether convolutions of a GPU may round to TF32 is each function's own, too.

    A function runs until it waits or pauses. When none is left that can go on, `proceed` is called, in the thread of
    one of them, and must `release` one at least of those that wait.
    """

    def __init__(self, proceed: Callable[[], None]) -> None:
        self._proceed = proceed
        self._turns: list[Turn] = []
        self._local = threading.local()
        self._ended = threading.Event()
        self._errors: list[BaseException] = []

    def run(self, functions: Sequence[Callable[[], None]], failed: Callable[[], None]) -> None:
        """Run all to their ends. `failed` is called as soon as one raises; the first error is raised in the end.

        The others are logged, but for those that say that a stop was requested.
        """
        before = _process_state()
        self._ended.clear()
        self._turns, self._errors = [Turn() for _ in functions], []
        for turn, function in zip(list(self._turns), functions, strict=True):
            turn.state = before
            threading.Thread(target=self._thread, args=(turn, function, failed), daemon=True).start()
        self._choose().go.release()
        self._ended.wait()
        _set_process_state(before)
        for error in self._errors[1:]:
            if not isinstance(error, Interrupted):
                log.error("another error after the first one: %s: %s", type(error).__name__, error, exc_info=error)
        if self._errors:
            raise self._errors[0]

    def current(self) -> Turn:
        """The turn of the function that calls."""
        turn: Turn = self._local.turn
        return turn

    def wait(self) -> None:
        """Let the others go on until `proceed` releases this function."""
        turn = self.current()
        turn.ready = False
        self._hand_over(turn)

    def pause(self, seconds: float) -> None:
        """Let the others go on for so long at least."""
        turn = self.current()
        turn.ready, turn.until = False, time.monotonic() + seconds
        self._hand_over(turn)

    @staticmethod
    def release(turn: Turn) -> None:
        """Let a function go on that waits."""
        turn.ready, turn.until = True, None

    def _thread(self, turn: Turn, function: Callable[[], None], failed: Callable[[], None]) -> None:
        self._local.turn = turn
        turn.go.acquire()
        try:
            _set_process_state(turn.state)
            function()
        except BaseException as error:  # it is raised again where all are waited for
            self._errors.append(error)
            failed()
        finally:
            self._turns.remove(turn)
            try:
                following = self._choose() if self._turns else None
            except BaseException as error:
                self._errors.append(error)
                following = None  # the others wait for ever, and end with the process
            if following is None:
                self._ended.set()
            else:
                following.go.release()

    def _hand_over(self, turn: Turn) -> None:
        turn.state = _process_state()
        following = self._choose()
        if following is not turn:
            following.go.release()
            turn.go.acquire()
        _set_process_state(turn.state)

    def _choose(self) -> Turn:
        """Who is next: the one that is ready for longest."""
        while True:
            now = time.monotonic()
            for turn in self._turns:
                if turn.until is not None and turn.until <= now:
                    self.release(turn)
            ready = next((turn for turn in self._turns if turn.ready), None)
            if ready is not None:
                self._turns.remove(ready)
                self._turns.append(ready)
                return ready
            if any(turn.until is None for turn in self._turns):
                self._proceed()
            else:
                time.sleep(max(0.0, min(turn.until for turn in self._turns if turn.until is not None) - now))
