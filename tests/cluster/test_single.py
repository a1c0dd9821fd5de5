"""Single trials: a folder that collects them, each found again by its configuration."""

import dataclasses
import json
import shutil

import pytest
import yaml

from harness import record
from harness.cluster.single import TrialProgress, join_single
from harness.cluster.worker import TrialAttempt
from harness.config import to_dict, to_yaml
from harness.system.signals import Interrupted
from harness.trial.fingerprints import fingerprint_of
from tests.cluster.stub import stub


@pytest.fixture
def run(tmp_path, own_cache):
    """Run a trial that costs nothing, or leave it unfinished; returns its record and the folder of the attempt."""

    def go(config, stop=False):
        config = dataclasses.replace(config, results=str(tmp_path / "results"), study="single")
        with join_single(config) as worker:
            for attempt in worker.attempts(TrialProgress()):
                with worker.requeued_on_error(attempt):
                    (attempt.context.folder / "config.yaml").write_text(to_yaml(to_dict(attempt.config)))
                    (attempt.context.folder / "checkpoint").mkdir(exist_ok=True)
                    (attempt.context.folder / "checkpoint" / str(attempt.assignment.attempt)).touch()
                    if stop:
                        raise Interrupted(2)
                    attempt.accept(stub(0.0)(attempt.config, attempt.context, attempt.report))
                break
            return worker.log.get(worker.slots[0].number), attempt.context.folder

    return go


def test_trials_of_other_configurations_are_collected_in_one_folder(run, compose, tmp_path):
    for rank in (1, 2):
        entry, _ = run(compose(f"lora.rank={rank}"))
        assert (entry.trial, entry.arm, entry.attempt) == (rank - 1, "lora", 1)
    kept = [yaml.safe_load((tmp_path / f"results/single/trials/{n:04d}/config.yaml").read_text()) for n in (0, 1)]
    assert [tree["lora"]["rank"] for tree in kept] == [1, 2]
    assert [entry.trial for entry in record.read(tmp_path / "results/single")] == [0, 1]


def test_a_trial_that_was_left_is_found_again_by_its_configuration(run, compose, tmp_path):
    with pytest.raises(Interrupted):
        run(compose("lora.rank=1"), stop=True)
    other, _ = run(compose("lora.rank=2"))
    assert other.trial == 1, "what the first has left is not written over"
    entry, folder = run(compose("lora.rank=1", "tracking.project=elsewhere"))
    assert (entry.trial, entry.attempt) == (0, 2)
    assert not folder.exists(), "it has the trial's own name by now"
    assert (tmp_path / "results/single/trials/0000/record.json").exists()


def test_a_trial_may_be_left_any_number_of_times(run, compose):
    for _ in range(6):
        with pytest.raises(KeyboardInterrupt):  # nothing is put back, as after a kill
            _killed(run, compose("lora.rank=1"))
    entry, _ = run(compose("lora.rank=1"))
    assert (entry.trial, entry.state) == (0, "complete")


def _killed(run, config):
    def die(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrialProgress, "scores", die)
        run(config)


def test_a_folder_of_the_version_before_is_read_and_its_checkpoint_taken_up(run, compose, tmp_path):
    """It had no log of attempts, and an unfinished trial had its own name from the start."""
    config = compose("lora.rank=1")
    run(compose("lora.rank=2"))
    folder = tmp_path / "results/single"
    (folder / "attempts.jsonl").unlink()
    shutil.rmtree(folder / ".locks")
    left = folder / "trials/0001"
    (left / "checkpoint").mkdir(parents=True)
    (left / "checkpoint/00000005.pt").touch()
    (left / "config.yaml").write_text(to_yaml(to_dict(config)))
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TrialAttempt, "report", lambda self, *_: bool(seen.extend((self.folder / "checkpoint").iterdir()))
        )
        entry, _ = run(config)
    assert entry.trial == 1
    assert "00000005.pt" in {path.name for path in seen}
    assert [json.loads(line)["trial"] for line in (folder / "records.jsonl").read_text().splitlines()] == [0, 1]
    assert entry.fingerprint == fingerprint_of(config)


def test_the_status_of_single_trials_is_told_and_what_needs_a_study_says_what_they_are(
    run, compose, tmp_path, run_here, monkeypatch
):
    run(compose("lora.rank=1"))
    with pytest.raises(Interrupted):
        run(compose("lora.rank=2"), stop=True)
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_here("run=status", "study=single")
    assert (code, out.splitlines()) == (0, ["1 of 2 trials are recorded (1 complete)", "no worker is running"])
    with join_single(dataclasses.replace(compose("lora.rank=2"), results="results", study="single")):
        _, out, _ = run_here("run=status", "study=single")
        assert out.splitlines()[1].endswith("is free")
    for command in ("rebuild", "confirm"):
        code, _, said = run_here(f"run={command}", "study=single")
        assert code == 2
        assert "study=single: single trials of run=trial in results, no study" in said
    code, _, said = run_here("run=status", "study=other")
    assert code == 2
    assert "no such study" in said
