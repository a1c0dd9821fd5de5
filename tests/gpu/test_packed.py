"""Packs on a GPU: each trial is the trial that it is alone, and a further one costs few launches."""

import pytest
import torch

from harness.training import Pack
from tests.trial.test_packed import MIXED, Trials

GPU = ("trainer.accelerator=gpu", "trainer.max_steps=20", "trainer.evaluations=2")


@pytest.fixture
def trials(compose, tmp_path, own_cache):
    return Trials(compose, tmp_path)


@pytest.mark.parametrize(
    ("precision", "dropout", "tolerance"),
    [("32-true", 0.0, 1e-4), ("32-true", 0.1, 1e-4), ("bf16-mixed", 0.0, 3e-2), ("bf16-mixed", 0.1, 3e-2)],
)
def test_trials_of_a_pack_are_the_trials_that_they_are_alone(trials, caplog, precision, dropout, tolerance):
    more = (*GPU, f"trainer.precision={precision}", f"model.dropout={dropout}", f"lora.dropout={dropout}")
    words = [(*each, *more) for each in MIXED]
    for place, each in enumerate(words):
        trials.run(f"alone{place}", each)
    with caplog.at_level("INFO"):
        found = trials.packed(*words)
    assert [entry.state for entry in found] == ["complete"] * 3
    assert not [line for line in caplog.messages if "by itself" in line]
    for place in range(3):
        mine, theirs = trials.curve(f"alone{place}"), trials.curve(f"packed{place}")
        assert [row["step"] for row in mine] == [row["step"] for row in theirs]
        losses = [[row["train_loss"] for row in curve if "train_loss" in row] for curve in (mine, theirs)]
        assert losses[0] == pytest.approx(losses[1], abs=tolerance)


def test_a_pack_that_does_not_fit_is_halved(trials, monkeypatch):
    """The memory of the process is cut to less than a pass of four trials takes."""
    words = [
        (*GPU, *MIXED[0], "trainer.precision=32-true", "trainer.batch_size=84", f"seed={seed}") for seed in range(4)
    ]
    pack, plain = Pack(), torch.cuda.memory_allocated
    total, begin = torch.cuda.get_device_properties(0).total_memory, Pack._begin_pass

    def scarce(self, group):
        if self.most is None and len(group) == 4:  # from the first pass of all on
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction((plain() + 2**20) / total)
        try:
            begin(self, group)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    monkeypatch.setattr(Pack, "_begin_pass", scarce)
    assert [entry.state for entry in trials.packed(*words, pack=pack)] == ["complete"] * 4
    assert pack.most == 2
