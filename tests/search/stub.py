"""A worker of a study whose trials cost nothing but time: python -m tests.search.stub RESULTS STUDY SECONDS."""

import dataclasses
import multiprocessing
import os
import sys
import time
from pathlib import Path

from harness.config import fingerprint
from harness.record import Record
from harness.search import join, load_study, study_folder
from harness.search import study as study_module
from harness.search import worker as worker_module
from harness.training import Interrupted, end_if_asked, graceful_stop
from tests.test_record import make

IDENTITY = {"data": "d", "base": "b", "tokenizer": "t", "device": "cpu", "precision": "32-true"}


def score_of(config) -> float:
    """A function of the configuration alone."""
    return round(0.5 + 0.001 * getattr(config.lora, "rank", 5) + config.optimizer.lr, 6)


def stub(seconds: float):
    """A trial of so many seconds; it leaves a line in ran.log when it begins and when it ends."""

    def run_trial(config, place, report) -> Record:
        ran = place.folder.parents[1] / "ran.log"
        _note(ran, f"begin {place.number}")
        score = score_of(config)
        entry = make(
            place.number,
            study=place.study,
            arm=place.arm,
            point=place.point,
            fingerprint=worker_module.fingerprint_of(config),
            task=config.task.name,
            model=config.model.name,
            hardware=dict(IDENTITY),
            scores={"val": {"accuracy": score, "loss": 1 - score}, "test": {"accuracy": score, "loss": 1 - score}},
            time={"total_s": seconds},
        )
        for step in (1, 2, 3):
            until = time.monotonic() + seconds / 3
            while time.monotonic() < until:
                end_if_asked()
                time.sleep(min(0.01, seconds / 3))
            if report(step, {"accuracy": score * step / 3, "loss": 1 - score}):
                entry = dataclasses.replace(entry, state="pruned")
                break
        _note(ran, f"end {place.number}")
        return entry

    return run_trial


def _note(path: Path, text: str) -> None:
    handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(handle, f"{text}\n".encode())
    os.close(handle)


def cheap(patch, seconds: float) -> None:
    """Replace what costs: training, reading data, counting."""
    patch(worker_module, "run_trial", stub(seconds))
    patch(worker_module, "fingerprint_of", lambda config: fingerprint(config, IDENTITY))
    patch(study_module, "identity", lambda config: dict(IDENTITY))


def main(results: str, study: str, seconds: float, environment: dict[str, str] | None = None) -> None:
    """One worker, until the study is done; it exits as the command would."""
    os.environ.update(environment or {})
    cheap(setattr, seconds)
    config = load_study(results, study)
    with graceful_stop():
        try:
            with join(config, study_folder(config)) as worker:
                worker.work()
        except Interrupted as stop:
            sys.exit(stop.exit_code)


def start(results: Path, study: str, seconds: float, **environment: str) -> multiprocessing.process.BaseProcess:
    """A worker in a process of its own, forked from a server that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.search.stub"])
    kept = {name: value for name, value in os.environ.items() if name.startswith("HARNESS_")}
    process = context.Process(target=main, args=(str(results), study, seconds, kept | environment), daemon=True)
    process.start()
    return process


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
