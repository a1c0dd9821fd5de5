"""Several trials in one process, whose steps share the passes over their base."""

from harness.training.packing.callback import PackCallback
from harness.training.packing.joint import examined
from harness.training.packing.pack import Kind, Pack, Seat

__all__ = ["Kind", "Pack", "PackCallback", "Seat", "examined"]
