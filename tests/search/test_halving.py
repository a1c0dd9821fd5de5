"""Halving whose trials wait at rungs: where they halt, and that the right ones go on, whoever trains what when."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.search.halving import BracketTrial, asynchronous, halts, synchronous
from harness.search.plan import SearchPlan
from harness.search.pruning import rule


@pytest.mark.parametrize(
    ("pruner", "steps", "expected"),
    [
        ({"reduction_factor": 2}, [10, 20, 30, 40, 50, 80], [10, 20, 40, 80]),
        ({"reduction_factor": 3}, [10, 20, 30, 40, 90], [10, 30, 90]),
        ({}, [10, 20, 30, 40, 90], [10, 30, 90]),
        ({"reduction_factor": 2, "min_resource": 15}, [10, 20, 30, 40, 50, 60], [20, 30, 60]),
        ({"reduction_factor": 2, "min_resource": 4}, [10, 50], [10, 50]),
        ({"reduction_factor": 2}, [7, 13, 15, 29], [7, 15, 29]),
    ],
    ids=str,
)
def test_a_trial_halts_at_its_first_evaluation_from_each_rung_on(pruner, steps, expected):
    """Taken up again it reports its earlier evaluations once more, and halts at none of them."""
    plan = SearchPlan(seed=0, startup=1, objective="accuracy", pruner={"name": "synchronous_halving"} | pruner)
    found = []
    for _ in range(len(steps)):
        prunes, reports = rule(plan, [], halted_at=found[-1] if found else 0), {}
        for step in steps:
            reports[step] = 0.5
            if prunes(reports, step):
                found.append(step)
                break
    assert found == expected
    assert not halts(pruner, steps, steps[-1], steps[-1])


class World:
    """A bracket of trials with a score at each rung, trained by workers that take their turns at random."""

    def __init__(self, decide, table, factor, draw, fails=()):
        self.decide, self.table, self.factor, self.draw, self.fails = decide, table, factor, draw, fails
        self.legs, self.scores = [0] * len(table), [[] for _ in table]
        self.ended, self.waiting = [False] * len(table), [False] * len(table)
        self.complete, self.dropped_at = set(), {}

    def standings(self):
        return [BracketTrial(*each) for each in zip(self.scores, self.ended, self.waiting, strict=True)]

    def run(self, workers):
        running, begun = set(), 0
        while not all(self.ended):
            verdict = self.decide(self.standings(), self.factor)
            assert all(self.waiting[at] for at in (*verdict.promoted, *verdict.dropped))
            for at in verdict.dropped:
                self.ended[at], self.waiting[at], self.dropped_at[at] = True, False, len(self.scores[at])
            free = [*sorted(verdict.promoted), *([begun] if begun < len(self.table) else [])]
            assert free or running or all(self.ended), "nothing could ever go on"
            if free and len(running) < workers and (not running or self.draw.random() < 0.5):
                at = self.draw.choice(free)
                if at in verdict.promoted and self.decide is asynchronous:
                    self.check_promoted(at)
                begun += at == begun and at not in verdict.promoted
                running.add(at)
                self.waiting[at] = False
            elif running:
                self.finish_leg(running)
        return self

    def finish_leg(self, running):
        at = self.draw.choice(sorted(running))
        running.remove(at)
        self.legs[at] += 1
        if (at, self.legs[at]) in self.fails:
            self.ended[at] = True
        elif len(self.scores[at]) == len(self.table[at]):
            self.ended[at] = True
            self.complete.add(at)
        else:
            self.scores[at].append(self.table[at][len(self.scores[at])])
            self.waiting[at] = True

    def check_promoted(self, at):
        rung = len(self.scores[at]) - 1
        there = [each for each in self.scores if len(each) > rung]
        better = sum(each[rung] > self.scores[at][rung] for each in there)
        assert better < max(1, len(there) // self.factor)


TABLES = st.integers(1, 9).flatmap(
    lambda count: st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=count, max_size=count)
)


@given(TABLES, st.integers(2, 4), st.integers(1, 5), st.integers(0, 999))
def test_a_bracket_ends_as_in_the_textbook_whoever_is_faster(table, factor, workers, seed):
    world = World(synchronous, table, factor, random.Random(seed)).run(workers)
    alive, dropped = list(range(len(table))), {}
    for rung in range(3):
        best = sorted(alive, key=lambda at: (-table[at][rung], at))[: max(1, len(alive) // factor)]
        dropped |= {at: rung + 1 for at in alive if at not in best}
        alive = best
    assert world.complete == set(alive)
    assert world.dropped_at == dropped
    assert world.legs == [dropped.get(at, 4) for at in range(len(table))], "each leg once"


@given(TABLES, st.integers(2, 4), st.integers(1, 5), st.integers(0, 999))
def test_asynchronous_trials_go_on_when_they_are_among_the_best_and_all_come_to_an_end(table, factor, workers, seed):
    world = World(asynchronous, table, factor, random.Random(seed)).run(workers)
    assert world.complete
    assert world.complete | set(world.dropped_at) == set(range(len(table)))
    assert max(range(len(table)), key=lambda at: (table[at][0], -at)) not in world.dropped_at or len(table) > factor


def test_a_trial_that_fails_frees_no_place_and_holds_nobody_up():
    table = [[5, 5, 5], [4, 4, 4], [3, 3, 3], [2, 2, 2]]
    for decide in (synchronous, asynchronous):
        for fails in ({(0, 1)}, {(0, 2)}, {(at, 1) for at in range(4)}):
            world = World(decide, table, 2, random.Random(1), fails).run(2)
            assert all(world.ended)
    world = World(synchronous, table, 2, random.Random(1), {(0, 1)}).run(2)
    assert world.complete == {1}
    assert world.dropped_at == {2: 2, 3: 1}, "of four two places, and of three that were there the worst had none"


def test_asynchronous_halving_waits_for_nobody():
    def there(*scores):
        return [BracketTrial([score], waiting=True) for score in scores]

    running = BracketTrial()
    assert asynchronous([*there(1, 2), running], 3).promoted == set(), "of two none in three"
    assert asynchronous([*there(1, 2, 0), running], 3).promoted == {1}
    assert synchronous([*there(1, 2, 0), running], 3).promoted == set(), "the fourth is not there"
    assert asynchronous(there(1, 2), 3).promoted == {1}, "nobody is to come"
