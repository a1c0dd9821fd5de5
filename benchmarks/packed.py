"""The gain of packing: the same steps of a trial alone and of a pack of trials, on Lightning with a trial's callbacks.

    python -m benchmarks.packed [--sizes 1 2 4 8 16] [--pairs 3] [--steps 40] [--precision bf16-mixed] [--json FILE]

The network has MiniLM's sizes and random weights, a batch is 16 rows of 25 tokens, updates are of rank 8 on query and
value. On a GPU where there is one: there a trial alone is measured as graphs, too. Trials alone and packs alternate, so
that a noisy machine disturbs both alike; the figures are medians, and on a CPU the ratios are of processor time.
Launches are kernels on a GPU and torch's innermost operations on a CPU. Memory is the peak of steps: of the allocator
on a GPU, of the process on a CPU.
"""

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import seed_everything
from torch import Tensor

from benchmarks.fresh import SHAPES, VOCABULARY, bert
from benchmarks.kernels import kernels_of
from harness.lora import LoraSpec, adapt
from harness.model.base import linear
from harness.model.text import TextClassifier
from harness.model.text_parts import TARGETS
from harness.system.process_memory import release_freed, reset_resident_peak, resident
from harness.task import Inputs
from harness.training import (
    Callback,
    ClassMetrics,
    DivergenceCheck,
    MetricsCsvLogger,
    Pack,
    PackCallback,
    PackKey,
    PackMember,
    Plan,
    ResourceMeter,
    Trainer,
    TrialModule,
    make_fabric,
)
from harness.trial.inputs import loader

_WARMUP = 10
ALONE, GRAPHS = 0, -1
"""In place of the size of a pack: one trial without, and one without whose steps are graphs of the GPU."""
_HIDDEN = SHAPES["minilm"]["hidden"]


class Rows(Inputs):
    """Rows of random token ids, all of one length."""

    def __init__(self, count: int, tokens: int) -> None:
        draw = np.random.default_rng(0)
        self._ids = torch.from_numpy(draw.integers(5, VOCABULARY, (count, tokens)))
        self._labels = torch.from_numpy(draw.integers(0, 2, count))

    @property
    def lengths(self) -> np.ndarray:
        return np.full(len(self._ids), self._ids.shape[1])

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        chosen = list(rows)
        ids = self._ids[chosen]
        return {"ids": ids, "mask": torch.ones_like(ids), "labels": self._labels[chosen], "rows": torch.tensor(chosen)}


class Span(Callback):
    """The start of the step after the warm-up and the end of the last one, by the clock and in processor time."""

    began = ended = (0.0, 0.0)

    def before_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        if trainer.step == _WARMUP:
            self.began = _now()
            _reset_peak()

    def end(self, trainer: Trainer) -> None:
        self.ended = _now()


def _now() -> tuple[float, float]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        reset_resident_peak()


class Bench:
    """One shape of trials on one device."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.rows, self.precision, self.dropout = arguments.rows, arguments.precision, arguments.dropout
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.data = Rows(self.rows * 64, arguments.tokens)
        self.base = bert("minilm", self.dropout)

    def seconds(self, size: int, steps: int) -> tuple[float, float]:
        """Return the seconds of one step of one trial of a pack of so many, ALONE or GRAPHS; by the clock and in
        processor time.
        """
        spans = self.train(size, steps)
        began, ended = min(span.began for span in spans), max(span.ended for span in spans)
        return (ended[0] - began[0]) / steps / len(spans), (ended[1] - began[1]) / steps / len(spans)

    def train(self, size: int, steps: int) -> list[Span]:
        """Train a pack of so many trials, or one trial, ALONE or with GRAPHS; `steps` come after the warm-up."""
        spans = [Span() for _ in range(max(1, size))]
        if size > 0:
            pack = Pack()
            pack.run([partial(self._fit, span, steps, seed, pack, False) for seed, span in enumerate(spans)])
        else:
            self._fit(spans[0], steps, 0, None, size == GRAPHS)
        return spans

    def _fit(self, span: Span, steps: int, seed: int, pack: Pack | None, as_graphs: bool) -> None:
        seed_everything(seed, verbose=False)
        model = TextClassifier(copy.deepcopy(self.base), linear(_HIDDEN, 2), TARGETS["bert"], "mean")
        adapt(model.base, LoraSpec(rank=8, scale=2.0, targets=("query", "value")), model.targets)
        model.to(self.device).train()
        last = _WARMUP + steps
        module = TrialModule(
            model,
            ClassMetrics(2),
            lr=1e-3,
            head_lr=1e-3,
            weight_decay=0.01,
            warmup=0.06,
            steps=last,
            as_graphs=as_graphs,
        )
        meter = ResourceMeter(self.device)
        callbacks: list[Callback] = [DivergenceCheck(), meter]
        with tempfile.TemporaryDirectory() as folder:
            callbacks += [MetricsCsvLogger(Path(folder) / "metrics.csv", lambda step, values: None, ()), span]
            member = None if pack is None else self._joined(pack, model)
            if member is not None:
                callbacks.append(PackCallback(member))
            trainer = Trainer(make_fabric(self.device, self.precision), Plan(last, ()), callbacks, clip=1.0)
            batches = loader(self.data, self.rows, 0, training=True)
            trainer.fit(module, batches, batches)
        if member is not None:
            member.close()

    def _joined(self, pack: Pack, model: TextClassifier) -> PackMember:
        key = PackKey("bench", self.precision, self.device, draws=self.dropout > 0)
        member = pack.join(model, key, self.data.padding)
        assert isinstance(member, PackMember), member
        return member

    def launches(self, size: int) -> float:
        """Return the launches of one step of one trial."""
        few, many = (_launches(partial(self.train, size, steps), self.device) for steps in (2, 6))
        return (many - few) / 4 / max(1, size)

    def peak(self, size: int) -> int:
        """Bytes at the peak of the steps of a pack of so many."""
        release_freed()
        self.train(size, 2)
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else resident("VmHWM")


def _launches(work: Callable[[], object], device: torch.device) -> int:
    cuda = device.type == "cuda"
    kind = torch.profiler.ProfilerActivity.CUDA if cuda else torch.profiler.ProfilerActivity.CPU
    every_thread = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    with torch.profiler.profile(activities=[kind], experimental_config=every_thread) as profile:
        work()
    if cuda:
        return kernels_of(profile)
    events = profile.events() or []
    inside = {id(event.cpu_parent) for event in events if event.cpu_parent is not None}
    return sum(event.name.startswith("aten::") and id(event) not in inside for event in events)


def measured(bench: Bench, sizes: Sequence[int], pairs: int, steps: int) -> list[dict[str, Any]]:
    """A row of figures for each size of a pack; the first is of a trial without one."""
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in (ALONE, *sizes)}
    ratios: dict[int, list[float]] = {size: [] for size in found}
    clock = 0 if bench.device.type == "cuda" else 1
    for _ in range(pairs):
        for size in sizes:
            alone, packed = bench.seconds(ALONE, steps), bench.seconds(size, steps)
            found[ALONE].append(alone)
            found[size].append(packed)
            ratios[size].append(alone[clock] / packed[clock])
            print(f"{_name(size)}: {ratios[size][-1]:.2f} times as fast as no pack", file=sys.stderr, flush=True)
    first = bench.peak(1)
    return [
        {
            "size": size,
            "ms": round(1000 * statistics.median(seconds for seconds, _ in found[size]), 3),
            "cpu_ms": round(1000 * statistics.median(seconds for _, seconds in found[size]), 3),
            "times": round(statistics.median(ratios[size]), 3) if size != ALONE else 1.0,
            "each_times": [round(ratio, 3) for ratio in ratios[size]],
            "launches": round(bench.launches(size), 1),
            "mib_per_further_trial": round((bench.peak(size) - first) / (size - 1) / 2**20, 1) if size > 1 else None,
        }
        for size in found
    ]


def _name(size: int) -> str:
    return {ALONE: "no pack", GRAPHS: "graphs"}.get(size, f"pack of {size}")


def main() -> None:
    """Print a table; write the same as JSON where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=25)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    if bench.device.type == "cuda":
        arguments.sizes = [GRAPHS, *arguments.sizes]
    where = torch.cuda.get_device_name() if bench.device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    found = measured(bench, arguments.sizes, arguments.pairs, arguments.steps)
    print(
        f"{where}, {arguments.precision}, {arguments.rows} rows of {arguments.tokens} tokens, dropout {bench.dropout}"
    )
    print("of a step of a trial:  ms   processor ms  times as fast   launches   MiB a further trial")
    for row in found:
        more = "" if row["mib_per_further_trial"] is None else f"{row['mib_per_further_trial']:.1f}"
        print(
            f"{_name(row['size']):>12}{row['ms']:>14.2f}{row['cpu_ms']:>15.2f}{row['times']:>15.2f}{row['launches']:>11.0f}{more:>22}"
        )
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"where": where, "arguments": vars(arguments), "rows": found}, default=str)
        )


if __name__ == "__main__":
    main()
