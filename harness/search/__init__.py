"""What a study searches: its arms, the space of each, proposals and pruning."""

from harness.search.space import Arm, arms

__all__ = ["Arm", "arms"]
