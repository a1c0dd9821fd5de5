"""Named points at which a test lets the process die: HARNESS_FAULT=after_claim kills it there, as kill -9 would.

after_claim, in_training, in_checkpoint, before_record, before_tell, in_reconcile.
"""

import os
import signal


def point(name: str) -> None:
    """A place where a process may be killed; nothing happens unless HARNESS_FAULT names it."""
    if os.environ.get("HARNESS_FAULT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
