"""A campaign of faults against studies that one to four workers share: what each of them cost.

Workers are processes, and the faults are real: killed, stopped, out of disk, out of their database. Each study then
runs to its end, and is held against what its workers noted outside of it, and against one that nobody disturbed. The
times that a trial is queued again are not limited here. Needs Linux; PostgreSQL and a full disk are left out, and said
to be, where there is no server to start or the right to mount one is missing.

    python -m benchmarks.faults > results/curated/faults.md
"""

import argparse
import dataclasses
import functools
import http.server
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from sqlalchemy import create_engine, text

from harness import record
from harness.cluster.optuna_storage import JOURNAL
from harness.config import Config, check
from harness.record import Record
from tests import tiny
from tests.cluster import crowd
from tests.cluster.crowd import Audit
from tests.cluster.services import Postgres, free_port, missing

POINTS = ("after_assignment", "before_record", "before_tell", "in_reconcile", "in_training", "in_checkpoint")
IN_TRIALS = ("in_training", "in_checkpoint")
LEASE_S = 3.0
PER_STUDY = 8
UNLIMITED = 10**6
HEADER = "| fault | storage | times | studies | lost | twice | retried | left | unreadable | differ |"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A study to disturb: its trials' seconds, or None for real ones, and its records when nobody does."""

    config: Config
    seconds: float | None
    expected: list[Record]


@dataclasses.dataclass(frozen=True)
class Study:
    """One study that is being disturbed."""

    kind: Kind
    config: Config
    folder: Path
    workers: int
    draw: random.Random

    @property
    def total(self) -> int:
        """The number of trials in the study."""
        return len(self.kind.expected)

    @property
    def done(self) -> bool:
        """Return whether every trial is recorded."""
        return len(record.read(self.folder)) == self.total

    def start(self, count: int, **environment: str) -> list[BaseProcess]:
        """So many workers."""
        return crowd.crowd(self.config, count, self.kind.seconds, UNLIMITED, **environment)

    def finish(self) -> None:
        """Workers that nobody disturbs come to the study's end."""
        processes = self.start(self.workers)
        crowd.wait(processes, 300.0)
        assert {process.exitcode for process in processes} == {0}, f"a worker failed in {self.folder}"

    def at_work(self, process: BaseProcess) -> bool:
        """Return whether a worker is alive and has begun a trial."""
        begun = {words[2] for words in crowd.notes(self.folder) if words[0] == "begin"}
        return process.exitcode is None and str(process.pid) in begun

    def moment(self, processes: list[BaseProcess]) -> BaseProcess | None:
        """A worker at a random moment of its work; nothing if the study has come to its end."""
        victim = self.draw.choice(processes)
        while not self.at_work(victim) and not self.done:
            time.sleep(0.02)
            alive = [process for process in processes if process.exitcode is None]
            victim = self.draw.choice(alive or processes)
        time.sleep(self.draw.uniform(0.0, 0.3 if self.kind.seconds is not None else 1.0))
        return None if self.done else victim


Fault = Callable[[Study], int]
"""Disturbs a study, whose workers it starts and ends; returns how many times."""


def killed_at_random(study: Study) -> int:
    """Whatever a worker is at, from its start on."""
    return crowd.harass(
        study.config,
        study.folder,
        study.workers,
        study.kind.seconds,
        PER_STUDY,
        study.draw,
        study.total,
        UNLIMITED,
    )


def killed_at(study: Study, point: str) -> int:
    """Waves of workers that each die the first, second, ... time they pass a point."""
    often = 12 if point in IN_TRIALS else 3
    killed = 0
    while killed < PER_STUDY and not study.done:
        wave = (
            [] if point != "in_reconcile" else study.start(1, HARNESS_FAULT="after_assignment")
        )  # leaves one to settle
        for _ in range(study.workers):
            wave += study.start(1, HARNESS_FAULT=f"{point}:{study.draw.randint(1, often)}")
        crowd.wait(wave, 300.0)
        assert {process.exitcode for process in wave} <= {0, -signal.SIGKILL}, f"a worker failed in {study.folder}"
        killed += sum(process.exitcode == -signal.SIGKILL for process in wave)
    return killed


def signalled(study: Study, signum: int) -> int:
    """Asked to stop, at random moments, and replaced."""
    processes, times = study.start(study.workers), 0
    while times < PER_STUDY and (victim := study.moment(processes)) is not None:
        if victim.exitcode is None and victim.pid is not None:
            os.kill(victim.pid, signum)
            crowd.wait([victim], 20.0)
            assert victim.exitcode in (0, 128 + signum), f"exit code {victim.exitcode}"
            times += victim.exitcode != 0
            processes[processes.index(victim)] = study.start(1)[0]
    crowd.wait(processes, 300.0)
    return times


def stopped(study: Study) -> int:
    """Put to sleep past the lease; it wakes up and finds its trial given away."""
    processes, times = study.start(study.workers + 1), 0
    while times < 2 and (victim := study.moment(processes)) is not None:
        if victim.exitcode is None and victim.pid is not None:
            os.kill(victim.pid, signal.SIGSTOP)
            time.sleep(LEASE_S + 1)
            os.kill(victim.pid, signal.SIGCONT)
            times += 1
    crowd.wait(processes, 300.0)
    return times


def torn(study: Study) -> int:
    """Every worker is killed, and each log ends in a part of a line."""
    times = 0
    while times < PER_STUDY and not study.done:
        processes = study.start(study.workers)
        study.moment(processes)
        for process in processes:
            process.kill()
        crowd.wait(processes)
        logs = (study.folder / name for name in ("records.jsonl", "attempts.jsonl", JOURNAL))
        for path in (path for path in logs if path.exists() and path.stat().st_size):
            line = path.read_bytes().splitlines()[-1]
            with open(path, "ab") as file:
                file.write(line[: study.draw.randint(1, len(line))])
            times += 1
    return times


def out_of_disk(study: Study) -> int:
    """The disk is full for a second, at random moments; workers that end of it are replaced."""
    times = 0
    while times < 3 and not study.done:
        processes = study.start(study.workers)
        study.moment(processes)
        with open(study.folder / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                times += 1
            time.sleep(1.0)
        (study.folder / "ballast").unlink()
        crowd.wait(processes, 300.0)
    return times


def restarted(study: Study, server: Postgres) -> int:
    """The database goes away for a second."""
    processes, times = study.start(study.workers), 0
    while times < 2 and study.moment(processes) is not None:
        server.stop()
        time.sleep(1.0)
        server.start()
        times += 1
    crowd.wait(processes, 300.0)
    return times


def disconnected(study: Study, server: Postgres) -> int:
    """The database drops every connection."""
    processes, times = study.start(study.workers), 0
    engine = create_engine(server.address)
    drop = (
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and usename = 'harness'"
    )
    while times < 3 and study.moment(processes) is not None:
        with engine.connect() as connection:
            connection.execute(text(drop))
        times += 1
    engine.dispose()
    crowd.wait(processes, 300.0)
    return times


def without_wandb(study: Study, address: str) -> int:
    """W&B is asked for and is not there."""
    online = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
    processes = study.start(1, **online)
    crowd.wait(processes, 300.0)
    assert processes[0].exitcode == 0
    return 1


def damaged(study: Study, how: str) -> int:
    """Workers are killed in training, and the newest checkpoint of each trial is damaged."""
    times = 0
    while times < PER_STUDY and not study.done:
        wave = [study.start(1, HARNESS_FAULT=f"in_training:{study.draw.randint(3, 12)}")[0] for _ in range(4)]
        crowd.wait(wave, 300.0)
        folders = sorted(study.folder.glob("trials/*/checkpoint"))
        newest = [max(folder.glob("*.pt")) for folder in folders if any(folder.glob("*.pt"))]
        if how == "exchanged":
            pairs = list(itertools.pairwise(newest))[::2]
            for one, other in pairs:
                _exchange(one, other)
            times += 2 * len(pairs)
        else:
            for path in newest:
                _damage(path, how, study.draw)
            times += len(newest)
    return times


def _damage(path: Path, how: str, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    place = draw.randrange(len(content))
    if how == "truncated":
        del content[place:]
    else:
        content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _exchange(one: Path, other: Path) -> None:
    """With their digests, so that only the fingerprint inside tells."""
    for mine, its in ((one, other), (one.with_suffix(".sha256"), other.with_suffix(".sha256"))):
        kept = mine.read_bytes()
        mine.write_bytes(its.read_bytes())
        its.write_bytes(kept)


class Campaign:
    """Runs rows of the table and prints them."""

    def __init__(self, home: Path, seed: int, share: float, only: str) -> None:
        self.home, self.seed, self.share, self.only = home, seed, share, only
        self.cheap = self._kind(0.06, ["trainer.max_steps=8"], {"trials": 4, "startup": 2, "prune_after": 2})
        self.real = self._kind(None, ["trainer.max_steps=40"], {"trials": 2, "startup": 1, "prune_after": 1})
        self.studies, self.kills, self.found = 0, 0, Audit()

    def row(
        self, name: str, kind: Kind, storage: str, times: int, fault: Fault, trace: str = "", disk: bool = False
    ) -> None:
        """Disturb studies of one to four workers in turn, until it was done so many times.

        `trace` is what workers of each must have said: a fault that nobody met is none.
        """
        if self.only not in name:
            return
        started, done, studies, found = time.monotonic(), 0, 0, Audit()
        while done < max(1, round(times * self.share)):
            draw = random.Random(f"{self.seed} {name} {storage} {studies}")
            events, audit = self._one(kind, 1 + studies % 4, draw, fault, trace, disk)
            done, studies, found = done + events, studies + 1, found + audit
        figures = (done, studies, *dataclasses.astuple(found))
        print(f"| {name} | {storage} | {' | '.join(map(str, figures))} |", flush=True)
        print(f"{name}, {storage}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        self.studies, self.found = self.studies + studies, self.found + found
        self.kills += done if name.startswith("kill -9") else 0

    def _one(
        self, kind: Kind, workers: int, draw: random.Random, fault: Fault, trace: str, disk: bool
    ) -> tuple[int, Audit]:
        roof = Path(tempfile.mkdtemp(dir=self.home))
        with _small_disk(roof / "s") if disk else _nothing():
            config, folder = crowd.begin(kind.config, roof.parent, roof.name)
            study = Study(kind, config, folder, workers, draw)
            events = fault(study)
            study.finish()
            audit = crowd.audit(folder, study.total, kind.expected)
        said = (roof / "workers.log").read_text()
        assert trace in said or not events, f"no worker said '{trace}' in {roof}"
        if audit == Audit():
            shutil.rmtree(roof)
        else:
            print(f"see {roof}: {audit}", file=sys.stderr, flush=True)
        return events, audit

    def _kind(self, seconds: float | None, words: list[str], sweep: dict[str, int]) -> Kind:
        home = Path(tempfile.mkdtemp(dir=self.home))
        base, data = home / "base", home / "data"
        base.mkdir()
        data.mkdir()
        more = ("sweep=rank_alpha_lr", "run=study", "study=s", "trainer.threads=1", f"launch.lease_s={LEASE_S}")
        tree = tiny.compose_tree(tiny.write_base(base), tiny.write_data(data), *more, *words, "tracking=wandb")
        tree["sweep"] |= {"scientific": {"lora.rank": [1, 2]}, **sweep}
        config, folder = crowd.begin(check(tree), home, "alone")
        crowd.wait(crowd.crowd(config, 1, seconds), 300.0)
        return Kind(config, seconds, crowd.told(folder))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _can_mount(home: Path) -> bool:
    try:
        with _small_disk(home / "probe"):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False
    finally:
        (home / "probe").rmdir()


@contextmanager
def _silent_port() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def _broken_server() -> Iterator[str]:
    """Answers everything with 500."""

    class Broken(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(500)

        do_GET = do_POST  # noqa: N815  the server's name for it

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(campaign: Campaign) -> int:
    """The whole campaign; returns how many things were wrong."""
    print(HEADER)
    print("|---|---|" + "---:|" * 8)
    if gone := missing("initdb", "pg_ctl", "createdb"):
        print(f"PostgreSQL is left out: no {', '.join(gone)} here", file=sys.stderr)
        _with_storage(campaign, "journal")
    else:
        with closing(Postgres()) as server:
            _with_storage(campaign, "journal")
            os.environ["HARNESS_STORAGE"] = server.address
            _with_storage(campaign, "PostgreSQL")
            again = functools.partial(restarted, server=server)
            campaign.row("database restarted", campaign.cheap, "PostgreSQL", 8, again, "connection dropped")
            dropped = functools.partial(disconnected, server=server)
            campaign.row("connections dropped", campaign.cheap, "PostgreSQL", 20, dropped, "connection dropped")
            del os.environ["HARNESS_STORAGE"]
    for how in ("truncated", "one bit flipped", "exchanged"):
        fault = functools.partial(damaged, how=how)
        trace = "is another trial's" if how == "exchanged" else "is damaged"
        campaign.row(f"checkpoints {how}", campaign.real, "journal", 20, fault, trace)
    with _silent_port() as silent, _broken_server() as broken:
        ways = {
            "has no address": "http://wandb.invalid",
            "refuses connections": f"http://127.0.0.1:{free_port()}",
            "never answers": silent,
            "answers 500": broken,
        }
        for way, address in ways.items():
            fault = functools.partial(without_wandb, address=address)
            campaign.row(f"W&B {way}", campaign.real, "journal", 1, fault, "W&B online: ")
    print(f"\n{campaign.kills} times kill -9, {campaign.studies} studies.")
    return sum(dataclasses.astuple(campaign.found))


def _with_storage(campaign: Campaign, storage: str) -> None:
    campaign.row("kill -9 at a random moment", campaign.cheap, storage, 60, killed_at_random)
    campaign.row("kill -9 at a random moment, real trials", campaign.real, storage, 24, killed_at_random)
    for point in POINTS:
        kind = campaign.real if point in IN_TRIALS else campaign.cheap
        fault = functools.partial(killed_at, point=point)
        campaign.row(f"kill -9 {point}", kind, storage, 32, fault)
    for name in ("SIGTERM", "SIGINT"):
        fault = functools.partial(signalled, signum=int(getattr(signal, name)))
        campaign.row(name, campaign.cheap, storage, 24, fault)
        campaign.row(f"{name}, real trials", campaign.real, storage, 8, fault)
    campaign.row("SIGSTOP past the lease", campaign.cheap, storage, 8, stopped)
    campaign.row("SIGSTOP past the lease, real trials", campaign.real, storage, 6, stopped)
    campaign.row("logs with a torn line", campaign.cheap, storage, 24, torn)
    if _can_mount(campaign.home):
        campaign.row("disk full", campaign.cheap, storage, 12, out_of_disk, "No space left", disk=True)
        campaign.row("disk full, real trials", campaign.real, storage, 6, out_of_disk, "No space left", disk=True)
    else:
        print("a full disk is left out: nothing can be mounted here", file=sys.stderr)


def main() -> None:
    """Print the table; exit 1 if anything in it is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the times that each fault is done")
    parser.add_argument("--only", default="", help="the faults whose names hold this")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="harness-faults-"))
    os.environ |= {"HARNESS_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    os.environ["TQDM_DISABLE"] = "1"
    os.environ.pop("HARNESS_STORAGE", None)
    wrong = run(Campaign(home, arguments.seed, arguments.share, arguments.only))
    if wrong:
        sys.exit(1)
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
