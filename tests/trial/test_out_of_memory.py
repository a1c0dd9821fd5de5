"""Errors that mean that memory ran out are known as such, with figures; a process that lost memory is seen."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.system.out_of_memory import failure_reason
from harness.training.accounting import is_out_of_memory
from harness.trial.out_of_memory import MemoryBaseline, what_ran_out

# Under a limit of the address space: what was said, and what was made of it.
SCRIPT = """
import json, resource
import numpy, torch
from harness.training.accounting import is_out_of_memory
from harness.trial.out_of_memory import what_ran_out
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
found = []
for ask in (
    lambda: torch.empty(32 << 30, dtype=torch.uint8),
    lambda: [torch.empty(1 << 30, dtype=torch.uint8) for _ in range(32)],
    lambda: numpy.zeros(32 << 30, dtype=numpy.uint8),
    lambda: bytearray(32 << 30),
):
    try:
        ask()
    except Exception as error:
        found.append([type(error).__name__, is_out_of_memory(error), what_ran_out(error, torch.device("cpu"))])
print(json.dumps(found))
"""


def test_every_way_to_run_out_of_memory_on_a_cpu_is_known():
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert [name for name, *_ in found[:2]] == ["RuntimeError"] * 2
    assert len(found) == 4
    assert all(known for _, known, _ in found)
    assert [figures.get("asked") for *_, figures in found[:2]] == [32 << 30, 1 << 30]
    assert {(figures["limit"], figures["of"]) for *_, figures in found} == {(16 << 30, "the address space")}
    assert found[0][2]["reached"] < 8 << 30 < found[1][2]["reached"] <= 16 << 30


CUDA = "CUDA out of memory. Tried to allocate 20.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.25 GiB is"


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (torch.OutOfMemoryError(CUDA), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), False),
        (OSError(28, "No space left on device"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_means_that_memory_ran_out(error, known):
    assert is_out_of_memory(error) == known


def test_the_figures_of_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 60 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: type("", (), {"total_memory": 79 << 30}))
    found = what_ran_out(torch.OutOfMemoryError(CUDA), torch.device("cuda", 0))
    said = "out of memory: 20,992 MiB were asked for, 61,440 MiB had been reached; the GPU has 80,896 MiB"
    assert failure_reason(found) == said
    # The machine's own memory may run out beside a GPU.
    assert what_ran_out(MemoryError(), torch.device("cuda", 0))["of"] != "the GPU"


def test_memory_that_stays_is_seen_and_memory_that_goes_is_not():
    base = MemoryBaseline()
    held = torch.ones(400 << 18)
    cycle = [held]
    cycle.append(cycle)
    assert base.leak_reason().endswith("MiB of memory that a failed trial left behind")
    del held, cycle
    assert base.leak_reason() == ""
