"""Time of a training step in float32 and in bf16, with either attention: LoRA of rank 8 and full fine-tuning.

Candidates take turns on the same batches. The figures are milliseconds of the processor, the least of all turns, with
clipping and the fused AdamW; of several threads they hold on a quiet machine only.

    python benchmarks/precision.py trainer.threads=1 [further words of a configuration, as in model=bert_base]
"""

import sys

import torch

from benchmarks.configuration import configured
from harness.trial.step_timing import Arithmetic, TimedSteps

CANDIDATES = [
    Arithmetic(precision, attention) for precision in ("32-true", "bf16-mixed") for attention in ("sdpa", "eager")
]
METHODS = {"LoRA, rank 8": ["lora.rank=8"], "full fine-tuning": ["lora=full"]}
BATCHES = 6
SECONDS = 20.0


def main() -> None:
    """Print a line for each candidate of each method."""
    for name, words in METHODS.items():
        config = configured(["trainer.batch_size=16", "optimizer.arguments={fused: true}", *words, *sys.argv[1:]])
        torch.set_num_threads(config.trainer.threads or 1)
        found = TimedSteps(config, torch.device("cpu"), BATCHES).compare(CANDIDATES, SECONDS)
        usual = found[CANDIDATES[0]]
        print(f"{name}, {config.model.name}, batches of 16, {torch.get_num_threads()} threads")
        for how, timing in found.items():
            ratio, drift = usual.seconds / timing.seconds, timing.loss - usual.loss
            print(f"  {how!s:17} {1000 * timing.seconds:7.1f} ms  {ratio:.2f} times as fast, loss {drift:+.5f}")


if __name__ == "__main__":
    main()
