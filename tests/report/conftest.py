"""Fixtures that several tests of reports share."""

from tests.report.test_confirmed import study

__all__ = ["study"]
