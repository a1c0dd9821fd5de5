"""Which build of torch `make` installs, whatever the package index answers."""

import subprocess
import sys

import pytest

from tools import constraints

LOCK = "numpy==2.4.6\ntorch==2.14.1\ntorchmetrics==1.9.0\ntorchvision==0.29.1\n"


@pytest.fixture
def index(monkeypatch):
    """Has the index answer with these versions; a package it does not name has none."""

    def answer(**versions: str) -> None:
        def run(command, **_):
            listed = versions.get(command[-1])
            if listed is None:
                return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution")
            return subprocess.CompletedProcess(command, 0, f"{command[-1]} (9.9)\nAvailable versions: {listed}\n", "")

        monkeypatch.setattr(constraints.subprocess, "run", run)

    return answer


def changed(packages):
    before, after = LOCK.splitlines(), constraints.constraints(LOCK, packages).splitlines()
    return [new for old, new in zip(before, after, strict=True) if new != old]


def test_an_index_without_cpu_builds_leaves_the_lock_as_it_is(index):
    index(torch="2.15.0, 2.14.1, 2.13.0", torchvision="0.29.1")
    assert changed(["torch"]) == []
    assert changed(["torch", "torchvision"]) == []


def test_the_locked_versions_are_taken_in_their_cpu_build(index):
    index(torch="2.14.1+cpu, 2.14.1, 2.13.0+cpu", torchvision="0.29.1+cpu, 0.29.1")
    assert changed(["torch"]) == ["torch==2.14.1+cpu"]
    assert changed(["torch", "torchvision"]) == ["torch==2.14.1+cpu", "torchvision==0.29.1+cpu"]


def test_another_release_than_the_locked_one_is_never_taken(index):
    index(torch="2.14.1, 2.15.0+cpu, 2.13.0+cpu", torchvision="0.29.1")
    assert changed(["torch"]) == []


def test_torchvision_never_meets_another_build_of_torch(index):
    index(torch="2.14.1+cpu, 2.14.1", torchvision="0.29.1")
    assert changed(["torch", "torchvision"]) == []
    index(torch="2.13.0+cpu", torchvision="0.28.0+cpu, 0.29.1")
    assert changed(["torch", "torchvision"]) == []


def test_an_index_that_does_not_answer_leaves_the_lock_as_it_is(monkeypatch):
    def run(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(constraints.subprocess, "run", run)
    assert changed(["torch"]) == []


@pytest.mark.parametrize("reason", ["gpu", "TORCH"])
def test_a_gpu_or_a_word_of_the_user_keeps_the_default_build(tmp_path, reason):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = {"PATH": str(tmp_path)} if reason == "gpu" else {"PATH": "/nowhere", "TORCH": "default"}
    command = [sys.executable, constraints.__file__, "torch"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == constraints.LOCK.read_text()
