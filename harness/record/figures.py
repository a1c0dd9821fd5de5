"""Figures of a trial by name, as objectives and constraints of a search have them; none is of the test split."""

from collections.abc import Iterator

from harness.record.fields import Section, TableColumn, fields_of
from harness.record.sections import Record

SHORT = {
    "trained_parameters": "parameters.trainable",
    "adapter_parameters": "parameters.adapter",
    "memory": "memory.needed",
    "step_time": "time.step_median_s",
    "latency": "merge.latency_merged_s",
    "adapter_bytes": "adapter.bytes",
    "flops": "flops.step",
}
"""Short names of figures that searches are often about."""

COUNTED = ("parameters.trainable", "parameters.adapter", "flops.step", "flops.forward", "memory.needed", "memory.step")
"""Figures that are known at a trial's first evaluation; only memory that a GPU measures may still grow."""


_OF_TEST = ("continual_summary",)


def full_name(name: str) -> str:
    """The section and the field of a figure: of a short name what it stands for."""
    return SHORT.get(name, name)


def is_measured(name: str, memory_counted: bool) -> bool:
    """Return whether a figure differs between runs of a trial: seconds, and memory that is not counted."""
    section, _, field = full_name(name).partition(".")
    counted = memory_counted and field in ("needed", "step")
    return section == "time" or "latency" in field or (section == "memory" and not counted)


def figure(entry: Record, name: str) -> float | None:
    """A figure of a trial; None where it was not reached.

    `val` is the validation score of the trial's objective, `val.METRIC` another one, `section.field` a field, and
    `forgetting` what tasks learned one after another lost on validation, on the mean.
    """
    if name == "forgetting":
        return _forgetting(entry.continual.val)
    section, _, field = full_name(name).partition(".")
    if section == "val":
        found = entry.scores.get("val", {}).get(field or entry.objective)
    else:
        part = getattr(entry, section)
        found = getattr(part, field) if part else None
    return None if found is None else float(found)


def figure_names() -> list[str]:
    """Every name but those of single metrics: short ones first."""
    return ["val", *SHORT, "forgetting", *_fields()]


def _forgetting(scores: list[list[float]]) -> float | None:
    """The best score that each task but the last ever had, less its last one: the mean over those tasks."""
    if len(scores) < 2:
        return None
    lost = [max(row[task] for row in scores[task:]) - scores[-1][task] for task in range(len(scores) - 1)]
    return sum(lost) / len(lost)


def _fields() -> Iterator[str]:
    for section in fields_of(Record):
        if isinstance(section.kind, type) and issubclass(section.kind, Section) and section.name not in _OF_TEST:
            for field in fields_of(section.kind):
                if isinstance(field.mark, TableColumn) and field.mark.better:
                    yield f"{section.name}.{field.name}"
