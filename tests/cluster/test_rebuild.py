"""Both mirrors are made again from the records: what they then hold is what they held."""

import json
import shutil
import time

import pytest

from harness import record
from harness.cluster.rebuild import rebuild
from harness.cluster.study import begin_study
from harness.cluster.worker import join
from harness.config import check, to_dict
from harness.training import Trainer
from tests.offline_runs import inspect


@pytest.fixture
def study(tree, own_cache, monkeypatch):
    """A study of real trials whose W&B runs are offline: three are complete, the one of rank 2 ran out of memory."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    composed = tree(
        "sweep=rank_alpha_lr", "run=study", "study=s", "tracking=wandb", "tracking.mode=offline", "trainer.max_steps=20"
    )
    composed["sweep"] |= {"scientific": {"lora.rank": [1, 2]}, "trials": 1}
    config = check(composed)
    folder = begin_study(config)
    fit = Trainer.fit

    def greedy(trainer, module, *loaders):
        fit(trainer, module, *loaders)
        if sum(entry.trial == 0 for entry in record.read(folder)) == len(record.read(folder)) == 1:
            raise MemoryError

    monkeypatch.setattr(Trainer, "fit", greedy)
    with join(config, folder) as worker:
        worker.work()
    return config, folder


def runs(folder):
    """The offline runs by name: configuration, summary, history, exit code, as W&B's own reader prints them."""
    found = {}
    for run in sorted((folder / "wandb").glob("offline-run-*")):
        told = json.loads(inspect(run, "--summary"))
        items = [line["history"]["item"] for line in map(json.loads, inspect(run).splitlines()) if "history" in line]
        history = [(item["_step"], _own(item)) for item in items]
        found[told["name"]] = (told["config"], _own(told["summary"]), history, told["exit_code"])
    return found


def _own(item):
    """Without what W&B adds, and without the table of layers, whose address it draws."""
    return {key: value for key, value in item.items() if not key.startswith(("_", "layers"))}


def whole(folder, count):
    """The runs, once another process has written all of them."""
    until = time.monotonic() + 20
    while len(found := runs(folder)) < count or None in {code for *_, code in found.values()}:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


def test_runs_made_again_are_the_runs_that_there_were(study):
    config, folder = study
    before = whole(folder, 4)
    shutil.rmtree(folder / "wandb")
    said = rebuild(config, folder)
    assert said.endswith("4 trials in Optuna's study, 4 runs in W&B's mirror")
    after = whole(folder, 5)
    assert after.pop("s")[1]["count/complete"] == 3
    assert {name: run[0] for name, run in after.items()} == {name: run[0] for name, run in before.items()}
    assert {name: run[2:] for name, run in after.items()} == {name: run[2:] for name, run in before.items()}
    for entry in record.read(folder):
        settings, summary, history, code = after[f"{entry.arm}-{entry.trial:04d}"]
        assert settings["seed"] == config.seed
        figures = record.tracked(entry, config.model.shape.hidden)
        assert {key: summary[key] for key in figures} == json.loads(json.dumps(figures))
        assert code == (entry.state == "fail")
        assert [step for step, _ in history] == [10, 20]
        assert history[-1][1]["val_accuracy"] == pytest.approx(entry.reports[-1][1])
    # Made once more they take the place of those that are there.
    rebuild(config, folder)
    assert whole(folder, 5).keys() == after.keys() | {"s"}
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 5


def test_without_tracking_no_run_is_made(study, monkeypatch):
    config, folder = study
    shutil.rmtree(folder / "wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    off = check(to_dict(config) | {"tracking": to_dict(config)["tracking"] | {"mode": "off"}})
    for part in (off, check(to_dict(config) | {"tracking": to_dict(config)["tracking"] | {"mode": "auto"}})):
        assert rebuild(part, folder).endswith("4 trials in Optuna's study, 0 runs in W&B's mirror")
    assert not (folder / "wandb").exists()
