"""Memory and time of a training step by the bits of the frozen base: LoRA of rank 8 on all linear layers.

Each candidate has a process of its own. `told` is what run=count says that weights, gradients and AdamW's state take;
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

import torch

from benchmarks.configuration import configured
from harness.config import Config
from harness.devices import resolve_device
from harness.model import Network, build_model
from harness.training.accounting import MemoryMeter
from harness.trial.adapt import count, prepare
from harness.trial.passes import on_device

CANDIDATES = (
    ("float32",),
    ("float32", "trainer.activation_checkpointing=true"),
    ("bfloat16",),
    ("float32", "model.quantization=int8"),
    ("float32", "model.quantization=nf4"),
    ("bfloat16", "model.quantization=nf4-double"),
    ("bfloat16", "model.quantization=nf4", "trainer.activation_checkpointing=true"),
)
ROWS, TOKENS, STEPS = 8, 64, 5
MIB = 2**20


def main() -> None:
    """Print a line for each candidate, or, of one that is named, its figures as JSON."""
    words = sys.argv[1:]
    if words[:1] == ["--one"]:
        print(json.dumps(_measured(_config(words[1:]))))
        return
    print(f"{'base':60} {'told MiB':>9} {'peak MiB':>9} {'step s':>7}")
    for dtype, *more in CANDIDATES:
        own = [f"model.dtype={dtype}", *more]
        command = [sys.executable, "-m", "benchmarks.base_bits", "--one", *words, *own]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        told, peak, seconds = json.loads(said.splitlines()[-1])
        print(f"{' '.join(own):60} {told / MIB:9.0f} {peak / MIB:9.0f} {seconds:7.2f}", flush=True)


def _measured(config: Config) -> tuple[int, int, float]:
    """Bytes that are told, bytes at the peak, and seconds of the median step."""
    told = sum(count(config)["memory"].values())  # which imports all that a step needs
    torch.set_num_threads(config.trainer.threads or 1)
    device = resolve_device(config.trainer.accelerator, 1)
    meter = MemoryMeter(device)
    network = build_model(config.model, 2)
    if config.trainer.activation_checkpointing:
        network.checkpoint_activations()
    network.to(device)
    prepare(network, config)
    seconds, peak = _steps(network, device, meter)
    return told, peak - meter.process, seconds


def _steps(network: Network, device: torch.device, meter: MemoryMeter) -> tuple[float, int]:
    """The median step after the first one, in seconds, and the peak of these."""
    optimizer = torch.optim.AdamW(tensor for tensor in network.parameters() if tensor.requires_grad)
    ids = torch.randint(5, 1000, (ROWS, TOKENS), generator=torch.Generator().manual_seed(0))
    batch = on_device({"ids": ids, "mask": torch.ones_like(ids)}, device)
    times = []
    for step in range(STEPS):
        if step == 1:
            meter.reset()
        started = time.perf_counter()
        network(batch).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]), meter.peak()


def _config(words: list[str]) -> Config:
    usual = ["run=count", "tracking=off", "lora.targets=all-linear", "lora.rank=8", f"task.max_length={TOKENS}"]
    return configured([*usual, *words])


if __name__ == "__main__":
    main()
