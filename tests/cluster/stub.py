"""A worker of a study in a process of its own, whose trials cost nothing but time, or are real and small."""

import dataclasses
import hashlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness import record
from harness.cluster import study as study_module
from harness.cluster import worker as worker_module
from harness.cluster.assignments import REQUEUES, Assignment, Slot
from harness.cluster.locks import base as locks
from harness.cluster.study_folder import load_study, study_folder
from harness.cluster.worker import Worker, join
from harness.config import Config, fingerprint
from harness.record import Record
from harness.system.signals import Interrupted, graceful_stop, raise_if_stop_requested
from harness.training import checkpoint
from harness.trial import TrialContext
from tests.test_record import make

IDENTITY = {"data": "d", "base": "b", "tokenizer": "t", "device": "cpu", "precision": "32-true"}
REAL = None
"""In place of the seconds that a trial takes: a trial as ever, which is put down after each step."""

Report = Callable[[int, dict[str, float]], bool]
Accept = Callable[[Record], bool]


def score_of(config: Config) -> float:
    """A function of the configuration alone."""
    return round(0.5 + 0.001 * getattr(config.lora, "rank", 5) + config.optimizer.lr, 6)


def accepting(
    run: Callable[[Config, TrialContext, Report], Record],
) -> Callable[[Config, TrialContext, Report, Accept], Record]:
    """A trial's record is accepted as soon as it is there."""

    def run_trial(config: Config, context: TrialContext, report: Report, accept: Accept) -> Record:
        entry = run(config, context, report)
        accept(entry)
        return entry

    return run_trial


def stub(seconds: float) -> Callable[[Config, TrialContext, Report], Record]:
    """A trial of so many seconds."""

    def run_trial(config: Config, context: TrialContext, report: Report) -> Record:
        score = score_of(config)
        named = {config.trainer.objective: score}
        entry = make(
            context.number,
            study=context.study,
            arm=context.arm,
            phase=context.phase,
            seeds={"trial": config.seed},
            point=context.point,
            fingerprint=worker_module.fingerprint_of(config),
            task=config.task.name,
            model=config.model.name,
            provenance={"inputs": dict(IDENTITY)},
            scores={split: named | {"accuracy": score, "loss": 1 - score} for split in ("val", "test")},
            time={"total_s": seconds},
        )
        for step in (1, 2, 3):
            until = time.monotonic() + seconds / 3
            while time.monotonic() < until:
                raise_if_stop_requested()
                time.sleep(min(0.05, seconds / 3))
            so_far = score * step / 3
            if report(step, {config.trainer.objective: so_far, "accuracy": so_far, "loss": 1 - score}):
                return dataclasses.replace(entry, state="pruned")
        return entry

    return run_trial


def cheap(patch: Callable[[object, str, object], None], seconds: float) -> None:
    """Replace what costs: training, reading data, counting."""
    patch(worker_module, "run_trial", accepting(stub(seconds)))
    patch(worker_module, "fingerprint_of", lambda config: fingerprint(config, IDENTITY))
    patch(study_module, "identity", lambda config: dict(IDENTITY))


def watch(notes: Path) -> None:
    """Note when a trial begins, and what has become of the process that began it before; its end; its record.

    Of an assignment, how long it took from asking for the study's lock. The notes are no part of the study: they are
    what it is held against.
    """
    run, append, ask, assign = (
        worker_module.run_trial,
        record.append,
        worker_module.raise_if_stop_requested,
        Worker._next_assignment,
    )
    asked = 0.0

    def run_trial(config: Config, context: TrialContext, report: Report, accept: Accept) -> Record:
        def end(entry: Record) -> bool:
            note(notes, f"end {context.number} {os.getpid()}")
            return accept(entry)

        note(notes, f"begin {context.number} {os.getpid()} {_state_of(notes, context.number)}")
        return run(config, context, report, end)

    def add(folder: Path, entry: Record) -> None:
        append(folder, entry)
        note(notes, f"ack {entry.trial} {digest(record.to_json(entry).encode())}")

    def raise_if_stopped() -> None:
        nonlocal asked
        ask()
        asked = time.monotonic()

    def timed_assignment(worker: Worker) -> tuple[Slot, Assignment] | None:
        taken = assign(worker)
        if taken is not None:
            note(notes, f"assign {taken[0].number} {os.getpid()} {time.monotonic() - asked:.6f}")
        return taken

    worker_module.run_trial, record.append = run_trial, add
    worker_module.raise_if_stop_requested, Worker._next_assignment = raise_if_stopped, timed_assignment  # type: ignore[method-assign]


def note(path: Path, text: str) -> None:
    """Add a line and the time, whole or not at all."""
    handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(handle, f"{text} {time.monotonic():.6f}\n".encode())
    os.close(handle)


def digest(line: bytes) -> str:
    """What tells a line of the records from any other."""
    return hashlib.sha256(line).hexdigest()


def _state_of(notes: Path, trial: int) -> str:
    """Of the process that was the last to begin a trial and did not end it: the kernel's letter, or - for none."""
    lines = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    ends = [words for words in lines if words[0] in ("begin", "end") and words[1] == str(trial)]
    if not ends or ends[-1][0] == "end":
        return "-"
    try:
        return Path(f"/proc/{ends[-1][2]}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "-"


def main(
    results: str, study: str, seconds: float | None, notes: Path, requeues: int, environment: dict[str, str]
) -> None:
    """One worker, until the study is done; it exits as the command would."""
    locks.STOP_PATIENCE_S = float(environment.pop("STOP_PATIENCE_S", locks.STOP_PATIENCE_S))
    os.environ.update(environment)
    worker_module.REQUEUES = requeues
    said = os.open(notes.with_name("workers.log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if seconds is None:
        checkpoint.EVERY_S = 0.0
    else:
        cheap(setattr, seconds)
    watch(notes)
    config = load_study(results, study)
    with graceful_stop():
        try:
            with join(config, study_folder(config.results, config.study)) as worker:
                worker.work()
        except Interrupted as stop:
            sys.exit(stop.exit_code)


def start(
    results: Path, study: str, seconds: float | None, notes: Path, requeues: int = REQUEUES, **environment: str
) -> multiprocessing.process.BaseProcess:
    """A worker in a process of its own, forked from a server that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.cluster.stub", "tests.frozen"])
    kept = {name: value for name, value in os.environ.items() if name.startswith(("HARNESS_", "WANDB_", "OMP_"))}
    words = (str(results), study, seconds, notes, requeues, kept | environment)
    process = context.Process(target=main, args=words, daemon=True)
    process.start()
    return process
