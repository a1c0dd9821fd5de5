"""The trials of a study that wait at rungs: which go on, and the records of those that do not."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import groupby

from harness.cluster.assignments import Assignment, AssignmentLog, Slot
from harness.record import Log, Record
from harness.record.figures import figure
from harness.search.halving import BracketTrial, Verdict, asynchronous, reduction_of, synchronous
from harness.search.plan import SearchPlan


@dataclasses.dataclass(frozen=True)
class Settled:
    """The numbers of trials that go on; of those that have ended at their rungs the last attempts, and the records."""

    promoted: frozenset[int] = frozenset()
    dropped: Sequence[tuple[Assignment, Record]] = ()


def settle(plan: SearchPlan, slots: Sequence[Slot], assignments: AssignmentLog, log: Log) -> Settled:
    """Decide from the records which waiting trials of all arms continue; empty if no trial ever waits."""
    if not plan.halves:
        return Settled()
    promoted: set[int] = set()
    dropped: list[tuple[Assignment, Record]] = []
    for members in _brackets(slots):
        verdict = _verdict(plan, members, assignments, log)
        promoted |= {members[at].number for at in verdict.promoted}
        for at, reason in verdict.dropped.items():
            last, (*_, halted) = assignments.last(members[at].number), assignments.halts(members[at].number)
            assert last is not None
            dropped.append((last, dataclasses.replace(halted, reason=reason)))
    return Settled(frozenset(promoted), dropped)


def promoted_first(slots: Iterable[Slot], promoted: Set[int], assignments: AssignmentLog) -> list[Slot]:
    """Slots whose turn it is, those that go on from a rung before those that begin; without those that wait."""
    free = (slot for slot in slots if slot.number in promoted or not assignments.waits(slot.number))
    return sorted(free, key=lambda slot: slot.number not in promoted)


def _brackets(slots: Sequence[Slot]) -> list[list[Slot]]:
    """The slots of the search whose trials are compared with one another."""

    def bracket(slot: Slot) -> tuple[str, int]:
        return slot.arm.name, slot.index // slot.arm.bracket if slot.arm.bracket else 0

    searched = sorted((slot for slot in slots if slot.phase == "search"), key=bracket)
    return [list(members) for _, members in groupby(searched, bracket)]


def _verdict(plan: SearchPlan, members: Sequence[Slot], assignments: AssignmentLog, log: Log) -> Verdict:
    assert plan.pruner is not None
    trials = [_bracket_trial(plan, slot, assignments, log) for slot in members]
    factor = reduction_of(plan.pruner)
    if members[0].arm.hasty:
        return asynchronous(trials, factor)
    return synchronous(trials, factor)


def _bracket_trial(plan: SearchPlan, slot: Slot, assignments: AssignmentLog, log: Log) -> BracketTrial:
    ended = assignments.done(slot.number, log)
    constraints = {} if slot.arm.baseline else plan.constraints
    scores = [
        -math.inf if _breaks(entry, constraints) else plan.sign * entry.score("val", plan.objective)
        for entry in assignments.halts(slot.number)
    ]
    return BracketTrial(scores, ended, waiting=assignments.waits(slot.number) and not ended)


def _breaks(entry: Record, constraints: Mapping[str, float]) -> bool:
    """Return whether a trial is known to break a constraint; for some, that is known only when it has ended."""
    found = ((figure(entry, name), most) for name, most in constraints.items())
    return any(value is not None and value > most for value, most in found)
