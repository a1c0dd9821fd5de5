"""Stops that a signal requests, and stops that the program requests of itself."""

import os
import signal

import pytest

from harness.system.signals import Interrupted, graceful_stop, raise_if_stop_requested, request_stop, stop_signal


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_that_comes_while_the_program_stops_itself_is_the_first_and_stays(signum, monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with graceful_stop():
        take_back = request_stop()
        assert stop_signal() == signal.SIGTERM
        os.kill(os.getpid(), signum)
        assert not ended, "the first Ctrl-C is no second one"
        assert stop_signal() == signum
        take_back()
        with pytest.raises(Interrupted) as stop:
            raise_if_stop_requested()
        assert stop.value.exit_code == 128 + signum
    assert stop_signal() == 0


def test_a_stop_of_the_program_is_taken_back_by_the_one_that_requested_it():
    with graceful_stop():
        first, second = request_stop(), request_stop()
        second()
        assert stop_signal() == signal.SIGTERM
        assert stop_signal(patience_s=60.0) == 0
        first()
        assert stop_signal() == 0


def test_a_stop_that_was_requested_before_another_block_begins_stays():
    with graceful_stop():
        os.kill(os.getpid(), signal.SIGTERM)
        with graceful_stop():
            assert stop_signal() == signal.SIGTERM
        assert stop_signal() == signal.SIGTERM
    assert stop_signal() == 0
