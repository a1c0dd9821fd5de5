"""SLURM jobs: which exit codes are failures, and which jobs are gone."""

import os
import sys

import pytest

from harness.cluster.launchers.slurm_jobs import Job, waiting_or_running


@pytest.mark.parametrize(("code", "fails"), [(0, False), (143, False), (140, False), (2, True), (70, True)])
def test_a_job_that_was_told_to_end_has_not_failed(code, fails):
    job = Job([sys.executable, "-c", f"raise SystemExit({code})"])
    if fails:
        with pytest.raises(Exception, match=f"exit status {code}"):
            job()
    else:
        assert job() == code


def test_a_job_is_nothing_but_its_argument_vector():
    assert vars(Job(["a", "b"])) == {"argv": ["a", "b"]}


def test_no_jobs_are_asked_about_where_none_are_known():
    assert waiting_or_running([]) == []


@pytest.mark.parametrize(
    ("said", "there"),
    [
        ("echo 7_1; exit 0", ["7_1"]),
        ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", []),
        ("echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1", ["7_0", "7_1"]),
        ("exit 1", ["7_0", "7_1"]),
    ],
    ids=["one has ended", "all are forgotten", "it does not answer", "it says nothing"],
)
def test_jobs_are_taken_for_gone_only_where_slurm_says_so(tmp_path, monkeypatch, said, there):
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\n{said}\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert waiting_or_running(["7_0", "7_1"]) == there
