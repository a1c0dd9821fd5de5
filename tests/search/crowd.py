"""Many workers on one study, and what must hold of it however they end."""

import dataclasses
import random
import time
from collections import Counter

import optuna

from harness import record
from harness.search import begin_study, join
from harness.search.storage import close_storage, open_storage
from tests.search import stub


def begin(config, tmp_path, name):
    """The same study under another roof."""
    config = dataclasses.replace(config, results=str(tmp_path / name))
    return config, begin_study(config)


def undisturbed(config, tmp_path):
    """What one worker leaves that nobody disturbs."""
    config, folder = begin(config, tmp_path, "alone")
    with join(config, folder) as worker:
        worker.work()
    return told(folder)


def told(folder):
    """Records in the order of their trials, without what an interruption may change."""
    kept = [dataclasses.replace(entry, attempt=1, time={}) for entry in record.read(folder)]
    return sorted(kept, key=lambda entry: entry.trial)


def crowd(config, count, seconds, **environment):
    """So many workers."""
    return [stub.start(config.results, config.study, seconds, **environment) for _ in range(count)]


def wait(processes, within_s=60.0):
    until = time.monotonic() + within_s
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
    assert all(process.exitcode is not None for process in processes), "workers hang"


def harass(config, folder, count, seconds, kills, seed, total):
    """Keep so many workers going and kill one at a random moment, again and again; then let them finish."""
    draw = random.Random(seed)
    processes = crowd(config, count, seconds)
    for _ in range(kills):
        time.sleep(draw.uniform(0.0, 0.3))
        victim = draw.randrange(count)
        if processes[victim].exitcode is None:
            processes[victim].kill()
        processes[victim].join()
        if len(record.read(folder)) == total:
            break
        processes[victim] = stub.start(config.results, config.study, seconds)
    wait(processes)


def same_for_any_number(config, tmp_path, workers, total):
    """The budget is exact, every trial runs once, and the records are those of one worker, which it returns."""
    alone = undisturbed(config, tmp_path)
    config, folder = begin(config, tmp_path, "many")
    wait(crowd(config, workers, 0.05))
    sound(folder, total)
    assert told(folder) == alone
    assert set(ran(folder).values()) == {1}
    return alone


def same_after_random_kills(config, tmp_path, seconds, seed, total):
    """Whoever is killed whenever, the records are those of one worker that nobody disturbs."""
    alone = undisturbed(config, tmp_path)
    config, folder = begin(config, tmp_path, "killed")
    harass(config, folder, 4, seconds, 12, seed, total)
    sound(folder, total)
    assert told(folder) == alone


def sound(folder, total):
    """Every trial has one record, Optuna's study says the same, nothing is left open."""
    records = record.read(folder)
    lines = (folder / record.RECORDS).read_bytes()
    assert lines.endswith(b"\n")
    assert len(lines.splitlines()) == total, "recorded twice"
    assert sorted(entry.trial for entry in records) == list(range(total))
    storage, name = open_storage(folder)
    trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    close_storage(storage)
    ended = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert sorted(trial.user_attrs["trial"] for trial in ended) == [
        entry.trial for entry in sorted(records, key=lambda entry: entry.trial) if entry.state != "fail"
    ]
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED", "FAIL"}


def ran(folder):
    """How often each trial came to its end."""
    lines = (folder / "ran.log").read_text().splitlines()
    return Counter(line for line in lines if line.startswith("end"))


def until_begun(folder, within_s=30.0, count=1):
    """Wait until so many trials were begun."""
    end = time.monotonic() + within_s
    while not (folder / "ran.log").exists() or (folder / "ran.log").read_text().count("begin") < count:
        assert time.monotonic() < end, "no worker begins"
        time.sleep(0.01)
