"""Cooperative threads: one of them runs at a time, until it waits or pauses; each has random states of its own."""

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
    """Return the process state that a trial sets when it begins, or draws from: each trial has its own."""
    drawn = {"random": random_state(), "numpy": np.random.get_state()}  # noqa: NPY002  a user's code may draw from it
    return drawn | {"tf32": torch.backends.cudnn.allow_tf32}


def _set_process_state(state: dict[str, Any]) -> None:
    set_random_state(state["random"])
    np.random.set_state(state["numpy"])  # noqa: NPY002  as above
    torch.backends.cudnn.allow_tf32 = state["tf32"]


class CooperativeThread:
    """A function in a thread, and what it set of the process when it last ran."""

    def __init__(self) -> None:
        self.go = threading.Lock()  # held while another thread runs
        self.go.acquire()
        self.ready = True
        self.until: float | None = None
        """When it goes on by itself, by the monotonic clock, where it pauses."""
        self.state: dict[str, Any] = {}


class CooperativeThreads:
    """Runs functions in threads, one at a time; each draws from random generators as if it ran alone.

    Whether convolutions of a GPU may round to TF32 is each function's own, too.

    A function runs until it waits or pauses. When none is left that can go on, `proceed` is called, in the thread of
    one of them, and must `release` one at least of those that wait.
    """

    def __init__(self, proceed: Callable[[], None]) -> None:
        self._proceed = proceed
        self._threads: list[CooperativeThread] = []
        self._local = threading.local()
        self._ended = threading.Event()
        self._errors: list[BaseException] = []

    def run(self, functions: Sequence[Callable[[], None]], failed: Callable[[], None]) -> None:
        """Run all to their ends. `failed` is called as soon as one raises; the first error is raised in the end.

        The others are logged, but for those that say that a stop was requested.
        """
        before = _process_state()
        self._ended.clear()
        self._threads, self._errors = [CooperativeThread() for _ in functions], []
        for thread, function in zip(list(self._threads), functions, strict=True):
            thread.state = before
            threading.Thread(target=self._run_one, args=(thread, function, failed), daemon=True).start()
        self._choose().go.release()
        self._ended.wait()
        _set_process_state(before)
        for error in self._errors[1:]:
            if not isinstance(error, Interrupted):
                log.error("another error after the first one: %s: %s", type(error).__name__, error, exc_info=error)
        if self._errors:
            raise self._errors[0]

    def current(self) -> CooperativeThread:
        """The thread of the function that calls."""
        thread: CooperativeThread = self._local.thread
        return thread

    def wait(self) -> None:
        """Let the others go on until `proceed` releases this function."""
        thread = self.current()
        thread.ready = False
        self._switch(thread)

    def pause(self, seconds: float) -> None:
        """Let the others go on for so long at least."""
        thread = self.current()
        thread.ready, thread.until = False, time.monotonic() + seconds
        self._switch(thread)

    @staticmethod
    def release(thread: CooperativeThread) -> None:
        """Let a function go on that waits."""
        thread.ready, thread.until = True, None

    def _run_one(self, thread: CooperativeThread, function: Callable[[], None], failed: Callable[[], None]) -> None:
        self._local.thread = thread
        thread.go.acquire()
        try:
            _set_process_state(thread.state)
            function()
        except BaseException as error:  # it is raised again where all are waited for
            self._errors.append(error)
            failed()
        finally:
            self._threads.remove(thread)
            try:
                following = self._choose() if self._threads else None
            except BaseException as error:
                self._errors.append(error)
                following = None  # the others wait for ever, and end with the process
            if following is None:
                self._ended.set()
            else:
                following.go.release()

    def _switch(self, thread: CooperativeThread) -> None:
        thread.state = _process_state()
        following = self._choose()
        if following is not thread:
            following.go.release()
            thread.go.acquire()
        _set_process_state(thread.state)

    def _choose(self) -> CooperativeThread:
        """Return the next thread: the one that has been ready longest."""
        while True:
            now = time.monotonic()
            for thread in self._threads:
                if thread.until is not None and thread.until <= now:
                    self.release(thread)
            ready = next((thread for thread in self._threads if thread.ready), None)
            if ready is not None:
                self._threads.remove(ready)
                self._threads.append(ready)
                return ready
            if any(thread.until is None for thread in self._threads):
                self._proceed()
            else:
                time.sleep(max(0.0, min(thread.until for thread in self._threads if thread.until is not None) - now))
