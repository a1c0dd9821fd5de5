"""What the search may know of a trial: the earlier trials of its arm, and its own costs."""

from collections.abc import Sequence

from harness.cluster.assignments import AssignmentLog, Slot
from harness.config import Config
from harness.record import Log
from harness.record.figures import COUNTED
from harness.search.plan import Earlier
from harness.trial.adapt import count


def earlier_trials(slot: Slot, slots: Sequence[Slot], assignments: AssignmentLog, log: Log) -> list[Earlier]:
    """The arm's earlier trials in their order, of those within its lag the points alone."""

    def seen(other: Slot) -> Earlier:
        last, entry = assignments.last(other.number), log.get(other.number)
        if other.index < slot.index - slot.arm.lag and entry is not None:
            return Earlier(entry.point, entry)
        assert last is not None, "trials are assigned in their order"
        return Earlier(last.point, None)

    mine = (other for other in slots if other.arm.name == slot.arm.name and other.phase == "search")
    return [seen(other) for other in mine if other.index < slot.index]


def counted_costs(config: Config) -> dict[str, float]:
    """The figures of a trial that its shapes say."""
    counted = count(config)["params"]
    return {name: float(counted.get(name.partition(".")[2], 0)) for name in COUNTED}
