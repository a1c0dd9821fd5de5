"""The processes of a trial that are not its first: they train what it trains, and leave nothing behind."""

import tempfile
from pathlib import Path

from harness.config import check
from harness.system.signals import Interrupted
from harness.training import receive_object
from harness.trial import TrialContext, run_trial


def follow() -> None:
    """Take part in every trial that the first process runs, until it says that there are no more.

    Raises Interrupted where they were all stopped, OutOfStep where a trial was left by some of them only.
    """
    stopped: Interrupted | None = None
    while (message := receive_object()) is not None:
        tree = message["config"]
        quiet = check(tree | {"tracking": tree["tracking"] | {"mode": "off"}})
        with tempfile.TemporaryDirectory() as scratch:
            place = TrialContext(tree["study"], message["number"], message["arm"], Path(scratch))
            try:
                run_trial(quiet, place, lambda *_: False)
            except Interrupted as stop:
                stopped = stop  # the first process is stopped too; what follows it says
    if stopped is not None:
        raise stopped
