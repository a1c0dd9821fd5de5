"""Caveats about the trials in a table: cut short, chosen half-way, or best at the edge of a range."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import stored_sweep
from harness.record import Record
from harness.record.figures import is_measured

_EDGE = 0.05  # of a range, on its own scale
_NUMBER = re.compile(r"\d+")


def caveats(shown: Sequence[Record], folder: Path) -> list[str]:
    """A line for each trial that needs one; `shown` are the best of their arms."""
    sweep = stored_sweep(folder)
    ranges, lines = _ranges(sweep), []
    if (sweep.get("pruner") or {}).get("name") == "asynchronous_halving":
        lines.append("- The search cannot be repeated: in asynchronous halving the faster worker decides who goes on.")
    figures = (*(sweep.get("objectives") or {}), *(sweep.get("constraints") or {}))
    counted = all(entry.memory.step is not None for entry in shown)
    if measured := [name for name in dict.fromkeys(figures) if is_measured(name, counted)]:
        lines.append(f"- The search cannot be repeated: it learned from what is measured, {', '.join(measured)}.")
    for entry in shown:
        found = [*entry.notes, *_edges(entry, ranges.get(entry.arm.partition(",")[0], ranges[""]))]
        if found:
            lines.append(f"- {entry.arm} (trial {entry.trial}): {'; '.join(found)}")
    return ["\n".join(["To bear in mind:", *lines])] if lines else []


def caveats_again(runs: Mapping[str, Sequence[Record]], folder: Path) -> list[str]:
    """The caveats about each arm's trials with fresh seeds; one that several trials of an arm share is given once."""
    ranges, lines = _ranges(stored_sweep(folder)), []
    for arm, again in runs.items():
        alike: dict[str, list[tuple[int, str]]] = {}
        for entry in again:
            for note in (*entry.notes, *_edges(entry, ranges.get(arm.partition(",")[0], ranges[""]))):
                alike.setdefault(_NUMBER.sub("", note), []).append((entry.trial, note))
        found = [_told(notes, len(again)) for notes in alike.values()]
        if found:
            lines.append(f"- {arm}: {'; '.join(found)}")
    return ["\n".join(["To bear in mind of the trials that confirm:", *lines])] if lines else []


def _told(notes: Sequence[tuple[int, str]], trials: int) -> str:
    (first, note), said = notes[0], {note for _, note in notes}
    where = f"{len(notes)} of {trials} trials"
    return f"{note} ({where}{f', such as trial {first}' if len(said) > 1 else ''})"


def _ranges(sweep: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The ranges of the study, and under its name those of each baseline."""
    searched = {key: bounds for key, bounds in sweep.get("scientific", {}).items() if isinstance(bounds, Mapping)}
    baselines = {name: arm.get("nuisance", {}) for name, arm in sweep.get("baselines", {}).items()}
    return {"": searched | sweep.get("nuisance", {})} | baselines


def _edges(entry: Record, ranges: Mapping[str, Any]) -> Iterator[str]:
    for key, value in entry.point.items():
        if "low" not in (bounds := ranges.get(key) or {}):
            continue  # a choice has no edge
        low, high, at = bounds["low"], bounds["high"], value
        if bounds.get("log"):
            low, high, at = math.log(low), math.log(high), math.log(value)
        place = (at - low) / (high - low)
        if min(place, 1 - place) < _EDGE:
            side = "low" if place < 0.5 else "high"
            yield f"{key}={value:g} won at the {side} edge of [{bounds['low']:g}, {bounds['high']:g}]: widen it"
