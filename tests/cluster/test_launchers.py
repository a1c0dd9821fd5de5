"""Workers of this machine under one command, which may go and come again."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from harness import record
from harness.cluster.launchers import local, slurm
from harness.cluster.launchers.local import LocalWorkerPool
from harness.cluster.launchers.registry import LAUNCHERS, check_launch, launcher_of
from harness.cluster.monitor import StudyStatus
from harness.cluster.study import begin_study
from harness.cluster.worker_table import WorkerTable
from harness.config import ConfigError, LaunchConfig
from harness.trial.fingerprints import identity
from tests.test_record import make
from tests.tiny import DEVICE, SEARCH_ALONE, words_of

ROOT = Path(__file__).parents[2]

# The command, in which trials of rank 2 ask for more than there is, and leave behind what they held.
LEAK = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
import torch
from harness.__main__ import main
from harness.trial import run
live, kept = run.train_and_evaluate, []
def greedy(trial):
    live(trial)
    if getattr(trial.config.lora, "rank", 0) == 2:
        kept.append(torch.ones(100 << 20))
        torch.empty(8 << 30)
run.train_and_evaluate = greedy
main()
"""


# The command, in which a step takes for ever.
STUCK = """
import sys, time
from harness.__main__ import main
from harness.trial import run
def stuck(*_):
    print("a step begins", file=sys.stderr, flush=True)
    time.sleep(600)
run.train_and_evaluate = stuck
main()
"""
STOPPING = "stopping after this step; once more to stop at once\n"


@pytest.fixture
def launch(tiny_base, tiny_data, tmp_path, zygote):
    """The command of a tiny study with two workers; further words on top."""
    words = [
        *words_of(tiny_base, tiny_data),
        *DEVICE,
        "trainer.batch_size=8",
        "trainer.max_steps=30",
        "trainer.evaluations=3",
        "tracking=off",
        "run=study",
        "study=s",
        "sweep=rank_alpha_lr",
        *SEARCH_ALONE,
        "sweep.scientific={lora.rank: [1, 2]}",
        "sweep.trials=1",
    ]

    def start(*more, script=("-m", "harness")):
        if "launch=here" not in more:
            more = ("launch=local", "launch.workers=2", "launch.per_gpu=2", *more)
        return zygote.popen(
            [*script, *words, *more],
            cwd=tmp_path,
            env=os.environ | {"HARNESS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


def wait_for(condition, within_s=300):
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_a_launcher_that_is_killed_is_started_again_and_finds_its_workers(launch, tmp_path):
    folder = tmp_path / "results/s"
    first = launch()
    wait_for(lambda: len(list((folder / ".locks").glob("*.heartbeat"))) == 2 if folder.exists() else False)
    first.kill()
    first.communicate()
    pids = {json.loads(path.read_text())["pid"] for path in (folder / ".locks").glob("*.heartbeat")}
    again = launch()
    out, said = again.communicate(timeout=400)
    assert again.returncode == 0, said
    assert "of 4 trials are recorded" in said
    assert "Smallest adapter" in out
    attempts = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    assert {int(line["worker"].split("-")[-2]) for line in attempts} <= pids, "more workers than were asked for"
    assert [line["attempt"] for line in attempts] == [1] * 4
    assert sorted(entry.trial for entry in record.read(folder)) == [0, 1, 2, 3]
    assert all(entry.provenance.hardware["threads"] == 1 for entry in record.read(folder))
    commands = {entry.command for entry in record.read(folder)}
    assert len(commands) == 1, "of the study, not of its workers"
    assert "sweep=rank_alpha_lr" in commands.pop()


@pytest.mark.parametrize(
    ("found", "more", "workers"),
    [
        ({"free_cores": 3}, (), 3),
        ({"free_cores": 3}, ("launch.workers=7",), 7),
        ({"free_cores": 3, "free_memory": 2 * 2**30}, (), 1),
        ({"free_cores": 8, "free_memory": 2 * (2 * 2**30 + 16 * 22_565_376)}, (), 2),
        ({"free_cores": 99}, (), 5),
        ({"free_cores": 99}, ("sweep.mode=joint", "sweep.lag=2"), 3 * (2 + 1)),
        ({"free_cores": 1, "_gpus": ["0", "1"], "cuda": True}, ("launch.per_gpu=2",), 4),
        ({"free_cores": 99, "sqlite": True}, (), 1),
        ({"free_cores": 99}, ("launch.pack=2",), 3),
        ({"free_cores": 0, "_running": 2}, (), 2),
        ({"free_cores": 1, "_running": 2, "free_memory": 0}, (), 2),
    ],
)
def test_auto_takes_as_many_workers_as_there_is_room_for(compose, monkeypatch, caplog, found, more, workers):
    """By idle cores, memory (2 GiB and 16 bytes for each of 22,565,376 weights), GPUs, and trials that can begin."""
    words = ("run=study", "study=s", "sweep=rank_alpha_lr", "sweep.scientific={lora.rank: [1, 2, 4]}", "launch=local")
    config = compose(*words, *more)
    known = {"free_cores": 8, "free_memory": 2**40, "_gpus": [], "_running": 0} | found
    for name in ("free_cores", "free_memory", "_gpus", "_running"):
        monkeypatch.setattr(local, name, lambda *_, name=name: known[name])
    monkeypatch.setattr(local, "resolve_device", lambda *_: torch.device("cuda" if "cuda" in found else "cpu"))
    monkeypatch.setattr(local, "storage_kind", lambda _: "sqlite" if "sqlite" in found else "journal")
    with caplog.at_level("INFO"):
        settled = launcher_of(config).settle(config)
    assert settled.launch.worker_count == workers
    assert ("launch.workers=auto" in caplog.text) == (config.launch.workers == "auto")


@pytest.mark.parametrize(("cores", "threads"), [(2, 1), (16, 2), (10, 2), (9, 1)])
@pytest.mark.parametrize("free", [1, 99])
def test_threads_hang_on_the_machine_and_not_on_what_is_idle(compose, monkeypatch, cores, threads, free):
    words = ("run=study", "study=s", "sweep=rank_alpha_lr", "sweep.scientific={lora.rank: [1, 2, 4]}", "launch=local")
    config = compose(*words, "trainer.threads=2", "trainer.accelerator=cpu")
    monkeypatch.setattr(local, "free_cores", lambda _: free)
    monkeypatch.setattr(local, "usable_cores", lambda: cores)
    assert launcher_of(config).settle(config).trainer.threads == threads, "five trials can begin at once"


def test_workers_of_the_study_on_this_machine_count_as_room(compose, monkeypatch, tmp_path):
    config = compose("run=study", "study=s", "sweep=rank_alpha_lr", "launch=local", f"results={tmp_path}")
    assert local._running(config) == 0
    (tmp_path / "s").mkdir()
    (tmp_path / "s/config.yaml").touch()
    beats = {"a": {"host": socket.gethostname()}, "b": {"host": "elsewhere"}, "c": {"host": socket.gethostname()}}
    monkeypatch.setattr(local, "study_status", lambda *_: StudyStatus(9, 0, {}, beats, 0, None))
    assert local._running(config) == 2


WAITING = """
import os, time
print(os.environ["CUDA_VISIBLE_DEVICES"] or "no GPU", flush=True)
time.sleep(60)
"""


def status(*pids, done=0, interrupted=0, **payload):
    """The status of a study with workers on this machine."""
    heartbeats = {str(pid): {"host": socket.gethostname(), "pid": pid} | payload for pid in pids}
    return StudyStatus(4, done, {}, heartbeats, interrupted)


@pytest.fixture
def pool(tmp_path):
    """Workers that do nothing but say a word, killed in the end."""
    pools = []

    def make_pool(workers, gpus=()):
        waiting = [sys.executable, "-c", WAITING]
        pools.append(LocalWorkerPool(waiting, tmp_path / str(len(pools)), workers, gpus))
        return pools[-1]

    yield make_pool
    for one in pools:
        one.stop(signal.SIGKILL, 0)
        for process in one.started:
            ended(process)


def ended(process):
    wait_for(lambda: process.code is not None, 10)


def kill(process):
    process.stop(signal.SIGKILL)
    ended(process)


def test_workers_of_an_earlier_command_are_counted_for_as_long_as_they_run(pool):
    earlier, later = pool(2), pool(2)
    earlier.replenish(status())
    first, second = earlier.started
    for _ in range(3):
        later.replenish(status(first.pid, second.pid))
    later.replenish(status())  # they restart: no heartbeat, and yet they run
    assert not later.started
    kill(first)
    for _ in range(3):
        later.replenish(status(second.pid))
    assert len(later.started) == 1
    (own,) = later.started
    kill(own)
    later.replenish(status(second.pid, own.pid))
    later.replenish(status(second.pid, *(process.pid for process in later.started)))
    assert len(later.started) == 2


def test_workers_that_are_killed_again_and_again_are_given_up_aloud(pool):
    one = pool(1)
    for done in (0, 0, 0, 1, 1, 1, 1, 1, 1):
        one.replenish(status(done=done))
        wait_for(lambda: one.started[-1].last_line() == "no GPU", 10)
        kill(one.started[-1])
    assert len(one.started) == 9, "a new record clears them of it"
    with pytest.raises(RuntimeError, match="killed again and again, the last after: no GPU"):
        one.replenish(status(done=1))


def test_a_worker_gets_a_gpu_that_no_other_has(pool):
    def seen(process):
        wait_for(process.last_line, 10)
        return process.last_line()

    earlier, later = pool(1, "0123"), pool(4, "0123")
    earlier.replenish(status())
    (other,) = earlier.started
    later.replenish(status(other.pid, gpus="0"))
    assert [seen(process) for process in later.started] == ["1", "2", "3"]
    kill(later.started[1])
    later.replenish(status(other.pid, gpus="0"))
    assert seen(later.started[-1]) == "2"
    kill(other)
    later.replenish(status())
    assert seen(later.started[-1]) == "0"


def test_workers_that_share_gpus_are_dealt_out_evenly_and_no_more_of_them_than_was_said(pool, compose, monkeypatch):
    shared = pool(4, "01")
    shared.replenish(status())
    for process in shared.started:
        wait_for(process.last_line, 10)
    assert [process.last_line() for process in shared.started] == ["0", "1", "0", "1"]

    monkeypatch.setattr(local, "resolve_device", lambda *_: torch.device("cuda", 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    four = ["run=study", "study=s", "sweep=rank_alpha_lr", "launch=local", "launch.workers=4"]
    with pytest.raises(ConfigError, match="2 GPUs, with launch.per_gpu=1 workers each; launch.per_gpu=2 shares"):
        check_launch(compose(*four))
    check_launch(compose(*four, "launch.per_gpu=2"))


class Queue:
    """A worker table and a SLURM: the status at each poll, how many jobs are queued then; all of them end at once."""

    def __init__(self, monkeypatch, tmp_path):
        self.folder, self.polls, self.queued = tmp_path, [], []
        monkeypatch.setattr(slurm, "WorkerTable", lambda *_: self)
        for name in ("submit", "waiting_or_running"):
            monkeypatch.setattr(slurm, name, getattr(self, name))
        monkeypatch.setattr(slurm, "_POLL_S", 0.0)

    def update(self):
        return self.polls.pop(0)

    def close(self):
        pass

    def waiting_or_running(self, ids):
        return []

    def submit(self, argv, count, *_):
        self.queued.append(count)
        return [f"{len(self.queued)}_{index}" for index in range(count)]


def run_queue(config, folder):
    launcher_of(config).run(config, folder)


@pytest.fixture
def queue(monkeypatch, tmp_path):
    return Queue(monkeypatch, tmp_path)


@pytest.mark.parametrize("torn", ["", '["7_0", "7', "{}"])
def test_a_file_of_jobs_that_is_torn_is_named_and_no_job_is_queued(compose, queue, torn):
    (queue.folder / "jobs.json").write_text(torn)
    queue.polls = [status()]
    with pytest.raises(RuntimeError, match=r"jobs\.json is torn: remove it when squeue shows no job"):
        run_queue(compose("launch=slurm"), queue.folder)
    assert not queue.queued


def test_jobs_that_only_put_their_trials_back_are_queued_again_and_those_that_do_nothing_are_given_up(compose, queue):
    polls = [*(status(interrupted=count) for count in range(1, 10)), *[status(interrupted=9)] * 5]
    polls += [status(done=1, interrupted=9)] * 7
    queue.polls = polls
    with pytest.raises(RuntimeError, match="jobs end and no trial is recorded"):
        run_queue(compose("launch=slurm", "launch.workers=2"), queue.folder)
    assert not polls
    assert queue.queued == [2] * 20
    known = json.loads((queue.folder / "jobs.json").read_text())
    assert known == ["20_0", "20_1"]


def test_a_terminal_that_is_gone_does_not_end_the_command(compose, tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    table = WorkerTable(compose("run=study", "study=s", "sweep=rank_alpha_lr"), tmp_path)
    monkeypatch.setattr(sys, "stderr", Gone())
    assert table.update().done == 0
    table.close()


LONG = ["trainer.max_steps=100000", "trainer.epochs=100000.0"]


def at_work(folder):
    """The heartbeats of the workers that have a trial and train."""
    if not folder.exists():
        return []
    beats = [json.loads(path.read_text()) for path in (folder / ".locks").glob("*.heartbeat")]
    curves = [folder / f"trials/{beat['trial']:04d}-1/metrics.csv" for beat in beats if beat.get("trial") is not None]
    return beats if len(beats) == 2 == len(curves) and all(curve.exists() for curve in curves) else []


def events(folder):
    """The events of the log of attempts, in its order."""
    return [json.loads(line)["event"] for line in (folder / "attempts.jsonl").read_text().splitlines()]


def gone(pid):
    return not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("again", [False, True], ids=["its own workers", "workers of an earlier command"])
def test_ctrl_c_reaches_all_workers_and_puts_their_trials_back(launch, tmp_path, again):
    folder = tmp_path / "results/s"
    command = launch(*LONG)
    wait_for(lambda: at_work(folder))
    beats = at_work(folder)
    if again:
        command.kill()
        command.communicate()
        command = launch(*LONG)
        assert "of 4 trials are recorded" in command.stderr.readline()
    command.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, said = command.communicate(timeout=60)
    assert command.returncode == 130, said
    assert time.monotonic() - asked < 20
    assert all(gone(beat["pid"]) for beat in beats)
    assert not list((folder / ".locks").glob("*.heartbeat"))
    assert events(folder) == ["assign", "assign", "requeue", "requeue"]


def test_ctrl_c_twice_ends_all_at_once(launch, tmp_path):
    folder = tmp_path / "results/s"
    command = launch(*LONG)
    wait_for(lambda: at_work(folder))
    beats = at_work(folder)
    for beat in beats:
        os.kill(beat["pid"], signal.SIGSTOP)  # a step that takes for ever
    command.send_signal(signal.SIGINT)
    assert STOPPING in iter(command.stderr.readline, "")
    command.send_signal(signal.SIGINT)
    asked = time.monotonic()
    command.communicate(timeout=60)
    assert time.monotonic() - asked < 2
    assert command.returncode == 130
    wait_for(lambda: all(gone(beat["pid"]) for beat in beats), 2)


def test_one_worker_ends_as_it_is_asked(launch, tmp_path):
    folder = tmp_path / "results/s"
    for number, run in enumerate(("study", "worker")):
        stuck = launch("launch=here", *LONG, f"run={run}", script=("-c", STUCK))
        assert "a step begins\n" in iter(stuck.stderr.readline, "")
        stuck.send_signal(signal.SIGINT)
        assert STOPPING in iter(stuck.stderr.readline, "")
        stuck.send_signal(signal.SIGINT)
        stuck.communicate(timeout=2)
        assert stuck.returncode == 130
        assert events(folder) == ["assign"] * (number + 1), "there was no time to put it back"
    worker = launch("launch=here", *LONG, "run=worker")
    wait_for(lambda: (folder / "trials/0000-3/metrics.csv").exists())
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate(timeout=20)
    assert worker.returncode == 143, said
    assert events(folder) == ["assign"] * 3 + ["requeue"]


def test_every_launch_of_the_configuration_has_a_launcher():
    named = {get_args(get_type_hints(kind)["name"])[0] for kind in get_args(LaunchConfig)}
    assert set(LAUNCHERS) == named == {path.stem for path in (ROOT / "conf/launch").glob("*.yaml")}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """What launch=slurm needs, in name."""
    monkeypatch.setenv("HARNESS_STORAGE", "postgresql://u:p@h/d")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "sbatch").touch(0o755)


def test_jobs_need_a_database_and_slurm(compose, cluster, tmp_path, monkeypatch):
    config = compose("run=study", "study=s", "sweep=rank_alpha_lr", "launch=slurm")
    check_launch(config)
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="launch=slurm: there is no sbatch here; launch=local"):
        check_launch(config)
    monkeypatch.delenv("HARNESS_STORAGE")
    with pytest.raises(ConfigError, match="launch=slurm: workers may be on several machines.* HARNESS_STORAGE=postg"):
        check_launch(config)


def test_the_machine_that_queues_jobs_need_not_have_what_they_train_on(compose, cluster, tmp_path, monkeypatch):
    """A login node has no GPU, and its records say cuda where its own device is a CPU."""
    study = ["run=study", "study=s", "sweep=rank_alpha_lr", "launch=slurm", "trainer.accelerator=gpu", "launch.gpus=2"]
    config = compose(*study, "trainer=ddp", "trainer.devices=2")
    check_launch(config)
    monkeypatch.delenv("HARNESS_STORAGE")
    folder = begin_study(config)
    hardware = identity(compose("trainer.accelerator=cpu")) | {"device": "cuda", "precision": "bf16-mixed"}
    record.append(
        folder, make(0, study="s", task=config.task.name, model=config.model.name, provenance={"inputs": hardware})
    )
    begin_study(config)
    with pytest.raises(ConfigError, match="launch.gpus=2: a trial has trainer.devices=4"):
        check_launch(compose(*study, "trainer=ddp", "trainer.devices=4"))


def test_a_worker_that_a_trial_left_without_memory_replaces_itself(launch, tmp_path):
    here = launch("launch=here", script=("-c", LEAK))
    out, said = here.communicate(timeout=400)
    assert here.returncode == 0, said
    assert said.count("this worker restarts because of 4") == 1, said
    assert re.search(r"\| rank=2 +\| 0 \+ 1 failed", (tmp_path / "results/s/table.md").read_text()), out
    records = record.read(tmp_path / "results/s")
    assert [entry.trial for entry in records] == [0, 1, 2, 3]
    assert [entry.state for entry in records] == ["complete", "fail", "complete", "complete"]
    greedy = records[1]
    assert greedy.reason.startswith("out of memory: 32,768 MiB were asked for, ")
    assert greedy.reason.endswith("; the address space has 16,384 MiB")
    assert (greedy.out_of_memory.asked, greedy.out_of_memory.limit) == (32 << 30, 16 << 30)
    assert greedy.memory.train_peak > 0, "what it held before is kept"
    attempts = [json.loads(line) for line in (tmp_path / "results/s/attempts.jsonl").read_text().splitlines()]
    assert len({line["worker"] for line in attempts}) == 2
    assert {int(line["worker"].split("-")[-2]) for line in attempts} == {here.pid}
    assert not list((tmp_path / "results/s/.locks").glob("*.heartbeat"))
