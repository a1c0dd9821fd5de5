"""Single-task scores, with which several tasks together are compared."""

import json
from collections.abc import Collection, Mapping

from harness.config.tree import nearest


def objectives_beside(alone: Mapping[str, float] | None) -> tuple[str, ...]:
    """Return the objectives for several tasks: also their joint gain, if there are single-task scores."""
    return ("score", "loss") if alone is None else ("score", "loss", "delta_m")


def alone_mistakes(alone: Mapping[str, float] | None, known: Collection[str], chosen: Collection[str]) -> list[str]:
    """Return the errors in single-task scores as a reference for several tasks together."""
    if alone is None:
        return []
    absent = [name for name in chosen if name not in alone]
    return [
        *unknown_names("task.alone", list(alone), known),
        *(f"task.alone: {name} has none; the validation score of the task by itself" for name in absent),
        *(f"task.alone.{name}=0: a gain in percent of nothing" for name, score in alone.items() if score == 0),
    ]


def unknown_names(key: str, names: list[str] | None, tasks: Collection[str]) -> list[str]:
    """Return an error for each name of no task, with the nearest valid one."""
    return [
        f"{key}={json.dumps(names)}: no task {name}{nearest(name, tasks)}" for name in names or () if name not in tasks
    ]
