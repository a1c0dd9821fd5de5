"""Successive halving whose trials wait at rungs: where they halt, which of them go on, and which have ended.

Synchronous (Jamieson and Talwalkar, 2016): a bracket of trials halts at each rung until all of it is there; the best go
on. It is a function of the scores, whoever trains what. Asynchronous (Li et al., 2020, ASHA): a trial goes on as soon
as it is among the best of those that have come to its rung so far, which depends on who is faster.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

REDUCTION = 3
"""One of so many trials goes on from a rung, unless `reduction_factor` says otherwise."""


def reduction_of(pruner: Mapping[str, Any]) -> int:
    """Return the number of trials at a rung for each one that continues."""
    factor: int = pruner.get("reduction_factor", REDUCTION)
    return factor


def halts(pruner: Mapping[str, Any], reports: Iterable[int], step: int, halted_at: int) -> bool:
    """Return whether a trial halts at its evaluation after `step`: it has passed a rung since it last halted.

    Rungs are steps: `min_resource`, or the step of the trial's first evaluation, times powers of the reduction.
    """
    first, factor = pruner.get("min_resource") or min(reports), reduction_of(pruner)
    return _passed(step, first, factor) > _passed(halted_at, first, factor)


def _passed(step: int, first: int, factor: int) -> int:
    count = 0
    while first * factor**count <= step:
        count += 1
    return count


@dataclasses.dataclass(frozen=True)
class BracketTrial:
    """A trial in its bracket: its score at each rung that it has halted at, more is better, and whether it has ended.

    One that is `waiting` halted at the last of them, and nobody trains it.
    """

    scores: Sequence[float] = ()
    ended: bool = False
    waiting: bool = False


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The places of waiting trials that go on, and of those that have ended, with the reason."""

    promoted: frozenset[int] = frozenset()
    dropped: Mapping[int, str] = dataclasses.field(default_factory=dict)


def synchronous(bracket: Sequence[BracketTrial], factor: int) -> Verdict:
    """Decide which trials of a bracket continue: the best at each rung that all its trials have reached.

    That is one in `factor`, and at least one, counting trials that ended on the way. Of equal scores the earlier trial
    is the better one.
    """
    promoted: set[int] = set()
    dropped: dict[int, str] = {}
    entrants, rung = list(range(len(bracket))), 0
    while all(len(bracket[at].scores) > rung or bracket[at].ended for at in entrants):
        there = _best_first(bracket, entrants, rung)
        if not there:
            break
        most = max(1, len(entrants) // factor)
        for place, at in enumerate(there, 1):
            if bracket[at].waiting and len(bracket[at].scores) == rung + 1:
                if place <= most:
                    promoted.add(at)
                else:
                    dropped[at] = f"halving: place {place} of {len(entrants)} at rung {rung + 1}; {most} went on"
        entrants, rung = there[:most], rung + 1
    return Verdict(frozenset(promoted), dropped)


def asynchronous(trials: Sequence[BracketTrial], factor: int) -> Verdict:
    """Decide which trials continue now: the best one in `factor` of those that have reached a rung.

    Once no trial runs or is still to come, the best at each rung continues, too; if it already has, the waiting ones
    end.
    """
    closing = all(trial.ended or trial.waiting for trial in trials)
    promoted: set[int] = set()
    for rung in range(max((len(trial.scores) for trial in trials), default=0)):
        there = _best_first(trials, range(len(trials)), rung)
        most = max(1, len(there) // factor) if closing else len(there) // factor
        promoted |= {at for at in there[:most] if trials[at].waiting and len(trials[at].scores) == rung + 1}
    if promoted or not closing:
        return Verdict(frozenset(promoted))
    reason = "halving: not among the best of its rung"
    return Verdict(dropped={at: reason for at, trial in enumerate(trials) if trial.waiting})


def _best_first(trials: Sequence[BracketTrial], among: Iterable[int], rung: int) -> list[int]:
    there = [at for at in among if len(trials[at].scores) > rung]
    return sorted(there, key=lambda at: (-trials[at].scores[rung], at))
