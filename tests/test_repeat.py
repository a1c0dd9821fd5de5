"""A recorded trial trained again: the same numbers, beside the record; what cannot be repeated is said."""

import json

import pytest
import yaml

from harness import record
from harness.trial import run as run_module
from tests.tiny import DEVICE, words_of


@pytest.fixture
def trained(run_here, tiny_base, tiny_data, tmp_path, own_cache):
    """The folder of a trial that was trained."""
    small = [*DEVICE, "trainer.batch_size=8", "trainer.max_steps=4", "trainer.evaluations=1", "lora.rank=2"]
    code, _, said = run_here("run=trial", "study=s", "tracking=off", *words_of(tiny_base, tiny_data), *small)
    assert code == 0, said
    return tmp_path / "results/s"


def test_a_trial_is_repeated_to_the_last_digit_as_often_as_one_likes(run_here, trained):
    (before,) = record.read(trained)
    for count in (1, 2):
        code, said, _ = run_here("run=repeat", "study=s", "trial=0")
        assert code == 0
        scores = [line for line in said.splitlines() if line.startswith(("  val ", "  test "))]
        assert len(scores) == sum(map(len, before.scores.values())) > 0
        assert all(line.endswith(": equal") for line in scores)
        (after,) = record.read(trained / f"repeats/0000-{count}")
        assert after.scores == before.scores
        assert (trained / f"repeats/0000-{count}" / after.adapter.path).exists()
    assert record.read(trained) == [before]


def test_what_was_not_recorded_is_not_repeated(run_here, trained):
    code, said, why = run_here("run=repeat", "study=s", "trial=7")
    assert (code, said) == (2, "")
    assert why == "trial=7: study=s has no record of it; valid: 0\n"
    assert not (trained / "repeats").exists()


def test_a_trial_of_several_devices_is_not_repeated_on_one(run_here, trained):
    path = trained / "trials/0000/config.yaml"
    tree = yaml.safe_load(path.read_text())
    path.write_text(json.dumps(tree | {"trainer": tree["trainer"] | {"devices": 2}}))
    code, _, why = run_here("run=repeat", "study=s", "trial=0")
    assert code == 2
    assert why == "trial=0: trained with trainer.devices=2; run=repeat takes one device\n"
    assert not (trained / "repeats").exists()


def test_a_repetition_that_fails_says_why(run_here, trained, monkeypatch):
    def broken(trial):
        raise ArithmeticError("a defect")

    monkeypatch.setattr(run_module, "train_and_evaluate", broken)
    code, said, why = run_here("run=repeat", "study=s", "trial=0")
    assert code == 70
    assert "not reached" in said
    assert "trial 0, trained again, failed: error: ArithmeticError: a defect" in why
    (after,) = record.read(trained / "repeats/0000-1")
    assert after.state == "fail"
