"""What a worker holds after its first trial is left out of later collections, which still find what comes later."""

import subprocess
import sys

SCRIPT = """
import gc, weakref
from harness.system.process_memory import leave_libraries_out

class Cycle:
    def __init__(self):
        self.me = self

before = weakref.ref(Cycle())
gc.disable()
leave_libraries_out()
assert before() is None  # garbage is collected first
frozen = gc.get_freeze_count()
assert frozen > 1000
later = weakref.ref(Cycle())
leave_libraries_out()  # once
assert gc.get_freeze_count() == frozen
gc.collect()
assert later() is None
"""


def test_what_is_held_is_left_out_once_and_garbage_is_still_found():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
