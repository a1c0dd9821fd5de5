"""Named crash points for tests: HARNESS_FAULT=after_assignment kills the process there, as kill -9 would.

after_assignment, in_training, in_checkpoint, before_halt, before_record, before_tell (of Optuna), in_reconcile;
in_training:30 kills it at the thirtieth pass.
"""

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Kill this process if HARNESS_FAULT names this point, at the pass that it gives."""
    wanted, _, count = os.environ.get("HARNESS_FAULT", "").partition(":")
    if wanted == name:
        _passed[name] += 1
        if _passed[name] >= int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
