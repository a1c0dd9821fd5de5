"""What figures mean: pure functions of numbers, without torch."""

from harness.analysis.forgetting import Summary, summary

__all__ = ["Summary", "summary"]
