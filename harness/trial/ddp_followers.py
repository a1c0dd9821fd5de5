"""Followers: the processes of a trial other than its first. They train what it trains, and write nothing."""

import tempfile
from pathlib import Path

from harness.config import check
from harness.system.hub_models import use_lock
from harness.system.signals import Interrupted
from harness.training import receive_object
from harness.trial import TrialContext
from harness.trial.run import run_trial


def follow() -> None:
    """Take part in every trial that the first process runs, until it sends None.

    Raises Interrupted where all processes were stopped, ProcessDesync where only some of them left a trial.
    """
    stopped: Interrupted | None = None
    while (message := receive_object()) is not None:
        tree = message["config"]
        use_lock(Path(tree["results"]) / tree["study"])
        quiet = check(tree | {"tracking": tree["tracking"] | {"mode": "off"}})
        with tempfile.TemporaryDirectory() as scratch:
            asked = {name: message[name] for name in ("number", "arm", "test", "compares", "halts")}
            context = TrialContext(tree["study"], folder=Path(scratch), **asked)
            try:
                run_trial(quiet, context, lambda *_: False)
            except Interrupted as stop:
                stopped = stop  # the first process is stopped too, and sends what comes next
    if stopped is not None:
        raise stopped
