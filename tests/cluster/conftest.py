"""PostgreSQL and SLURM, started once; a machine without them skips."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.services import Postgres, Slurm, missing


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    if gone := missing("initdb", "pg_ctl", "createdb"):
        pytest.skip(f"no {', '.join(gone)} here: apt-get install postgresql")
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def postgres(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """The server, named as the storage of studies."""
    monkeypatch.setenv("HARNESS_STORAGE", server.address)
    return server


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    if gone := missing("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "munged", "munge"):
        pytest.skip(f"no {', '.join(gone)} here: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("a SLURM of its own is started by root")
    try:
        slurm = Slurm()
    except PermissionError as error:
        pytest.skip(f"a SLURM of its own cannot be started here: {error}")
    yield slurm
    slurm.close()
