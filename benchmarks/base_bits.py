"""Memory and time of a training step by the bits of the frozen base: LoRA of rank 8 on all linear layers.

Each candidate has a process of its own. `counted` is what run=count estimates of weights, gradients and AdamW's state.
`predicted` adds the tensors that a step holds at once, as steps of one and two rows let expect them of all rows.
`peak` is measured over four steps, above what the process held before: of a GPU what is allocated, else what is
resident, without what no step reads of a mapped file. What the C library's allocator keeps of freed memory is in it,
but not with MALLOC_MMAP_THRESHOLD_=262144.

    python -m benchmarks.base_bits model=smollm2_135m trainer.threads=1 [further words of a configuration]
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial

import torch

from benchmarks.configuration import configured
from harness.config import Config
from harness.devices import bytes_of, resolve_device
from harness.model import Network, build_model
from harness.training.accounting import MemoryMeter
from harness.trial.adapt import count, prepare
from harness.trial.counting import peak_of
from harness.trial.passes import on_device

BASES = (
    ("float32",),
    ("bfloat16",),
    ("bfloat16", "model.quantization=int8"),
    ("bfloat16", "model.quantization=nf4"),
)
CHECKPOINTING = "trainer.activation_checkpointing=true"
CANDIDATES = [each for base in BASES for each in (base, (*base, CHECKPOINTING))]
ROWS, TOKENS, STEPS = 8, 64, 5
MIB = 2**20


@dataclass(frozen=True)
class Figures:
    """Figures of one candidate: bytes that are counted, predicted and measured, and seconds of the median step."""

    counted: int
    predicted: int
    peak: int
    seconds: float


def main() -> None:
    """Print a line for each candidate, or, of one that is named, its figures as JSON."""
    words = sys.argv[1:]
    if words[:1] == ["--one"]:
        print(json.dumps(asdict(_measured(_config(words[1:])))))
        return
    print(f"{'base':70} {'counted MiB':>11} {'predicted MiB':>13} {'peak MiB':>9} {'step s':>7}")
    for dtype, *more in CANDIDATES:
        own = [f"model.dtype={dtype}", *more]
        command = [sys.executable, "-m", "benchmarks.base_bits", "--one", *words, *own]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = Figures(**json.loads(printed.splitlines()[-1]))
        mib = f"{found.counted / MIB:11.0f} {found.predicted / MIB:13.0f} {found.peak / MIB:9.0f}"
        print(f"{' '.join(own):70} {mib} {found.seconds:7.2f}", flush=True)


def _measured(config: Config) -> Figures:
    counted = sum(count(config)["memory"].values())  # which imports all that a step needs
    torch.set_num_threads(config.trainer.threads or 1)
    device = resolve_device(config.trainer.accelerator, 1)
    meter = MemoryMeter(device)
    network = build_model(config.model, 2)
    if config.trainer.activation_checkpointing:
        network.checkpoint_activations()
    network.to(device)
    prepare(network, config)
    seconds, peak = _steps(network, device, meter)
    return Figures(counted, counted + _tensors_of_a_step(network, device), peak - meter.process, seconds)


def _steps(network: Network, device: torch.device, meter: MemoryMeter) -> tuple[float, int]:
    """The median step after the first one, in seconds, and the peak of these."""
    optimizer = torch.optim.AdamW(tensor for tensor in network.parameters() if tensor.requires_grad)
    batch, times = _batch(ROWS, device), []
    for step in range(STEPS):
        if step == 1:
            meter.reset()
        started = time.perf_counter()
        _pass(network, batch)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]), meter.peak()


def _tensors_of_a_step(network: Network, device: torch.device) -> int:
    """Bytes that the tensors of a step of all rows hold at once, gradients apart, by steps of one row and of two."""
    held = []
    for rows in (1, 2):
        batch = _batch(rows, device)
        held.append(peak_of(partial(_pass, network, batch), [*network.parameters(), *network.buffers()]))
        for tensor in network.parameters():
            tensor.grad = None
    one, two = held
    return one + (ROWS - 1) * (two - one) - bytes_of(each for each in network.parameters() if each.requires_grad)


def _pass(network: Network, batch: dict[str, torch.Tensor]) -> None:
    network(batch).square().sum().backward()


def _batch(rows: int, device: torch.device) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 1000, (rows, TOKENS), generator=torch.Generator().manual_seed(0))
    return on_device({"ids": ids, "mask": torch.ones_like(ids)}, device)


def _config(words: list[str]) -> Config:
    usual = ["run=count", "tracking=off", "lora.targets=all-linear", "lora.rank=8", f"task.max_length={TOKENS}"]
    return configured([*usual, *words])


if __name__ == "__main__":
    main()
