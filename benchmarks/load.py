"""The load that a study supports: trials a second and waits for an assignment, with trials that only sleep.

A wait is from asking for the study's lock until the assignment is on the disk and Optuna's mirror told. A soak of many
trials follows, for the memory of each worker. Needs Linux.

    python -m benchmarks.load > results/curated/load.md
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from harness import record
from harness.config import Config, check
from tests import tiny
from tests.cluster import crowd
from tests.cluster.services import Postgres, missing

ROUNDS = {1: 1, 4: 2, 16: 4, 64: 8}  # trials of each of 64 arms, by the number of workers
SECONDS = 0.5
WORKERS, WARM, LIMIT = 4, 200, 30 * 10**6  # of the soak; memory is looked at from so many trials on
MIB = 2**20


def main() -> None:
    """Print a row for each storage and number of workers, and one for the soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=list(ROUNDS), choices=list(ROUNDS))
    parser.add_argument("--soak", type=int, default=2000, help="trials of the soak, a multiple of 4")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="harness-load-"))
    (home / "base").mkdir()
    tiny.write_base(home / "base")
    tiny.write_data(home)
    os.environ |= {"HARNESS_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"}
    os.environ.pop("HARNESS_STORAGE", None)
    print("| storage | workers | trials | trials/s | at most | wait, median | wait, p95 | longest wait |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for workers in arguments.workers:
        _row(home, "journal", workers)
    if gone := missing("initdb", "pg_ctl", "createdb"):
        print(f"PostgreSQL is left out: no {', '.join(gone)} here", file=sys.stderr)
    else:
        with closing(Postgres()) as server:
            os.environ["HARNESS_STORAGE"] = server.address
            for workers in arguments.workers:
                _row(home, "PostgreSQL", workers)
            del os.environ["HARNESS_STORAGE"]
    print(f"\n{SECONDS} s a trial; {os.cpu_count()} cores.\n")
    _soak(home, arguments.soak)
    shutil.rmtree(home)


def _row(home: Path, storage: str, workers: int) -> None:
    config = _study(home, {"lora.rank": list(range(1, 9)), "optimizer.weight_decay": _decays(8)}, ROUNDS[workers])
    config, folder = crowd.begin(config, Path(tempfile.mkdtemp(dir=home)), "load")
    processes = crowd.crowd(config, workers, SECONDS)
    crowd.wait(processes, 600.0)
    assert {process.exitcode for process in processes} == {0}, "not all of them worked"
    notes = crowd.notes(folder)
    ends = sorted(float(words[-1]) for words in notes if words[0] == "ack")
    assert len(ends) == len(record.read(folder)) == 64 * ROUNDS[workers]
    tenth = len(ends) // 10  # workers come one after another, and go when nothing is left for them
    rate = (len(ends) - 2 * tenth - 1) / (ends[-1 - tenth] - ends[tenth])
    waits = [float(words[3]) for words in notes if words[0] == "assign"]
    shown = (statistics.median(waits), statistics.quantiles(waits, n=20)[-1], max(waits))
    times = " | ".join(f"{1000 * wait:.0f} ms" for wait in shown)
    print(f"| {storage} | {workers} | {len(ends)} | {rate:.1f} | {workers / SECONDS:.0f} | {times} |", flush=True)


def _soak(home: Path, trials: int) -> None:
    """Trials that take no time; the resident set of each worker after the first ones, and in the end."""
    config = _study(home, {"lora.rank": list(range(1, WORKERS + 1))}, trials // WORKERS)
    config, folder = crowd.begin(config, Path(tempfile.mkdtemp(dir=home)), "soak")
    started = time.monotonic()
    processes = crowd.crowd(config, WORKERS, 0.0)
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    while any(process.exitcode is None for process in processes):
        for process in processes:
            if process.pid is not None and (size := _resident(process.pid)):
                last[process.pid] = size
        done = sum(words[0] == "ack" for words in crowd.notes(folder))
        if not first and done >= WARM:
            first = dict(last)
        print(f"\r{done} of {trials} trials", end="", file=sys.stderr, flush=True)
        time.sleep(1.0)
    print(file=sys.stderr)
    grown = [(last[pid] - size) / MIB for pid, size in first.items()]
    assert len(grown) == WORKERS
    assert max(grown) * MIB < LIMIT, grown
    kept = crowd.told(folder)
    assert crowd.audit(folder, trials, kept) == crowd.Audit()
    print(
        f"Soak, journal: {len(kept)} trials by {len(grown)} workers in {time.monotonic() - started:.0f} s; from trial "
        f"{WARM} on the resident set of a worker grew by {', '.join(f'{size:.1f}' for size in sorted(grown))} MiB."
    )


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _study(home: Path, scientific: dict[str, object], trials: int) -> Config:
    words = ("sweep=rank_alpha_lr", "run=study", "study=s", "launch.lease_s=60.0")
    tree = tiny.compose_tree(home / "base", home / "reviews.csv", *words)
    tree["sweep"] |= {"scientific": scientific, "baselines": {}, "trials": trials, "startup": 4, "prune_after": None}
    return check(tree)


def _decays(count: int) -> list[float]:
    return [index / 100 for index in range(count)]


if __name__ == "__main__":
    main()
