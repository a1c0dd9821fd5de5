"""A sweep on a real SLURM: its jobs are preempted, told that their time is up, and killed while it runs."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from harness import record
from tests.tiny import SEARCH_ALONE, words_of

pytestmark = pytest.mark.cluster


@pytest.fixture
def words(tiny_base, tiny_data):
    """A study of two ranks and two baselines whose trials take some seconds."""
    return [
        *words_of(tiny_base, tiny_data),
        "lora.dropout=0.1",
        "trainer=cpu",
        "trainer.threads=1",
        "trainer.batch_size=8",
        "trainer.epochs=100.0",
        "trainer.max_steps=900",
        "trainer.evaluations=4",
        "tracking=off",
        "run=study",
        "study=s",
        "sweep=rank_alpha_lr",
        *SEARCH_ALONE,
        "sweep.scientific={lora.rank: [1, 2]}",
        "sweep.trials=2",
        "sweep.startup=1",
        "sweep.prune_after=1",
    ]


def essence(folder):
    """What must be the same whatever happened to the workers."""
    return {
        entry.trial: (entry.arm, entry.point, entry.state, entry.fingerprint, entry.scores, entry.adapter.sha256)
        for entry in record.read(folder)
    }


def wait_for(condition, what, within_s=300):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def test_a_sweep_that_is_preempted_and_killed_ends_with_the_records_of_an_undisturbed_one(
    words, slurm, postgres, tmp_path
):
    environment = os.environ | slurm.environment | {"HARNESS_CACHE": str(tmp_path / "cache")}
    # Trials of some eight seconds: the first two end long after the urgent job is there.
    command = [sys.executable, "-m", "harness", *words, "trainer.epochs=400.0", "trainer.max_steps=3000"]
    alone = subprocess.run(
        [*command, "results=alone"],
        cwd=tmp_path,
        env={name: value for name, value in environment.items() if name != "HARNESS_STORAGE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    more = ["launch=slurm", "launch.workers=2", "launch.cpus=4", "launch.memory_gb=1", "launch.lease_s=20.0"]
    folder = tmp_path / "results/s"
    attempts = folder / "attempts.jsonl"

    def claimed():
        lines = [json.loads(line) for line in attempts.read_text().splitlines()] if attempts.exists() else []
        return [line for line in lines if line["event"] == "assign"]

    def requeue():
        return attempts.read_text().count('"requeue"') if attempts.exists() else 0

    def signs():
        told = [json.loads(path.read_text()) for path in (folder / ".locks").glob("*.heartbeat")]
        return [sign for sign in told if sign.get("trial") is not None]

    def restarts(job):
        found = re.search(r"Restarts=(\d+)", slurm.ask("scontrol", "show", "job", job))
        return int(found[1]) if found else 0

    first = subprocess.Popen(
        [*command, *more], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: len(signs()) == 2, "two workers begin")
    time.sleep(1)
    # A more urgent job wants the whole node: both are preempted, put their trials back, and are queued again. One of
    # them may have been between two trials just then.
    slurm.ask("sbatch", "--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 2")
    wait_for(requeue, "a trial is put back")
    taken = len(claimed())
    wait_for(lambda: len(claimed()) >= taken + 2 and signs(), "both go on")
    # The command that launched is gone; a worker is killed as by the kernel.
    first.kill()
    first.wait()
    wait_for(lambda: signs(), "a worker is at work")
    os.kill(signs()[0]["pid"], signal.SIGKILL)
    # The same command again: it finds its jobs, and fills up what is missing.
    again = subprocess.Popen([*command, *more], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: slurm.running() and signs(), "workers are at work again")
    # As SLURM does when a job's time is nearly up: the job puts its trial back, and itself back into the queue.
    began = {job: restarts(job) for job in slurm.running()}
    for job in began:
        slurm.ask("scancel", "--signal=USR2", job)
    wait_for(lambda: any(restarts(job) > before for job, before in began.items()), "a job runs again")
    _, said = again.communicate(timeout=600)
    assert again.returncode == 0, said
    assert essence(folder) == essence(tmp_path / "alone/s")
    assert len((folder / record.RECORDS).read_text().splitlines()) == 8
    assert any(entry.steps.resumed for entry in record.read(folder)), "nothing went on from a checkpoint"
    assert max(entry.attempt for entry in record.read(folder)) > 1


# Two devices a trial, on CPUs; 20 steps, so that starting the processes is what takes time.
TWO = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.max_steps=20", "sweep.trials=1"]


def complete(folder, trials, attempts=frozenset({1})):
    """Every trial has one record, and was trained by two processes at once, which claimed it once."""
    records = record.read(folder)
    assert sorted((entry.trial, entry.state) for entry in records) == [(number, "complete") for number in range(trials)]
    assert len((folder / record.RECORDS).read_text().splitlines()) == trials
    assert {entry.optimizer.batch_size for entry in records} == {16}, "eight rows on each device"
    assert {entry.attempt for entry in records} == attempts
    lines = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "assign" for line in lines) == sum(entry.attempt for entry in records)


def test_the_tasks_of_srun_are_one_worker_where_a_trial_has_several_devices(words, slurm, tmp_path):
    environment = os.environ | slurm.environment | {"HARNESS_CACHE": str(tmp_path / "cache")}
    step = ["srun", "--ntasks=2", "--cpus-per-task=1", sys.executable, "-m", "harness"]
    once = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": False}
    done = subprocess.run([*step, *words, *TWO], **once)
    assert done.returncode == 0, done.stderr
    complete(tmp_path / "results/s", 4)
    refused = subprocess.run([*step, "run=rebuild", "study=s"], **once)
    assert "run=rebuild: it takes one process; srun started 2" in refused.stderr
    assert refused.stderr.count("it takes one process") == 1
    # The same study again, its records gone, by workers that are told its name alone.
    for name in (record.RECORDS, "attempts.jsonl"):
        (tmp_path / "results/s" / name).unlink()
    done = subprocess.run([*step, "run=worker", "study=s"], **once)
    assert done.returncode == 0, done.stderr
    complete(tmp_path / "results/s", 4)


def test_a_job_has_a_task_for_each_device_and_all_of_them_put_down_what_is_preempted(words, slurm, postgres, tmp_path):
    environment = os.environ | slurm.environment | {"HARNESS_CACHE": str(tmp_path / "cache")}
    more = ["launch=slurm", "launch.workers=1", "launch.cpus=2", "launch.memory_gb=1", "launch.gpus=0"]
    command = [sys.executable, "-m", "harness", *words, *TWO, *more, "trainer.max_steps=300"]
    folder = tmp_path / "results/s"
    launched = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    curve = folder / "trials/0000-1/metrics.csv"
    wait_for(lambda: curve.exists() and curve.read_text().count("\n") > 3, "two processes train")
    slurm.ask("sbatch", "--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 1")
    wait_for(lambda: '"requeue"' in (folder / "attempts.jsonl").read_text(), "the trial is put back")
    _, said = launched.communicate(timeout=400)
    assert launched.returncode == 0, said
    complete(folder, 4, attempts={1, 2})
