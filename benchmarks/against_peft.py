"""Time of a training step with our layers and with PEFT's, on the same base, targets, ranks and batches.

Interleaved pairs, medians; the result is a ratio, taken side by side.

    python benchmarks/against_peft.py
"""

import argparse
import copy
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from benchmarks.configuration import configured
from harness.lora import LoraSpec, adapt
from harness.model import Network, build_model
from harness.task import build_task
from harness.training import mean_loss
from harness.trial.inputs import loader, read_inputs

TARGETS = ("query", "key", "value", "output", "ffn_up", "ffn_down")
RANK = 8


def main() -> None:
    """Print, for each variant, the median ratio of PEFT's step to ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    config = configured(["trainer.batch_size=16", "model.dropout=0"])
    inputs = read_inputs(config, build_task(config.task), "train")
    batches = []
    for batch in loader(inputs, config.trainer.batch_size, config.seed, training=True):
        batches.append(batch)
        if len(batches) == arguments.steps:
            break
    base = build_model(config.model, 2)
    for variant in ("lora", "dora"):
        ours, theirs = _ours(base, variant), _theirs(base, variant)
        _seconds(ours, batches[:2])
        _seconds(theirs, batches[:2])
        ratios, times = [], []
        for pair in range(arguments.pairs):
            order = (ours, theirs) if pair % 2 == 0 else (theirs, ours)
            seconds = {id(model): _seconds(model, batches) for model in order}
            ratios.append(seconds[id(theirs)] / seconds[id(ours)])
            times.append(1000 * seconds[id(ours)] / len(batches))
        print(
            f"{variant}, rank {RANK} on all linear layers, {config.trainer.batch_size} sentences, "
            f"{torch.get_num_threads()} threads: PEFT's step takes {statistics.median(ratios):.2f} times ours "
            f"(from {min(ratios):.2f} to {max(ratios):.2f}); ours {statistics.median(times):.0f} ms"
        )


def _ours(base: Network, variant: str) -> Network:
    model = copy.deepcopy(base)
    adapt(model.base, LoraSpec(RANK, 2.0, TARGETS, variant=variant), model.targets)
    return model


def _theirs(base: Network, variant: str) -> Network:
    model = copy.deepcopy(base)
    names = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=names, use_dora=variant == "dora")
    adapted: nn.Module = get_peft_model(model.base, config)
    model.base = adapted
    return model


def _seconds(model: Network, batches: list[dict[str, torch.Tensor]]) -> float:
    trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    started = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        mean_loss(model, batch).backward()
        optimizer.step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
