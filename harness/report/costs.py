"""The costs of the confirmed arms: exact figures, and measured ones with their spread."""

import statistics
from collections.abc import Callable, Sequence

from harness.record import Record
from harness.report.confirmed import Confirmation, Confirmed
from harness.report.table import MIB, markdown, step_seconds

_BUSY = 0.5  # processes more than cores


def section(found: Confirmation) -> str:
    """A row for each confirmed arm. Its trials ran seed by seed over all arms, so each is measured as many times."""
    counted = all(run.memory.step is not None for each in found.arms for run in each.runs)
    header = [
        "arm",
        "trained",
        "weights + gradients + optimiser MiB",
        *(("with a step's tensors MiB",) if counted else ()),
        "GFLOP a step",
        "peak MiB [range]",
        "step ms [range]",
        "CPU ms a step [range]",
        "load [range]",
    ]
    rows = [header, *(_row(each, counted) for each in found.arms)]
    return "\n\n".join(["## Costs", markdown(rows), _notes(found.arms)])


def _row(each: Confirmed, counted: bool) -> list[str]:
    entry = each.entry
    held = entry.memory.parameters + entry.memory.gradients + entry.memory.optimizer
    return [
        each.arm,
        f"{entry.parameters.trainable:,}",
        f"{held / MIB:.1f}",
        *((f"{entry.memory.needed / MIB:.1f}",) if counted else ()),
        f"{entry.flops.step / 1e9:.1f}",
        _spread([run.memory.above_process / MIB for run in each.runs], "{:.0f}"),
        _spread([1_000 * step_seconds(run) for run in each.runs], "{:.0f}"),
        _spread([1_000 * value for value in _known(each.runs, lambda run: run.time.step_cpu_s)], "{:.0f}"),
        _spread(_known(each.runs, lambda run: run.time.load), "{:.1f}"),
    ]


def _known(runs: Sequence[Record], figure: Callable[[Record], float | None]) -> list[float]:
    return [value for run in runs if (value := figure(run)) is not None]


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} [{low}, {high}]"


def _notes(arms: Sequence[Confirmed]) -> str:
    kind = arms[0].entry.memory.kind
    said = (
        "Weights, gradients and optimiser states are exact, from shapes; operations, attention's included, and what a "
        "step's tensors hold at once are counted. "
        f"Peak ({kind}), times and load are medians over seeds, with the least and the most."
    )
    if busy := _busy(arms):
        said += f" Times do not compare: more wanted the processor than there are cores ({busy})."
    return said


def _busy(arms: Sequence[Confirmed]) -> str:
    """The trial during which more wanted the processor than there are cores by most, and its load; empty for none."""
    runs = [run for each in arms for run in each.runs if run.time.load is not None]
    beyond = {run.trial: (run.time.load or 0.0) - float(run.provenance.hardware.get("cores") or 1) for run in runs}
    worst = max(runs, key=lambda run: beyond[run.trial], default=None)
    if worst is None or beyond[worst.trial] <= _BUSY:
        return ""
    return f"load {worst.time.load:.1f} on {worst.provenance.hardware.get('cores') or 1} cores in trial {worst.trial}"
