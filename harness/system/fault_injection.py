"""Named points at which a test lets the process die: HARNESS_FAULT=after_claim kills it there, as kill -9 would.

after_claim, in_training, in_checkpoint, before_record, before_tell, in_reconcile. in_training:30 is the thirtieth time.
"""

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """A place where a process may be killed; nothing happens unless HARNESS_FAULT names it."""
    wanted, _, count = os.environ.get("HARNESS_FAULT", "").partition(":")
    if wanted == name:
        _passed[name] += 1
        if _passed[name] >= int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
