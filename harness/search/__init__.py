"""The search of a study: its arms, the nuisance space of each, proposals and pruning."""

from harness.config.arms import Arm, Point, arms

__all__ = ["Arm", "Point", "arms"]
