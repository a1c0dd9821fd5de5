"""A trial that is put down at any step and taken up again ends as an undisturbed one, bit for bit."""

import dataclasses
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from harness.config import check, to_dict
from harness.record import plain
from harness.system.signals import Interrupted, graceful_stop
from harness.training import DivergenceCheck, TrialModule, callbacks, checkpoint
from harness.training.checkpoint import load, random_state, save, set_random_state
from harness.trial import TrialContext
from harness.trial.fingerprints import fingerprint_of
from harness.trial.run import run_trial
from tests.tiny import compose_tree

WORDS = ["trainer.epochs=20.0", "trainer.max_steps=48", "trainer.batch_size=16", "trainer.evaluations=4"]
CASES = {
    "dropout, several epochs": ["lora.dropout=0.3", "model.dropout=0.2"],
    "full": ["lora=full"],
    "adalora": ["lora=adalora", "lora.rank=2", "lora.targets=[query,value]"],
    "dylora": ["lora=dylora", "lora.rank=3"],
    "lora+, clipping": ["lora=lora_plus", "lora.rank=2", "optimizer.clip=0.5"],
    "accumulated": ["trainer.batch_size=3", "trainer.accumulate=5", "lora.dropout=0.3"],
    "muon": ["lora=full", "optimizer.name=Muon", "optimizer.head_lr=0.01", "optimizer.clip=0.5"],
    "patience": ["trainer.patience=1", "optimizer.lr=0.02"],
}


def train(config, folder: Path, stop_at: int | None = None, stop_in_test: int | None = None, signum=signal.SIGTERM):
    """Run a trial; a signal comes in the middle of step `stop_at`, or of so many batches of tests."""
    folder.mkdir(parents=True, exist_ok=True)
    steps, tests = [], []

    def on_step(guard, trainer, _):
        steps.append(trainer.step)
        if trainer.step == stop_at:
            os.kill(os.getpid(), signum)

    def on_test(module, batch):
        tests.append(len(batch["rows"]))
        if len(tests) == stop_in_test:
            os.kill(os.getpid(), signum)
        test_step(module, batch)

    before, test_step = DivergenceCheck.after_step, TrialModule.test_step
    DivergenceCheck.after_step, TrialModule.test_step = on_step, on_test
    try:
        with graceful_stop():
            entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda *_: False)
    except Interrupted:
        entry = None
    finally:
        DivergenceCheck.after_step, TrialModule.test_step = before, test_step
    return entry, steps


def essence(entry, folder):
    """What must be the same."""
    curve = (folder / "metrics.csv").read_text()
    steps, adapter = dataclasses.replace(entry.steps, resumed=None), dataclasses.replace(entry.adapter, path="")
    predictions = (folder / "predictions.csv").read_text()
    return entry.state, entry.scores, adapter, steps, entry.dead, entry.lora, curve, predictions


@pytest.mark.parametrize("case", CASES)
def test_a_trial_put_down_several_times_ends_as_an_undisturbed_one(compose, tmp_path, own_cache, case):
    config = compose(*WORDS, *CASES[case])
    alone, steps = train(config, tmp_path / "alone")
    assert alone.state == "complete", alone.reason
    made = alone.steps.made
    taken = []
    # After the first step, mid-epoch, before and after an evaluation, at an epoch's end, at the very end.
    for stop_at in sorted({1, 11, 12, 22, made} - set(range(made + 1, 99))):
        entry, part = train(config, tmp_path / "again", stop_at)
        taken += part
        assert entry is None, stop_at
    entry, part = train(config, tmp_path / "again")
    assert taken + part == steps, "a step was made twice or left out"
    assert entry.steps.resumed == made
    assert essence(entry, tmp_path / "again") == essence(alone, tmp_path / "alone")
    assert plain(entry.memory).keys() == plain(alone.memory).keys()
    assert not (tmp_path / "again" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("case", "signum"),
    [("dropout, several epochs", signal.SIGTERM), ("dylora", signal.SIGTERM), ("patience", signal.SIGINT)],
)
def test_a_stop_in_the_final_tests_loses_no_training(compose, tmp_path, own_cache, case, signum):
    config = compose(*WORDS, *CASES[case], "trainer.score_train=true")
    alone, _ = train(config, tmp_path / "alone")
    _, steps = train(config, tmp_path / "again", stop_in_test=1, signum=signum)
    assert steps[-1] == alone.steps.made
    for stop_in_test in (2, None):  # within the second test, and to the end
        entry, steps = train(config, tmp_path / "again", stop_in_test=stop_in_test, signum=signum)
        assert steps == []
    assert entry.steps.resumed == alone.steps.made
    assert essence(entry, tmp_path / "again") == essence(alone, tmp_path / "alone")
    assert not (tmp_path / "again" / "checkpoint").exists()


@pytest.mark.parametrize("sampling", ["round_robin", "root_size"])
def test_a_mixture_with_learned_weights_goes_on_with_the_task_whose_turn_it_is(
    compose_mixture, tmp_path, own_cache, sampling
):
    config = compose_mixture(*WORDS, "model.dropout=0.2", sampling=sampling, weighting="uncertainty")
    alone, steps = train(config, tmp_path / "alone")
    assert alone.state == "complete", alone.reason
    taken = []
    for stop_at in (20, 47):  # an epoch has 27 steps
        taken += train(config, tmp_path / "again", stop_at)[1]
    taken += train(config, tmp_path / "again", stop_in_test=2)[1]
    entry, part = train(config, tmp_path / "again")
    assert taken + part == steps
    assert essence(entry, tmp_path / "again") == essence(alone, tmp_path / "alone")


def test_a_tensor_that_learned_nothing_is_dead_after_the_training_was_over(compose, tmp_path, own_cache):
    config = compose(*WORDS, "lora=head")
    before = checkpoint.EVERY_S
    checkpoint.EVERY_S = 0.0
    try:
        train(config, tmp_path / "t", 48)
    finally:
        checkpoint.EVERY_S = before
    state = load(tmp_path / "t/checkpoint", fingerprint_of(config))
    assert state["ended"]
    state["callbacks"]["UnusedParameterCheck"]["waiting"] = ["model.head.bias"]
    save(tmp_path / "t/checkpoint", state)
    entry, _ = train(config, tmp_path / "t", stop_in_test=1)
    entry, _ = train(config, tmp_path / "t")
    assert entry.dead == ["head.bias"]


def test_what_was_reported_before_is_reported_again_to_who_goes_on(compose, tmp_path, own_cache):
    config = compose(*WORDS)
    train(config, tmp_path / "t", 30)
    heard = []
    run_trial(config, TrialContext("s", 0, "arm", tmp_path / "t"), lambda step, scores: bool(heard.append(step)))
    assert heard == [12, 24, 36, 48]


@pytest.fixture(scope="module")
def plain_trial(tiny_base, tiny_data, tmp_path_factory):
    """A configuration, what an undisturbed trial of it ends as, and the folder of one put down at steps 5 and 10."""
    config, folder = check(compose_tree(tiny_base, tiny_data, *WORDS)), tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        alone, _ = train(config, folder / "alone")
        for stop_at in (5, 10):
            train(config, folder / "t", stop_at)
    return config, essence(alone, folder / "alone"), folder / "t"


@pytest.fixture
def two(plain_trial, tmp_path, own_cache):
    """A trial with two checkpoints, at steps 5 and 10, and what an undisturbed one ends as."""
    config, alone, folder = plain_trial
    shutil.copytree(folder, tmp_path / "t")
    assert sorted(path.name for path in (tmp_path / "t/checkpoint").glob("*.pt")) == ["00000005.pt", "00000010.pt"]
    return config, alone


@pytest.mark.parametrize(("damaged", "from_step"), [(1, 5), (2, None)])
@pytest.mark.parametrize("damage", ["torn", "flipped", "no digest"])
def test_a_damaged_checkpoint_is_passed_over(two, tmp_path, damage, damaged, from_step):
    config, expected = two
    paths = sorted((tmp_path / "t/checkpoint").glob("*.pt"), reverse=True)[:damaged]
    for path in paths:
        content = bytearray(path.read_bytes())
        if damage == "torn":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "flipped":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        else:
            path.with_suffix(".sha256").unlink()
    entry, _ = train(config, tmp_path / "t")
    assert entry.steps.resumed == from_step
    assert essence(entry, tmp_path / "t") == expected


def test_another_trials_checkpoint_is_passed_over(two, compose, tmp_path):
    config = compose(*WORDS, "seed=1")
    alone, _ = train(config, tmp_path / "other")
    entry, _ = train(config, tmp_path / "t")
    assert entry.steps.resumed is None
    assert essence(entry, tmp_path / "t") == essence(alone, tmp_path / "other")


def test_two_are_kept_and_what_is_read_is_tensors_alone(tmp_path):
    for step in range(5):
        save(tmp_path / "c", {"step": step, "fingerprint": "f", "tensor": torch.ones(3) * step})
    assert sorted(path.stem for path in (tmp_path / "c").glob("*.pt")) == ["00000003", "00000004"]
    assert load(tmp_path / "c", "f")["step"] == 4
    assert load(tmp_path / "c", "other") == {}
    assert load(tmp_path / "nowhere", "f") == {}


def test_what_a_kill_leaves_half_written_is_in_nobodys_way(tmp_path, monkeypatch):
    save(tmp_path, {"step": 1, "fingerprint": "f"})
    monkeypatch.setattr("harness.training.checkpoint.os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(tmp_path, {"step": 2, "fingerprint": "f"})
    monkeypatch.undo()
    assert load(tmp_path, "f")["step"] == 1
    save(tmp_path, {"step": 3, "fingerprint": "f"})
    assert load(tmp_path, "f")["step"] == 3


def test_a_checkpoint_of_another_form_is_passed_over(tmp_path, monkeypatch):
    save(tmp_path, {"step": 1, "fingerprint": "f"})
    monkeypatch.setattr("harness.training.checkpoint._FORM", 2)
    assert load(tmp_path, "f") == {}


def with_pairs(value):
    """A state with the former names of the tensors of updates."""
    if isinstance(value, dict):
        return {with_pairs(key): with_pairs(each) for key, each in value.items()}
    if isinstance(value, list):
        return [with_pairs(each) for each in value]
    return value.replace(".updates.", ".pairs.") if isinstance(value, str) else value


def test_a_checkpoint_of_the_version_before_is_taken_up(compose, tmp_path, own_cache):
    """Its callbacks had other names, one of them did what two do now, and updates were called pairs."""
    config = compose(*WORDS, "trainer.patience=3")
    alone, _ = train(config, tmp_path / "alone")
    train(config, tmp_path / "again", 30)
    state = load(tmp_path / "again/checkpoint", fingerprint_of(config))
    now = state["callbacks"]
    state["callbacks"] = {
        "Watch": now["BestCheckpoint"] | now["PruningCallback"],
        "Guard": {},
        "Pulse": now["UnusedParameterCheck"],
        "Meters": now["ResourceMeter"],
        "Curve": now["MetricsCsvLogger"],
    }
    former = with_pairs(state)
    assert any(".pairs." in name for name in former["weights"])
    save(tmp_path / "again/checkpoint", former)
    entry, steps = train(config, tmp_path / "again")
    assert steps[0] == entry.steps.resumed + 1 == 31
    assert essence(entry, tmp_path / "again") == essence(alone, tmp_path / "alone")


def test_the_states_of_the_former_names_reach_the_callbacks_that_took_their_parts(tmp_path):
    former = {
        "Watch": {"best": {}, "reports": []},
        "Meters": {"parts": {}},
        "Curve": {"text": ""},
        "Pulse": {},
        "Guard": {},
    }
    save(tmp_path, {"step": 1, "fingerprint": "f", "callbacks": former | {"FallingBudget": {"last": 3}}, "sequence": 7})
    state = load(tmp_path, "f")
    watch = former["Watch"]
    assert state["callbacks"] == {
        "BestCheckpoint": watch,
        "PruningCallback": watch,
        "ResourceMeter": former["Meters"],
        "Guard": {},
        "MetricsCsvLogger": former["Curve"],
        "UnusedParameterCheck": {},
        "RankScheduleCallback": {"last": 3},
    }
    assert state["continual"] == 7
    known = {name for names in checkpoint._FORMER_CALLBACKS.values() for name in names}
    assert known <= set(callbacks.__all__)


@pytest.mark.parametrize("fault", ["in_training", "in_checkpoint"])
def test_kill_9_in_the_middle(plain_trial, tmp_path, own_cache, zygote, fault):
    config, alone, _ = plain_trial
    folder = tmp_path / "t"
    folder.mkdir()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    script = (
        "import yaml\nfrom pathlib import Path\nfrom harness.config import check\n"
        "from harness.training import checkpoint\nfrom harness.trial import TrialContext\n"
        "from harness.trial.run import run_trial\n"
        "checkpoint.EVERY_S = 0.0\n"
        f"config = check(yaml.safe_load(open({str(tmp_path / 'config.yaml')!r})))\n"
        f"run_trial(config, TrialContext('s', 0, 'arm', Path({str(folder)!r})), lambda *_: False)\n"
    )
    environment = os.environ | {"HARNESS_FAULT": f"{fault}:30", "HARNESS_CACHE": str(own_cache)}
    killed = zygote.python(["-c", script], tmp_path, environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    entry, _ = train(config, folder)
    assert entry.steps.resumed in (28, 29)
    assert essence(entry, folder) == alone


def test_a_checkpoint_is_made_before_the_step_that_an_evaluation_follows(plain_trial, tmp_path, own_cache, monkeypatch):
    monkeypatch.setattr("harness.training.loop.EVALUATION_PATIENCE_S", 0.0)
    monkeypatch.setattr(checkpoint, "_EVALUATES_S", 0.0)
    config, alone, _ = plain_trial
    _, steps = train(config, tmp_path / "t", 12)
    assert steps[-1] == 12
    assert [path.stem for path in sorted((tmp_path / "t/checkpoint").glob("*.pt"))] == ["00000011"]
    entry, _ = train(config, tmp_path / "t")
    assert entry.steps.resumed == 11
    assert essence(entry, tmp_path / "t") == alone


def test_it_is_said_where_another_number_of_threads_goes_on(compose, tmp_path, own_cache, caplog):
    config = compose(*WORDS)
    train(config, tmp_path / "t", 12)
    state = load(tmp_path / "t/checkpoint", fingerprint_of(config))
    save(tmp_path / "t/checkpoint", state | {"threads": 7})
    train(config, tmp_path / "t")
    assert "begun with 7 threads, goes on with 1: last digits differ; trainer.threads=N" in caplog.text


def test_an_evaluation_that_takes_long_is_not_waited_for(compose, tmp_path, own_cache, monkeypatch):
    monkeypatch.setattr("harness.training.loop.EVALUATION_PATIENCE_S", 0.0)
    config = compose(*WORDS)
    started = time.monotonic()
    entry, steps = train(config, tmp_path / "t", 12)
    assert entry is None
    assert steps[-1] == 12
    assert time.monotonic() - started < 60
    assert checkpoint.load(tmp_path / "t/checkpoint", "") == {}


@pytest.mark.parametrize(("saved", "current", "taken"), [(1, 0, 0), (1, 2, 0), (4, 2, 2), (2, 3, 1)])
def test_the_state_of_the_own_gpu_is_taken_up_where_others_are_seen(saved, current, taken, monkeypatch):
    """Earlier versions saved that of every GPU; another machine may show another number of them."""
    found = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
    monkeypatch.setattr(torch.cuda, "set_rng_state", found.append)
    set_random_state(random_state() | {"cuda": [torch.tensor([number]) for number in range(saved)]})
    assert found == [torch.tensor([taken])]
