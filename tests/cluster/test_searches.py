"""Samplers and pruners by name, with trials that may run beside each other: as many workers as may be, same records."""

import pytest

from harness.config import check
from tests.cluster import crowd, stub

SPACE = {
    "optimizer.lr": {"low": 5e-4, "high": 4e-3, "log": True},
    "lora.rank": {"low": 1, "high": 8, "integer": True, "log": True},
    "lora.scale": {"low": 0.5, "high": 4.0},
}
SEARCHES = {
    "genetic": {"sampler": {"name": "nsgaii", "population_size": 4}, "pruner": {"name": "hyperband"}, "lag": 2},
    "model": {"sampler": "gp", "pruner": {"name": "percentile", "percentile": 20.0, "n_startup_trials": 2}, "lag": 3},
    "halving": {"sampler": {"name": "tpe", "multivariate": True}, "pruner": "successive_halving", "lag": 1},
}


@pytest.fixture
def config_of(tree):
    """One arm of ten trials and a baseline of as many."""

    def config_of(name, lease_s=3.0):
        composed = tree("sweep=rank_alpha_lr", "run=study", "study=s", f"launch.lease_s={lease_s}")
        del composed["sweep"]["baselines"]["head"]
        composed["sweep"] |= {"scientific": {"trainer.batch_size": [8]}, "nuisance": SPACE, "confirm": None}
        composed["sweep"] |= {"trials": 10, "startup": 3, "prune_after": None} | SEARCHES[name]
        return check(composed)

    return config_of


@pytest.mark.parametrize("name", SEARCHES)
def test_two_workers_leave_the_records_of_one(config_of, tmp_path, monkeypatch, name):
    stub.cheap(monkeypatch.setattr, 0.0)
    alone = crowd.same_for_any_number(config_of(name), tmp_path, 2, 20)
    states = {entry.state for entry in alone}
    assert states == {"complete", "pruned"}


def test_whoever_is_killed_the_records_are_those_of_one_worker(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    crowd.same_after_random_kills(config_of("genetic", 1.0), tmp_path, 0.06, 3, 20)


def test_trials_within_the_lag_run_beside_each_other(config_of, tmp_path, monkeypatch):
    """Of one arm with a lag of 3, four trials are begun before the first has ended."""
    stub.cheap(monkeypatch.setattr, 0.0)
    config, folder = crowd.begin(config_of("model"), tmp_path, "beside")
    crowd.wait(crowd.crowd(config, 4, 0.3))
    crowd.sound(folder, 20)
    order = [(words[0], int(words[1])) for words in crowd.notes(folder) if words[0] in ("begin", "end")]
    arm = [(what, number // 2) for what, number in order if number % 2 == 0]
    for at, (what, index) in enumerate(arm):
        ended = {other for kind, other in arm[:at] if kind == "end"}
        assert what == "end" or ended >= set(range(index - 3))
    running = [sum(1 if what == "begin" else -1 for what, _ in arm[: at + 1]) for at in range(len(arm))]
    assert 2 <= max(running) <= 4
