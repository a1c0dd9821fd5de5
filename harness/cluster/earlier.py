"""Earlier results that the search may use for a trial: earlier trials of its arm, identical trials, its own costs."""

import dataclasses
from collections.abc import Callable, Sequence

from harness import record
from harness.cluster.assignments import Assignment, AssignmentLog, Slot
from harness.config import Config
from harness.record import Log, Record
from harness.record.figures import COUNTED, figure
from harness.search.plan import Earlier
from harness.trial.fingerprints import environment_of


def earlier_trials(slot: Slot, slots: Sequence[Slot], assignments: AssignmentLog, log: Log) -> list[Earlier]:
    """The arm's earlier trials in their order, of those that must not be seen yet the points alone."""

    def seen(other: Slot) -> Earlier:
        last, entry = assignments.last(other.number), log.get(other.number)
        if entry is None and slot.arm.hasty:
            entry = next(reversed(assignments.halts(other.number)), None)
        if other.index < slot.arm.seen_by(slot.index) and entry is not None:
            return Earlier(entry.point, entry)
        assert last is not None, "trials are assigned in their order"
        return Earlier(last.point, None)

    mine = (other for other in slots if other.arm.name == slot.arm.name and other.phase == "search")
    return [seen(other) for other in mine if other.index < slot.index]


def neighbour_trials(slot: Slot, slots: Sequence[Slot], log: Log) -> list[list[Earlier]]:
    """Return, for each neighbour of a transferring arm, the ended trials that the arm's proposal may use."""
    found: dict[str, list[Earlier]] = {}
    for other in slots if slot.arm.transfer else ():
        entry = log.get(other.number)
        near = other.arm.transfer and other.arm.name != slot.arm.name and other.phase == "search"
        if near and entry is not None and other.index < slot.arm.seen_by(slot.index):
            found.setdefault(other.arm.name, []).append(Earlier(entry.point, entry))
    return list(found.values())


def looked_up(
    known: Sequence[Record], fingerprint: str, slot: Slot, assignment: Assignment, config: Callable[[], Config]
) -> Record | None:
    """The record of a complete trial of the same configuration as this trial's, with the reason; None without one."""
    entry = record.find_complete(known, fingerprint)
    if entry is None:
        return None
    reason = f"same configuration as trial {entry.trial}: {record.looked_up(entry, environment_of(config()))}"
    arm = slot.arm.name_of(assignment.point)
    asked = dataclasses.replace(entry, trial=slot.number, arm=arm, phase=slot.phase)
    return dataclasses.replace(asked, point=assignment.point, reason=reason, reports=[])


def costs_so_far(so_far: Record) -> dict[str, float]:
    """The figures of a trial that are known while it trains."""
    return {name: found for name in COUNTED if (found := figure(so_far, name))}
