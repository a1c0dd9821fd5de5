"""Adapters of many tasks beside one base, against one merged model for each task: memory, and a mixed batch.

The merged models share their embeddings, which no adapter touches, and each runs on its own rows alone, padded to the
longest of them. Interleaved pairs, medians, in CPU seconds; the ratio of times is taken side by side.

    python benchmarks/many_adapters.py
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.configuration import configured
from harness.devices import bytes_of
from harness.lora import LoraSpec, TaskRouter, adapt, adapter_parameters, export_adapter, import_adapter, merge, pack
from harness.model import Network, build_model
from harness.task import build_task
from harness.trial.inputs import read_inputs

RANK, ROWS = 8, 64
TARGETS = ("query", "key", "value", "output", "ffn_up", "ffn_down")
HEADER = (
    "adapters",
    "packed MiB",
    "merged MiB",
    "packed rows/s",
    "merged rows/s",
    "time packed/merged",
)


def main() -> None:
    """Print a row for each number of adapters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    config = configured(["model.dropout=0"])
    base = build_model(config.model, 2).eval()
    batch = read_inputs(config, build_task(config.task), "test").batch(range(ROWS))
    print(
        f"rank {RANK} on all linear layers of {config.model.name}, {ROWS} sentences a batch, {torch.get_num_threads()} "
        "threads; MiB of weights, rows per CPU second"
    )
    print("  ".join(HEADER))
    for count in arguments.adapters:
        row = _row(base, batch, count, arguments.pairs)
        print("  ".join(value.rjust(len(title)) for title, value in zip(HEADER, row, strict=True)), flush=True)


@torch.no_grad()
def _row(base: Network, batch: dict[str, Tensor], count: int, pairs: int) -> list[str]:
    with tempfile.TemporaryDirectory() as place:
        folders = [_adapter(base, Path(place) / str(number), number) for number in range(count)]
        route = TaskRouter()
        packed = _copy(base)
        pack(packed.base, folders, route)
        merged = [_merged(base, folder) for folder in folders]
    rows = torch.arange(ROWS)[torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))] % count
    route.set(rows)
    parts = [(model, _only(batch, rows == number)) for number, model in enumerate(merged)]

    def together() -> Tensor:
        out: Tensor = packed(batch)
        return out

    def apart() -> Tensor:
        out = torch.empty(ROWS, 2)
        for number, (model, part) in enumerate(parts):
            out[rows == number] = model(part)
        return out

    torch.testing.assert_close(together(), apart(), atol=1e-3, rtol=1e-3)
    times = [_pair(together, apart, turn) for turn in range(pairs)]
    ratios = [one / other for one, other in times]
    rates = [ROWS / statistics.median(column) for column in zip(*times, strict=True)]
    sizes = [bytes_of(_tensors([packed])), bytes_of(_tensors(merged))]
    shown = [f"{size / 2**20:.0f}" for size in sizes]
    span = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return [str(count), *shown, *(f"{rate:.1f}" for rate in rates), span]


def _adapter(base: Network, folder: Path, seed: int) -> Path:
    """A folder with an adapter that has learned something else than every other."""
    model = _copy(base)
    adapt(model.base, LoraSpec(RANK, 2.0, TARGETS), model.targets)
    draw = torch.Generator().manual_seed(seed)
    for tensor in adapter_parameters(model.base):
        tensor.add_(torch.randn(tensor.shape, generator=draw), alpha=0.01)
    export_adapter(model.base, "", folder)
    return folder


def _merged(base: Network, folder: Path) -> Network:
    model = _copy(base)
    model.base.encoder = copy.deepcopy(base.base.encoder)
    import_adapter(model.base, folder)
    merge(model.base)
    return model


def _copy(base: Network) -> Network:
    """The same weights under modules of its own."""
    return copy.deepcopy(base, {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())})


def _only(batch: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    longest = int(batch["mask"][rows].sum(1).max())
    return {key: batch[key][rows, :longest] for key in ("ids", "mask")}


def _tensors(models: list[Network]) -> list[Tensor]:
    return [tensor for model in models for tensor in (*model.base.parameters(), *model.base.buffers())]


def _pair(together: Callable[[], Tensor], apart: Callable[[], Tensor], turn: int) -> tuple[float, float]:
    seconds = {}
    for name, work in sorted({"together": together, "apart": apart}.items(), reverse=turn % 2 == 0):
        started = time.process_time()
        work()
        seconds[name] = time.process_time() - started
    return seconds["together"], seconds["apart"]


if __name__ == "__main__":
    main()
