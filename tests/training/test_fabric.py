"""The devices of a trial are its own, whatever started its process and whatever a cluster says of it."""

import pytest
import torch

from harness.training import fabric, make_fabric

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "study", "SLURM_PROCID": "2", "SLURM_LOCALID": "2", "SLURM_NODEID": "0"}


@pytest.mark.parametrize("tasks", ["1", "4"])
def test_a_trial_on_one_device_has_one_process_in_a_job_of_several_tasks(tasks, monkeypatch):
    for name, value in (JOB | {"SLURM_NTASKS": tasks}).items():
        monkeypatch.setenv(name, value)
    made = make_fabric(torch.device("cpu"), "32-true")
    assert (made.world_size, made.global_rank) == (1, 0)


@pytest.mark.parametrize(("device", "asked"), [("cuda:2", [2]), ("cuda", [0]), ("cpu", 1)])
def test_a_trial_on_one_device_has_the_one_that_was_found(device, asked, monkeypatch):
    class Asked:
        def __init__(self, *, devices, **_):
            self.devices = devices

        def launch(self):
            pass

    monkeypatch.setattr(fabric, "Fabric", Asked)
    assert make_fabric(torch.device(device), "32-true").devices == asked
