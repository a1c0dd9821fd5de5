"""Many workers on one study, and what must hold of it however they end."""

import dataclasses
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna

from harness import record
from harness.cluster.assignments import REQUEUES
from harness.cluster.optuna_storage import close_storage, open_storage
from harness.cluster.study import begin_study
from harness.cluster.worker import join
from harness.config import Config, check
from harness.record import Memory, Record, Time
from harness.system.assets import sha256_of
from tests.cluster import stub


@dataclasses.dataclass(frozen=True)
class Audit:
    """What is wrong with a study that has come to its end."""

    lost: int = 0
    """Results that were acknowledged and are not in the records."""
    twice: int = 0
    """Trials that were recorded, or that Optuna was told, more than once."""
    retried: int = 0
    """Attempts that were begun while the process of the one before was at work."""
    left: int = 0
    """Trials without a record, or that Optuna has as running or waiting."""
    unreadable: int = 0
    """Files that cannot be read whole."""
    differ: int = 0
    """Trials whose records are not those of an undisturbed study, or that Optuna has otherwise."""

    def __add__(self, other: "Audit") -> "Audit":
        both = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Audit(*(one + two for one, two in both))


def four_arms(tree: Callable[..., dict[str, Any]], lease_s: float) -> Config:
    """A study of sixteen trials, some of them pruned, TPE in the last two rounds."""
    composed = tree("sweep=rank_alpha_lr", "run=study", "study=s", f"launch.lease_s={lease_s}")
    composed["sweep"] |= {"scientific": {"lora.rank": [1, 2]}, "trials": 4, "startup": 2, "prune_after": 2}
    return check(composed)


def begin(config: Config, tmp_path: Path, name: str) -> tuple[Config, Path]:
    """The same study under another roof."""
    config = dataclasses.replace(config, results=str(tmp_path / name))
    return config, begin_study(config)


def undisturbed(config: Config, tmp_path: Path) -> list[Record]:
    """What one worker leaves that nobody disturbs."""
    config, folder = begin(config, tmp_path, "alone")
    with join(config, folder) as worker:
        worker.work()
    return told(folder)


def told(folder: Path) -> list[Record]:
    """Records in the order of their trials, without what an interruption may change."""
    kept = [
        dataclasses.replace(
            entry,
            attempt=1,
            time=Time(),
            memory=Memory(),
            merge=dataclasses.replace(entry.merge, latency_merged_s=None, latency_apart_s=None, latency_base_s=None),
            steps=dataclasses.replace(entry.steps, resumed=None),
        )
        for entry in record.read(folder)
    ]
    return sorted(kept, key=lambda entry: entry.trial)


def notes_of(folder: Path) -> Path:
    """Where workers note what they do, beside the study."""
    return folder.parent / "notes.log"


def notes(folder: Path) -> list[list[str]]:
    """What workers noted, word by word."""
    path = notes_of(folder)
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def crowd(
    config: Config, count: int, seconds: float | None, requeues: int = REQUEUES, **environment: str
) -> list[BaseProcess]:
    """So many workers."""
    results = Path(config.results)
    place = notes_of(results / config.study)
    return [stub.start(results, config.study, seconds, place, requeues, **environment) for _ in range(count)]


def wait(processes: Sequence[BaseProcess], within_s: float = 300.0) -> None:
    """Wait until all have ended: the first of them imports torch, on a busy machine for a minute."""
    until = time.monotonic() + within_s
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
    assert all(process.exitcode is not None for process in processes), "workers hang"


def harass(
    config: Config,
    folder: Path,
    count: int,
    seconds: float | None,
    kills: int,
    draw: random.Random,
    total: int,
    requeues: int = REQUEUES,
) -> int:
    """Keep so many workers going and kill one at a random moment, again and again; then let them finish.

    Returns how many were killed.
    """
    processes = crowd(config, count, seconds, requeues)
    killed = 0
    while killed < kills and len(record.read(folder)) < total:
        time.sleep(draw.uniform(0.0, 0.3 if seconds is not None else 2.0))
        victim = draw.randrange(count)
        processes[victim].kill()
        processes[victim].join()
        killed += processes[victim].exitcode == -9
        (processes[victim],) = crowd(config, 1, seconds, requeues)
    wait(processes, 300.0)
    return killed


def same_for_any_number(config: Config, tmp_path: Path, workers: int, total: int) -> list[Record]:
    """The budget is exact, every trial runs once, and the records are those of one worker, which it returns."""
    alone = undisturbed(config, tmp_path)
    config, folder = begin(config, tmp_path, "many")
    wait(crowd(config, workers, 0.05))
    sound(folder, total)
    assert told(folder) == alone
    assert set(ran(folder).values()) == {1}
    return alone


def same_after_random_kills(config: Config, tmp_path: Path, seconds: float, seed: int, total: int) -> None:
    """Whoever is killed whenever, the records are those of one worker that nobody disturbs.

    Every kill may hit the same trial: one that is lost more than REQUEUES times fails, as it should.
    """
    alone, kills = undisturbed(config, tmp_path), 12
    config, folder = begin(config, tmp_path, "killed")
    assert harass(config, folder, 4, seconds, kills, random.Random(seed), total, requeues=kills) > 0
    found = audit(folder, total, alone)
    assert found == Audit(), (found, [(e.trial, e.state, e.reason) for e in record.read(folder) if e.state == "fail"])


def sound(folder: Path, total: int) -> None:
    """Every trial has one record, Optuna's study says the same, nothing is left open."""
    found = audit(folder, total, told(folder))
    assert found == Audit(), found


def audit(folder: Path, total: int, expected: Sequence[Record]) -> Audit:
    """Hold a study against what its workers noted, against Optuna's study, and against the records expected of it."""
    unreadable = sum(not _readable(path) for path in folder.glob("*.jsonl"))
    unreadable += sum(not _kept(folder, entry) for entry in record.read(folder))
    lines = (folder / record.RECORDS).read_bytes().splitlines()
    noted = notes(folder)
    kept = {stub.digest(line) for line in lines}
    optunas, broken = _optuna(folder)
    records = told(folder)
    ended = Counter(trial.user_attrs["trial"] for trial in optunas if trial.state.name in ("COMPLETE", "PRUNED"))
    differ = {entry.trial for entry in records} ^ {entry.trial for entry in expected}
    differ |= {one.trial for one, other in zip(records, expected, strict=False) if one != other}
    differ |= set(ended) ^ {entry.trial for entry in records if entry.state != "fail"}
    return Audit(
        lost=sum(words[0] == "ack" and words[2] not in kept for words in noted),
        twice=len(lines) - len(records) + sum(count > 1 for count in ended.values()),
        retried=sum(words[0] == "begin" and words[3] not in ("-", "Z", "X", "T") for words in noted),
        left=total - len(records) + sum(trial.state.name in ("RUNNING", "WAITING") for trial in optunas),
        unreadable=unreadable + broken,
        differ=len(differ),
    )


def _readable(path: Path) -> bool:
    text = path.read_bytes()
    try:
        [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return False
    return text.endswith(b"\n")


def _kept(folder: Path, entry: Record) -> bool:
    """Whether the files of a trial's adapter are those that were recorded; a trial that was looked up has none."""
    here = folder / "trials" / f"{entry.trial:04d}" / Path(entry.adapter.path).name
    files = entry.adapter.sha256 if here.is_dir() else {}
    return all((here / name).exists() and sha256_of(here / name) == value for name, value in files.items())


def optunas(folder: Path) -> dict[str, list[optuna.trial.FrozenTrial]]:
    """The trials of each of Optuna's studies that a study has, by what is added to its name."""
    storage, name = open_storage(folder)
    names = [each.study_name for each in storage.get_all_studies() if each.study_name.startswith(name)]
    found = {each[len(name) :]: optuna.load_study(study_name=each, storage=storage).get_trials() for each in names}
    close_storage(storage)
    return found


def _optuna(folder: Path) -> tuple[list[optuna.trial.FrozenTrial], int]:
    try:
        found = optunas(folder)
    except (ValueError, KeyError):
        return [], 1
    return [trial for trials in found.values() for trial in trials], 0 if "" in found else 1


def ran(folder: Path) -> Counter[str]:
    """How often each trial came to its end."""
    return Counter(f"end {words[1]}" for words in notes(folder) if words[0] == "end")


def until_begun(folder: Path, within_s: float = 300.0, count: int = 1) -> None:
    """Wait until so many trials were begun."""
    end = time.monotonic() + within_s
    while sum(words[0] == "begin" for words in notes(folder)) < count:
        assert time.monotonic() < end, "no worker begins"
        time.sleep(0.01)
