"""Several trials in one process, whose steps share the passes over their base."""

from harness.training.packing.callback import PackCallback
from harness.training.packing.joint import check_packable
from harness.training.packing.pack import Pack, PackKey, PackMember

__all__ = ["Pack", "PackCallback", "PackKey", "PackMember", "check_packable"]
