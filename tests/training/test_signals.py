"""The first signal ends at a step boundary, the second at once; handlers are put back."""

import os
import signal
import subprocess
import sys

import pytest

from harness.system.signals import Interrupted, graceful_stop
from harness.training.distributed import raise_if_stop_requested_on_all


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_answered_at_the_next_boundary(signum, code):
    before = signal.getsignal(signum)
    with graceful_stop():
        raise_if_stop_requested_on_all()
        os.kill(os.getpid(), signum)
        with pytest.raises(Interrupted) as caught:
            raise_if_stop_requested_on_all()
    assert caught.value.exit_code == code
    assert signal.getsignal(signum) is before
    raise_if_stop_requested_on_all()


def test_asked_twice_ends_at_once():
    code = (
        "import os, signal\nfrom harness.system.signals import graceful_stop\n"
        "with graceful_stop():\n    os.kill(os.getpid(), signal.SIGINT)\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stdout == ""
