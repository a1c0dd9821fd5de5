"""Which trials of a study are merged: those that confirm or are scored on test, and all where a search is about it."""

from types import SimpleNamespace

import pytest

from harness.cluster.assignments import Assignment, search_schedule
from harness.cluster.packs import PackedTrials
from harness.cluster.worker import Worker
from harness.search.plan import SearchPlan

SEARCH = ("run=study", "sweep=rank_alpha_lr", "sweep.test=false", "sweep.confirm={}")


@pytest.mark.parametrize(
    ("words", "phase", "tested", "compared"),
    [
        ((), "search", False, False),
        ((), "confirm", True, True),
        (("sweep.test=true",), "search", True, True),
        (("sweep.objectives={val: maximize, latency: minimize}",), "search", False, True),
        (("sweep.constraints={merge.latency_apart_s: 0.1}",), "search", False, True),
        (("sweep.objectives={val: maximize, memory: minimize}",), "search", False, False),
    ],
)
def test_a_trial_is_merged_where_somebody_reads_it(words, phase, tested, compared, compose, tmp_path):
    config = compose(*SEARCH, *words)
    slot = search_schedule(config.sweep, 0)[0]
    slot = SimpleNamespace(number=slot.number, arm=slot.arm, phase=phase)
    worker = SimpleNamespace(
        config=config, sweep=config.sweep, plan=SearchPlan.of(config), packed=PackedTrials(), folder=tmp_path
    )
    context = Worker.context_of(worker, slot, Assignment(0, 1, "w", {}), tmp_path)
    assert (context.test, context.compares) == (tested, compared)
