"""A training step with our layers, with PEFT's, and of full fine-tuning: time, peak memory, kernels that a GPU starts.

A plain loop over the same batches, with clipping and the fused AdamW, on bases with weights drawn at random. Candidates
take turns; figures are medians of the turns. Memory is what torch has allocated on a GPU at its peak; kernels are
counted by torch's profiler.

    python -m benchmarks.steps [--shapes minilm,bert_base,bert_large] [--batch 16] [--length 32] [--turns 5]
    python -m benchmarks.steps --dry          two steps of the smallest, to see that all of it runs
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import BertModel

from benchmarks.fresh import SHAPES, bert
from benchmarks.kernels import kernels_of
from harness.lora import LoraSpec, adapt
from harness.training import autocast

TARGETS = {"query": r".*\.query", "value": r".*\.value"}
PRECISIONS = ("32-true", "bf16-mixed")


def main() -> None:
    """Print a line for each base, precision and candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=list(SHAPES))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    if asked.dry:
        asked.shapes, asked.turns, asked.steps = ["minilm"], 1, 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; batches of {asked.batch} rows of {asked.length} tokens; LoRA of rank 8 on query and value")
    for shape in asked.shapes:
        base = bert(shape)
        for precision in PRECISIONS:
            made = {name: make(base) for name, make in CANDIDATES.items()}
            found = {name: _Steps(made[name], precision, device, asked.batch, asked.length) for name in made}
            for each in found.values():
                each.run(3)
            turns = [{name: each.run(asked.steps) for name, each in found.items()} for _ in range(asked.turns)]
            for name, each in found.items():
                ratio = statistics.median(turn["PEFT"] / turn[name] for turn in turns)
                spent = f"{1000 * statistics.median(turn[name] for turn in turns):8.2f} ms a step"
                times = f"PEFT's takes {ratio:.2f} times as long"
                print(f"{shape:10} {precision:10} {name:5} {spent}, {times}; {each.memory()}", flush=True)


def _ours(base: BertModel) -> nn.Module:
    model = copy.deepcopy(base).requires_grad_(False)
    adapt(model, LoraSpec(8, 2.0, tuple(TARGETS)), TARGETS)
    return model


def _theirs(base: BertModel) -> nn.Module:
    found: nn.Module = get_peft_model(
        copy.deepcopy(base), LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"])
    )
    return found


def _full(base: BertModel) -> nn.Module:
    return copy.deepcopy(base)


CANDIDATES: dict[str, Callable[[BertModel], nn.Module]] = {"ours": _ours, "PEFT": _theirs, "full": _full}


class _Steps:
    """Steps of one candidate; it lies on the device only while it runs."""

    def __init__(self, model: nn.Module, precision: str, device: torch.device, batch: int, length: int) -> None:
        self.model, self.precision, self.device = model.train(), precision, device
        self.trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
        self.optimizer: torch.optim.Optimizer | None = None
        self.ids = torch.randint(1000, 30000, (batch, length), device=device)

    def run(self, steps: int) -> float:
        """Seconds of a step."""
        self.model.to(self.device)
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4, fused=True)
            self._step()
        self._wait()
        started = time.perf_counter()
        for _ in range(steps):
            self._step()
        self._wait()
        return (time.perf_counter() - started) / steps

    def memory(self) -> str:
        """The peak of a step while nothing else lies on the GPU beside it, and the kernels of a step."""
        if self.device.type != "cuda":
            return "memory and kernels: of a GPU alone"
        before = torch.cuda.memory_allocated() - self._held()
        torch.cuda.reset_peak_memory_stats()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            self._step()
            self._wait()
        peak = (torch.cuda.max_memory_allocated() - before) / 2**20
        return f"{peak:.0f} MiB at the peak, {kernels_of(seen)} kernels"

    def _held(self) -> int:
        assert self.optimizer is not None
        state = [value for held in self.optimizer.state.values() for value in held.values()]
        gradients = [tensor.grad for tensor in self.trained if tensor.grad is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.model.parameters(), *state, *gradients))

    def _step(self) -> None:
        assert self.optimizer is not None
        self.optimizer.zero_grad()
        with autocast(self.precision, self.device):
            loss = self.model(input_ids=self.ids).last_hidden_state.float().square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


if __name__ == "__main__":
    main()
