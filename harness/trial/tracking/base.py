"""The interface of trackers: each is opened with a run, takes points of curves, and closes with the record."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from harness.config import TrackingConfig
from harness.record import Record, tracked


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trial as a tracker hears of it when it begins.

    `config` is its resolved configuration; `folder` is its study's, under which a tracker keeps its files.
    """

    study: str
    trial: int
    arm: str
    phase: str
    config: Mapping[str, Any]
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.trial:04d}"

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration with what names the trial; keys that no trial has are left out."""
        named = {"study": self.study, "trial": self.trial, "arm": self.arm, "phase": self.phase}
        kept = {key: value for key, value in self.config.items() if key not in _NOT_OF_A_TRIAL}
        return kept | named

    def figures(self, record: Record) -> dict[str, Any]:
        """The record as flat keys."""
        return tracked(record, self._width)

    @property
    def _width(self) -> int | None:
        model = self.config.get("model") or {}
        return model.get("hidden") or (model.get("shape") or {}).get("hidden")


_NOT_OF_A_TRIAL = ("run", "results", "sweep", "top", "seeds", "margin", "port", "arguments", "tracking", "launch")


class Tracker(ABC):
    """One run in one tracker. Whatever a method raises ends the tracker, never the trial."""

    kept_in: ClassVar[str]
    """A pattern of what its runs leave in a study's folder."""

    @classmethod
    def is_off(cls, mode: str) -> bool:
        """Return whether this mode of `tracking.mode` opens no run."""
        return mode == "off"

    @classmethod
    def publish(cls, settings: TrackingConfig, study: str, records: Sequence[Record], folder: Path) -> None:
        """Show a study as a whole; nothing where the tracker has no run for that."""
        return

    @classmethod
    @abstractmethod
    def open(cls, settings: TrackingConfig, run: Run) -> Self | None:
        """A tracker that has begun the run; None where nothing can be opened, which was said."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One point of the curves, at the trainer's own step."""

    @abstractmethod
    def finish(self, record: Record | None, failed: bool) -> None:
        """Write the record and close the run; None where the trial left none that counts."""
