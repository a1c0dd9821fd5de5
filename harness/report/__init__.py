"""Answers made from records alone: tables and pictures. Nothing here imports torch."""

from harness.report.page import write_report

__all__ = ["write_report"]
