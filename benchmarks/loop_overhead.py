"""The overhead of a trial's loop over a bare PyTorch loop on the same steps: same model, batches, AdamW and clipping.

It runs with a trial's checkpoints, checks, meters and learning curve; neither side evaluates.

    python benchmarks/loop_overhead.py [--pairs 5] [--steps 60] [KEY=VALUE …]

Both are timed in seconds of the processor, on one thread; runs alternate, so that other load disturbs both alike. The
figure is the median of the paired ratios.
"""

import argparse
import statistics
import tempfile
import time
from itertools import chain, islice, repeat
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.configuration import configured
from harness.config import Config
from harness.model import build_model
from harness.task import Inputs, build_task
from harness.training import (
    Callback,
    CheckpointCallback,
    Checkpoints,
    ClassMetrics,
    DivergenceCheck,
    MetricsCsvLogger,
    Plan,
    ResourceMeter,
    Trainer,
    TrialModule,
    UnusedParameterCheck,
    make_fabric,
)
from harness.trial.adapt import prepare
from harness.trial.inputs import loader as make_loader
from harness.trial.inputs import read_inputs


def main() -> None:
    """Print one line of figures for each pair, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = configured(["trainer.batch_size=16", "model.dropout=0", *arguments.words])
    data = read_inputs(config, build_task(config.task), "train")
    ratios, extras = [], []
    for pair in range(arguments.pairs):
        order = (bare, harness) if pair % 2 == 0 else (harness, bare)
        seconds = {run.__name__: run(config, data, arguments.steps) for run in order}
        ratios.append(seconds["harness"] / seconds["bare"])
        extras.append(1000 * (seconds["harness"] - seconds["bare"]) / arguments.steps)
        print(f"pair {pair}: bare {seconds['bare']:.2f} s, harness {seconds['harness']:.2f} s")
    print(
        f"{arguments.steps} steps of {config.trainer.batch_size} sentences, one thread: "
        f"the harness takes {statistics.median(ratios):.3f} times the bare loop "
        f"(from {min(ratios):.3f} to {max(ratios):.3f}), {statistics.median(extras):+.1f} ms a step"
    )


def _parts(config: Config, data: Inputs, steps: int) -> tuple[TrialModule, DataLoader[int]]:
    torch.manual_seed(0)
    model = build_model(config.model, 2)
    prepare(model, config)
    loader = make_loader(data, config.trainer.batch_size, config.seed, training=True)
    return TrialModule(
        model, ClassMetrics(2), lr=1e-3, head_lr=1e-3, weight_decay=0.01, warmup=0.06, steps=steps
    ), loader


def bare(config: Config, data: Inputs, steps: int) -> float:
    """Seconds of the steps in a plain loop."""
    module, loader = _parts(config, data, steps)
    trained = [tensor for tensor in module.parameters() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    started = time.process_time()
    for batch in islice(chain.from_iterable(repeat(loader)), steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(module.model(batch), batch["labels"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    return time.process_time() - started


class _Span(Callback):
    """Time from the first batch to the last, as the bare loop is timed."""

    seconds = 0.0
    _started = 0.0

    def begin(self, trainer: Trainer) -> None:
        """Before the first batch is fetched."""
        self._started = time.process_time()

    def end(self, trainer: Trainer) -> None:
        """After the last update."""
        self.seconds = time.process_time() - self._started


def harness(config: Config, data: Inputs, steps: int) -> float:
    """Seconds of the same steps as a trial makes them, with its callbacks."""
    module, loader = _parts(config, data, steps)
    span = _Span()
    with tempfile.TemporaryDirectory() as folder:
        device = torch.device("cpu")
        curve = MetricsCsvLogger(Path(folder) / "metrics.csv", lambda step, values: None, ("accuracy", "loss"))
        checkpoints = CheckpointCallback(Checkpoints(Path(folder), ""))
        checks = [span, checkpoints, DivergenceCheck(), ResourceMeter(device), UnusedParameterCheck(), curve]
        Trainer(make_fabric(device, "32-true"), Plan(steps, ()), checks, clip=1.0).fit(module, loader, loader)
    return span.seconds


if __name__ == "__main__":
    main()
