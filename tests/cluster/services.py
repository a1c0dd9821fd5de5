"""Real services for tests, each on this machine alone, in its own folder: PostgreSQL, and a SLURM of one node."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "planted-secret-4711"

SLURM_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmctldPort={port}
SlurmdPort={port_d}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=20
MinJobAge=3600
ReturnToService=2
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=8000 Gres=gpu:4 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={host} PriorityTier=10 MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing(*programs: str) -> list[str]:
    """Those programs that are not there."""
    return [name for name in programs if _which(name) is None]


def _which(name: str) -> str | None:
    beside = os.pathsep.join(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)))
    return shutil.which(name) or shutil.which(name, path=f"/usr/sbin:{beside}")


class Postgres:
    """A server on a loopback port, with a password; its files belong to the user postgres where root runs it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="harness-postgres-"))
        self.user = "postgres" if os.geteuid() == 0 else None
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        if self.user:
            owner = pwd.getpwnam(self.user)
            for path in (self.folder, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", self.data, "-A", "scram-sha-256", "-U", "harness", f"--pwfile={secret}")
        self.start()
        environment = os.environ | {"PGPASSWORD": PASSWORD}
        program = _which("createdb")
        words = [program, "-h", "127.0.0.1", "-p", str(self.port), "-U", "harness", "harness"]
        subprocess.run(words, env=environment, check=True, capture_output=True)

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    @property
    def address(self) -> str:
        return f"postgresql://harness:{PASSWORD}@127.0.0.1:{self.port}/harness"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-D", self.data, "-o", options, "-l", str(self.folder / "log"), "-w", "start")

    def stop(self) -> None:
        """Drop every connection and end."""
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def close(self) -> None:
        """End, and remove the files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *words: str) -> None:
        program = _which(name)
        assert program is not None
        user = self.user and pwd.getpwnam(self.user).pw_uid
        # Output goes nowhere: the server inherits it, and a pipe would be waited for.
        subprocess.run(
            [program, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd="/tmp"
        )


class Slurm:
    """One node, four pretended GPUs, and a partition `urgent` whose jobs push those of `main` back into the queue."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="harness-slurm-"))
        host = socket.gethostname().partition(".")[0]
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir()
        conf = SLURM_CONF.format(host=host, folder=self.folder, port=free_port(), port_d=free_port())
        (self.folder / "slurm.conf").write_text(conf)
        for index in range(4):
            os.mknod(self.folder / f"gpu{index}", 0o20666, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-3]\n")
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        _start_munge()
        for program in ("slurmctld", "slurmd"):
            words = [_which(program), *(("-N", host) if program == "slurmd" else ())]
            subprocess.run(words, env=os.environ | self.environment, check=True, capture_output=True)
        self._wait_until_idle()

    def ask(self, *words: str) -> str:
        """What a SLURM command says."""
        done = subprocess.run(words, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def running(self) -> list[str]:
        """Ids of the jobs that run."""
        return self.ask("squeue", "--noheader", "--array", "--format=%i", "--states=RUNNING").split()

    def close(self) -> None:
        """End all jobs and both daemons, by their ids."""
        for job in self.ask("squeue", "--noheader", "--format=%A").split():
            self.ask("scancel", job)
        for name in ("slurmd", "slurmctld"):
            _end(self.folder / f"{name}.pid")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_until_idle(self) -> None:
        until = time.monotonic() + 30
        while "idle" not in self.ask("sinfo", "--noheader", "--format=%T"):
            assert time.monotonic() < until, (self.folder / "slurmctld.log").read_text()
            time.sleep(0.2)


def _start_munge() -> None:
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
        return
    owner = pwd.getpwnam("munge")
    for folder in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    program = _which("munged")
    assert program is not None
    subprocess.run([program, "--force"], user=owner.pw_uid, group=owner.pw_gid, check=True, capture_output=True)
    until = time.monotonic() + 10
    while subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
        assert time.monotonic() < until, "munge does not answer"
        time.sleep(0.1)


def _end(pid_file: Path) -> None:
    """End a daemon and wait: one that is still ending makes the next start hang."""
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    until = time.monotonic() + 20
    os.kill(pid, 15)
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.1)
