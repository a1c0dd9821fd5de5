"""Answers made from records alone: tables and pictures. Nothing here imports torch."""

from harness.report.page import report_for_terminal, write_report

__all__ = ["report_for_terminal", "write_report"]
