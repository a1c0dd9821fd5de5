"""Several processes train one trial as one process would: with all of the base on each, and with it spread over them.

The processes are real, two on the CPU over gloo, started as torchrun starts them.
"""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from harness import record
from harness.cluster.study import begin_study
from harness.config import ConfigError, apply_overrides, check, to_dict
from harness.config.processes import launched_process_group, process_info
from harness.lora import import_adapter
from harness.model import build_model
from harness.task import LengthBatches, build_task
from harness.trial import TrialContext
from harness.trial.adapt import method_of
from harness.trial.run import run_trial
from harness.trial.running import RunningTrial
from tests.trial.test_dense import SMALL, SWIN
from tests.zygote import Zygote

# What every process runs: the first each of the trials, the others what it tells them.
SCRIPT = """
import json, sys
from pathlib import Path
from harness.config import check
from harness.config.processes import process_info
from harness.devices import resolve_device
from harness.trial.ddp_followers import follow
from harness.record import append
from harness.system.signals import graceful_stop
from harness.training import process_group
from harness.trial import TrialContext
from harness.trial.run import run_trial

with process_group(process_info(), resolve_device("cpu", 2)), graceful_stop():
    if process_info().process_index:
        follow()
    else:
        for number, (name, tree) in enumerate(json.loads(Path("trials.json").read_text()).items()):
            folder = Path(name)
            folder.mkdir()
            place = TrialContext("s", number, name, folder)
            append(Path(), run_trial(check(tree), place, lambda step, scores: name == "pruned" and step == 4))
"""


def start(zygote: Zygote, folder: Path, command: list[str]) -> list[subprocess.Popen]:
    """Two processes, told of each other as by torchrun within a job of SLURM's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "t", "OMP_NUM_THREADS": "1"}
    told |= {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "study",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }
    told |= {"SLURM_NODEID": "0"}
    told |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "HARNESS_CACHE": str(folder / "cache")}
    return [
        zygote.popen(
            command,
            cwd=folder,
            env=os.environ | told | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]


class Both:
    """The batches that the two processes have at each step, as one."""

    def __init__(self, lengths, size, seed):
        parts = [LengthBatches(lengths, size, seed, shuffle=True, process_index=rank, world=2) for rank in range(2)]
        self.batches = [first + second for first, second in zip(*parts, strict=True)]

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


WORDS = ["model.dropout=0.0", "optimizer.lr=0.01", "optimizer.head_lr=0.05", "trainer.max_steps=8"]


@pytest.fixture
def alone(tree, compose_plain, tmp_path):
    """Trials as one process runs them: an encoder adapted; a small T5, whose tied weights are trained as a whole."""
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("source,target\n" + "".join(f"page {n} of {7 * n},Seite {n} von {7 * n}\n" for n in range(80)))
    shape = (
        "{hidden: 16, layers: 2, decoder_layers: 1, heads: 2, head_size: 8, ffn: 32, vocabulary: 300, positions: 64}"
    )
    words = ["task=seq2seq", f"task.data={pairs}", "task.max_source=12", "task.max_target=12", "task.generate_rows=4"]
    words += ["model=small_t5", f"model.shape={shape}", "lora=full", "trainer.objective=loss"]
    t5 = compose_plain(*WORDS, *words, "trainer.batch_size=8", "trainer.evaluations=2")
    encoder = tree(*WORDS, "lora.variant=dora+lora_plus", "lora.targets=[query,ffn_up]")
    return {"dora": encoder, "t5": json.loads(json.dumps(to_dict(t5)))}


def test_two_processes_train_as_one_does_and_stop_together(alone, zygote, tmp_path, own_cache, monkeypatch):
    trees = {}
    for name, composed in alone.items():
        for strategy in ("ddp", "fsdp"):
            trees[f"{strategy}-{name}"] = apply_overrides(
                composed, {"trainer.devices": 2, "trainer.strategy": strategy}
            )
    halves = {"trainer.batch_size": 4, "trainer.accumulate": 2}
    trees |= {f"{strategy}-halves": apply_overrides(trees[f"{strategy}-dora"], halves) for strategy in ("ddp", "fsdp")}
    trees["pruned"] = trees["ddp-dora"]
    endless = {"trainer.max_steps": 100_000, "trainer.epochs": 1e6, "trainer.evaluations": 1}
    trees["endless"] = apply_overrides(trees["ddp-dora"], endless)
    (tmp_path / "trials.json").write_text(json.dumps(trees))
    processes = start(zygote, tmp_path, ["-c", SCRIPT])
    curve = tmp_path / "endless/metrics.csv"
    deadline = time.monotonic() + 600  # a busy machine starts two processes slowly
    while (not curve.exists() or curve.read_text().count("\n") < 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)  # one of them is told; both stop, at the same step
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert all("Interrupted: SIGTERM" in text for text in said), said
    records = {entry.arm: entry for entry in record.read(tmp_path)}
    assert list(records) == list(trees)[:-1]
    assert (records["pruned"].state, records["pruned"].steps.made) == ("pruned", 4)

    def union(trial, inputs, *_):
        both = Both(inputs.lengths, trial.config.trainer.batch_size, trial.config.seed)
        return DataLoader(inputs, batch_sampler=both, collate_fn=inputs.batch)

    monkeypatch.setattr(RunningTrial, "training_batches", union)
    folder = tmp_path / "alone"
    folder.mkdir()
    one = run_trial(check(alone["dora"]), TrialContext("s", 0, "alone", folder), lambda *_: False)
    for name in ("ddp-dora", "fsdp-dora"):
        same(one, folder, records[name], tmp_path / name)
    for name in ("ddp-halves", "fsdp-halves"):
        assert records[name].flops.examples == 4
        as_whole = dataclasses.replace(records[name], flops=one.flops)
        same(one, folder, as_whole, tmp_path / name)
    # One process would take the mean over all tokens of a step, each of two takes it over its own.
    same(records["ddp-t5"], tmp_path / "ddp-t5", records["fsdp-t5"], tmp_path / "fsdp-t5")


@pytest.fixture
def in_part(compose_mixture, compose_plain, tmp_path):
    """Trials of several tasks: batches of one task each, of all tasks, and images with the answers of all."""
    mixture = [*WORDS, "trainer.batch_size=6", "trainer.epochs=20.0"]  # max_steps ends it, within an epoch
    fork = compose_mixture(*mixture, "lora=task_fork", "lora.rank=2", "lora.task_rank=1", weighting="uncertainty")
    rows = compose_mixture(*mixture, "lora=mtlora", "lora.rank=2", "lora.task_rank=1", batches="mixed")
    words = [
        "task=shapes_dense",
        "model=dense_lite0",
        "trainer.objective=score",
        *SMALL,
        "trainer.batch_size=3",
        "trainer.epochs=20.0",
    ]
    dense = compose_plain(*WORDS[1:], *words, "lora=mtlora", "lora.targets=[output,ffn_up]")
    found = {"fork": to_dict(fork), "rows": to_dict(rows), "dense": to_dict(dense) | {"model": SWIN}}
    trees: dict = json.loads(json.dumps(found))
    return trees


def test_several_tasks_train_on_two_processes_as_the_mean_of_both_batches_does(
    in_part, zygote, tmp_path, own_cache, monkeypatch
):
    """A step leaves heads and updates of other tasks alone, on one process, on the other, or on both."""
    trees = {name: apply_overrides(composed, {"trainer.devices": 2}) for name, composed in in_part.items()}
    (tmp_path / "trials.json").write_text(json.dumps(trees))
    processes = start(zygote, tmp_path, ["-c", SCRIPT])
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "find_unused_parameters" not in "".join(said)
    records = {entry.arm: entry for entry in record.read(tmp_path)}

    def union(trial, inputs, *_):
        """A step as two parts that count a half each, which are the batches of the two processes."""

        def both(pair):
            parts = [inputs.training_batch(rows) for rows in pair]
            counts = [1 if trial.task.losses is None else len(_tasks_in(trial, part)) for part in parts]
            shares = [[0.5] * count for count in counts]
            return {"parts": parts, "shares": shares, "rows": torch.cat([part["rows"] for part in parts])}

        settings = trial.config.trainer
        samplers = [
            inputs.batches(settings.batch_size, trial.config.seed, shuffle=True, process_index=rank, world=2, rows=None)
            for rank in range(2)
        ]
        return DataLoader(inputs, batch_sampler=list(zip(*samplers, strict=True)), collate_fn=both)

    monkeypatch.setattr(RunningTrial, "training_batches", union)
    for name, composed in in_part.items():
        folder = tmp_path / f"alone-{name}"
        folder.mkdir()
        one = run_trial(check(composed), TrialContext("s", 0, name, folder), lambda *_: False)
        assert (one.state, one.reason) == ("complete", "")
        assert len(one.scores["val"]) > 6, "of every task"
        if name == "dense":  # one process sees both batches, and its decoders' running statistics are of both
            same_tensors(one, folder, tmp_path / name, but=("running_mean", "running_var", "num_batches_tracked"))
            assert (records[name].dead, records[name].steps.made) == (one.dead, one.steps.made)
        else:
            same_weights(one, folder, records[name], tmp_path / name)
    rescored = scores_of_saved(check(in_part["dense"]), tmp_path / "dense")
    assert rescored == pytest.approx(records["dense"].scores["test"], abs=1e-5), "both scored what the first one saved"


def scores_of_saved(config, folder):
    """The test scores of the adapter and the decoders that lie in a trial's folder."""
    torch.manual_seed(config.seed)
    task = build_task(config.task)
    model = build_model(config.model, task.outputs).eval()
    import_adapter(model.base, folder / "adapter")
    model.head.load_state_dict(load_file(folder / "adapter" / "head.safetensors"))
    metrics, inputs = task.metrics(), task.inputs("test", None)
    with torch.no_grad():
        batch = inputs.batch(range(len(inputs)))
        metrics.update(model(batch), batch)
    return metrics.compute_and_reset()


def _tasks_in(trial, batch):
    """The tasks whose losses the batch has."""
    return batch["tasks"].unique() if "tasks" in batch else list(trial.config.task.chosen)


def same(one, folder, several, other):
    """Equal in counts, and within float tolerance in everything trained."""
    assert (several.state, several.reason) == ("complete", "")
    assert several.parameters == one.parameters
    assert several.flops == one.flops
    assert several.adapter.ranks == one.adapter.ranks
    assert (several.steps, several.dead, several.data) == (one.steps, one.dead, one.data)
    reached = [[name for name, value in asdict(entry.merge).items() if value is not None] for entry in (several, one)]
    assert reached[0] == reached[1]
    same_weights(one, folder, several, other)
    lines = [len((path / "predictions.csv").read_text().splitlines()) for path in (folder, other)]
    assert lines[0] == lines[1] == one.data.rows["test"] + 1


def same_weights(one, folder, several, other):
    """Equal within float tolerance in everything trained, in its scores, and in what never got a gradient."""
    assert (several.state, several.reason) == ("complete", "")
    assert (several.steps.made, several.dead) == (one.steps.made, one.dead)
    assert several.scores["test"]["loss"] == pytest.approx(one.scores["test"]["loss"], abs=1e-5)
    assert several.scores["val"] == pytest.approx(one.scores["val"], abs=1e-5)
    same_tensors(one, folder, other)


def same_tensors(one, folder, other, but=()):
    """What was saved is the same, but for tensors whose names end so."""
    mine, theirs = (at / Path(one.adapter.path).name for at in (folder, other))
    files = sorted(path.name for path in mine.iterdir())
    assert files == sorted(path.name for path in theirs.iterdir())
    for file in (name for name in files if name.endswith(".safetensors")):
        ours, others = load_file(mine / file), load_file(theirs / file)
        assert ours.keys() == others.keys()
        for key in (key for key in ours if not key.endswith(tuple(but))):
            tensor = ours[key]
            assert (others[key] - tensor).abs().max() < 2e-4, key  # of weights that moved by 8 · 0.01, or 16 times that


def test_a_worker_of_two_processes_claims_a_trial_once_and_both_train_it(tree, zygote, tmp_path, own_cache):
    composed = tree("run=study", "study=s", "sweep=rank_alpha_lr", "trainer=ddp", "trainer.accelerator=cpu")
    confirm = {"top": 1, "seeds": 2, "margin": 0.01, "set": {}}
    composed["sweep"] |= {"scientific": {"lora.rank": [1, 2]}, "baselines": {}, "trials": 1}
    composed["sweep"] |= {"test": False, "confirm": confirm}
    folder = begin_study(check(composed))
    processes = start(zygote, tmp_path, ["-m", "harness", "run=worker", "study=s"])
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    records = record.read(folder)
    assert [(entry.phase, entry.state) for entry in records] == [("search", "complete")] * 2 + [
        ("confirm", "complete")
    ] * 2
    assert [set(entry.scores) for entry in records] == [{"val"}] * 2 + [{"val", "test"}] * 2
    assert {entry.optimizer.batch_size for entry in records} == {16}, "eight rows on each device"
    attempts = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    assert {int(line["worker"].split("-")[-2]) for line in attempts} == {processes[0].pid}


def test_fewer_batches_than_processes_are_refused(compose_plain, own_cache):
    words = ["task=digits", "model=efficientnet_lite0", "lora.targets=pointwise", "trainer.batch_size=10000"]
    config = compose_plain(*words)
    rows = build_task(config.task).inputs("train", None)
    trial = SimpleNamespace(config=config, spread=False, device=torch.device("cpu"))
    assert len(RunningTrial.training_batches(trial, rows)) == 1
    with pytest.raises(ConfigError, match=rf"devices=2: {len(rows)} training rows are fewer batches of 10000"):
        RunningTrial.training_batches(trial, rows, 1, 2)


@pytest.mark.parametrize("run", ["report", "rebuild"])
def test_what_takes_one_process_is_refused_in_one_line(zygote, tmp_path, run):
    processes = start(zygote, tmp_path, ["-m", "harness", f"run={run}", "study=s"])
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    assert "".join(said) == f"run={run}: it takes one process; torchrun started 2\n"
    assert not (tmp_path / "results").exists()


@pytest.fixture
def torchrun(monkeypatch):
    def started(world):
        for name, value in {"TORCHELASTIC_RUN_ID": "t", "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("LOCAL_RANK", "0")

    return started


def test_a_study_with_several_devices_says_how_it_is_started(compose, torchrun):
    study = ["run=study", "sweep=rank_alpha_lr", "trainer=ddp"]
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2 -m harness"):
        launched_process_group(compose(*study))
    assert launched_process_group(compose()) is None
    slurm = compose(*study, "launch=slurm")
    assert launched_process_group(slurm) is None, "its jobs start all processes"
    with pytest.raises(ConfigError, match=r"trainer\.devices=2: launch=local starts a process for each worker"):
        launched_process_group(compose(*study, "launch=local"))
    torchrun(2)
    assert launched_process_group(compose(*study)).world == 2
    assert launched_process_group(dataclasses.replace(slurm, run="worker")).world == 2
    with pytest.raises(ConfigError, match="launch=slurm: one process queues the jobs; torchrun started 2"):
        launched_process_group(slurm)
    with pytest.raises(ConfigError, match=r"trainer\.devices=1: torchrun started 2 processes"):
        launched_process_group(compose(*study, "trainer.devices=1"))


def test_srun_tasks_are_one_trial_only_where_a_trial_has_several_devices(compose, monkeypatch):
    told = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_NODES": "2"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    found = process_info()
    assert (found.process_index, found.world, found.local, found.nodes, found.by) == (3, 4, 1, 2, "srun")
    assert launched_process_group(compose()) is None
    assert compose("trainer=ddp").trainer.devices == 4
    assert launched_process_group(compose("trainer=ddp")) == found
    with pytest.raises(ConfigError, match="srun started 4 processes"):
        launched_process_group(compose("trainer=ddp", "trainer.devices=2"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lora.variant=adalora"], r"lora\.variant=adalora needs whole weights"),
        (["lora.variant=eva"], r"lora\.variant=eva needs whole weights"),
        (["lora=peft", "lora.method=LOHA"], "lora=peft is not known to work"),
    ],
)
def test_what_cannot_be_spread_is_refused(tree, words, line):
    with pytest.raises(ConfigError, match=line):
        method_of(check(apply_overrides(tree(*words), {"trainer.strategy": "fsdp", "trainer.devices": 2}))).check()
    assert to_dict(check(apply_overrides(tree(*words), {"trainer.strategy": "ddp", "trainer.devices": 2})))
