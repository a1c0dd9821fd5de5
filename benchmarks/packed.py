"""What packing gains: the same steps of a trial alone and of a pack of trials, on Lightning with a trial's callbacks.

    python -m benchmarks.packed [--sizes 1 2 4 8 16] [--pairs 3] [--steps 40] [--precision bf16-mixed] [--json FILE]

The network has MiniLM's sizes and random weights, a batch is 16 rows of 25 tokens, updates are of rank 8 on query and
value. On a GPU where there is one. Trials alone and packs alternate, so that a noisy machine disturbs both alike; the
figures are medians. Launches are kernels on a GPU and torch's innermost operations on a CPU. Memory is the peak of the
allocator on a GPU, of the process on a CPU.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from harness.lora import LoraSpec, adapt
from harness.model.base import linear
from harness.model.text import TARGETS, TextClassifier
from harness.system.process_memory import reset_resident_peak, resident, trim_heap
from harness.task import Inputs
from harness.training import (
    ClassMetrics,
    DivergenceCheck,
    Kind,
    MetricsCsvLogger,
    Pack,
    PackCallback,
    Plan,
    ResourceMeter,
    StopRequestCheck,
    TrialModule,
    make_trainer,
)
from harness.trial.inputs import loader

_WARMUP = 10
_HIDDEN, _LAYERS, _HEADS, _FFN, _VOCABULARY = 384, 6, 12, 1536, 30522


class Rows(Inputs):
    """Rows of random token ids, all of one length."""

    def __init__(self, count: int, tokens: int) -> None:
        draw = np.random.default_rng(0)
        self._ids = torch.from_numpy(draw.integers(5, _VOCABULARY, (count, tokens)))
        self._labels = torch.from_numpy(draw.integers(0, 2, count))

    @property
    def lengths(self) -> np.ndarray:
        return np.full(len(self._ids), self._ids.shape[1])

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        chosen = list(rows)
        ids = self._ids[chosen]
        return {"ids": ids, "mask": torch.ones_like(ids), "labels": self._labels[chosen], "rows": torch.tensor(chosen)}


class Span(L.Callback):
    """When the step after the warm-up began, and when the last one ended."""

    began = ended = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == _WARMUP:
            self.began = time.perf_counter()

    def on_train_end(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ended = time.perf_counter()


class Bench:
    """One shape of trials on one device."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.rows, self.precision, self.dropout = arguments.rows, arguments.precision, arguments.dropout
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.data = Rows(self.rows * 64, arguments.tokens)
        torch.manual_seed(0)
        shape = BertConfig(
            vocab_size=_VOCABULARY,
            hidden_size=_HIDDEN,
            num_hidden_layers=_LAYERS,
            num_attention_heads=_HEADS,
            intermediate_size=_FFN,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
        )
        self.base = BertModel(shape, add_pooling_layer=False).to(self.device)

    def seconds(self, size: int, steps: int, *, packed: bool) -> float:
        """Of one step of one trial, of so many that train at once; alone: one after another."""
        spans = self.train(size, steps, packed=packed)
        if not packed:
            return statistics.fmean(span.ended - span.began for span in spans) / steps
        whole = max(span.ended for span in spans) - min(span.began for span in spans)
        return whole / steps / size

    def train(self, size: int, steps: int, *, packed: bool) -> list[Span]:
        """Train trials in a pack or one after another; `steps` come after the warm-up."""
        spans = [Span() for _ in range(size)]
        if packed:
            pack = Pack()
            pack.run([partial(self._fit, span, steps, seed, pack) for seed, span in enumerate(spans)])
        else:
            for seed, span in enumerate(spans):
                self._fit(span, steps, seed, None)
        return spans

    def _fit(self, span: Span, steps: int, seed: int, pack: Pack | None) -> None:
        L.seed_everything(seed, verbose=False)
        model = TextClassifier(copy.deepcopy(self.base), linear(_HIDDEN, 2), TARGETS["bert"], "mean")
        adapt(model.base, LoraSpec(rank=8, scale=2.0, targets=("query", "value")), model.targets)
        model.to(self.device).train()
        last = _WARMUP + steps
        module = TrialModule(model, ClassMetrics(2), lr=1e-3, head_lr=1e-3, weight_decay=0.01, warmup=0.06, steps=last)
        callbacks: list[L.Callback] = [StopRequestCheck(), DivergenceCheck(), ResourceMeter(self.device)]
        with tempfile.TemporaryDirectory() as folder:
            callbacks += [MetricsCsvLogger(Path(folder) / "metrics.csv", lambda step, values: None, ()), span]
            seat = None
            if pack is not None:
                kind = Kind("bench", self.precision, self.device, draws=self.dropout > 0)
                seat = pack.seat(model, kind, self.data.padding)
                assert not isinstance(seat, str), seat
                callbacks.append(PackCallback(seat))
            length = Plan(steps=last, evaluate_after=(last,))
            trainer = make_trainer(Path(folder), length, self.device, callbacks, precision=self.precision, clip=1.0)
            trainer.limit_val_batches = 0
            trainer.fit(module, loader(self.data, self.rows, 0, training=True))
        if seat is not None:
            seat.close()

    def launches(self, size: int, *, packed: bool) -> float:
        """Of one step of one trial."""
        few, many = (_launches(partial(self.train, size, steps, packed=packed), self.device) for steps in (2, 10))
        return (many - few) / 8 / size

    def peak(self, size: int) -> int:
        """Bytes at the peak of a pack of so many."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.train(size, 3, packed=True)
            return torch.cuda.max_memory_allocated()
        trim_heap()
        reset_resident_peak()
        self.train(size, 3, packed=True)
        return resident("VmHWM")


def _launches(work: Callable[[], object], device: torch.device) -> int:
    cuda = device.type == "cuda"
    kind = torch.profiler.ProfilerActivity.CUDA if cuda else torch.profiler.ProfilerActivity.CPU
    every_thread = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    with torch.profiler.profile(activities=[kind], experimental_config=every_thread) as profile:
        work()
    events = profile.events() or []
    if cuda:
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in events)
    inside = {id(event.cpu_parent) for event in events if event.cpu_parent is not None}
    return sum(event.name.startswith("aten::") and id(event) not in inside for event in events)


def measured(bench: Bench, sizes: Sequence[int], pairs: int, steps: int) -> list[dict[str, Any]]:
    """A row of figures for each size of a pack."""
    alone: list[float] = []
    packed: dict[int, list[float]] = {size: [] for size in sizes}
    ratios: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(pairs):
        for size in sizes:
            alone.append(bench.seconds(1, steps, packed=False))
            packed[size].append(bench.seconds(size, steps, packed=True))
            ratios[size].append(alone[-1] / packed[size][-1])
    single, first = bench.launches(1, packed=False), bench.peak(1)
    return [
        {
            "size": size,
            "alone_ms": round(1000 * statistics.median(alone), 3),
            "packed_ms": round(1000 * statistics.median(packed[size]), 3),
            "ratio": round(statistics.median(ratios[size]), 3),
            "ratios": [round(ratio, 3) for ratio in ratios[size]],
            "launches_alone": round(single, 1),
            "launches_packed": round(bench.launches(size, packed=True), 1),
            "mib_per_further_trial": round((bench.peak(size) - first) / max(1, size - 1) / 2**20, 1),
        }
        for size in sizes
    ]


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
    where = torch.cuda.get_device_name() if bench.device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    found = measured(bench, arguments.sizes, arguments.pairs, arguments.steps)
    print(
        f"{where}, {arguments.precision}, {arguments.rows} rows of {arguments.tokens} tokens, "
        f"dropout {arguments.dropout}; of one step of one trial:"
    )
    print(f"{'pack':>5}{'alone ms':>10}{'packed ms':>11}{'times':>7}{'launches':>17}{'MiB a further trial':>21}")
    for row in found:
        launches = f"{row['launches_alone']:.0f} -> {row['launches_packed']:.0f}"
        print(
            f"{row['size']:>5}{row['alone_ms']:>10.2f}{row['packed_ms']:>11.2f}{row['ratio']:>7.2f}{launches:>17}"
            f"{row['mib_per_further_trial']:>21.1f}"
        )
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"where": where, "arguments": vars(arguments), "rows": found}, default=str)
        )


if __name__ == "__main__":
    main()
