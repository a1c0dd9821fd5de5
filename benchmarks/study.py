"""Trials an hour of a study, against what people write by hand: Optuna, PEFT and transformers' Trainer.

Both train the same base with LoRA of rank 1 to 128 on query and value, on the same rows, in batches of 16, for as many
steps, with two validations and a test. By hand each trial is a process of its own, proposed by Optuna's TPE; here a
study is one command, with one worker or several. What is timed is whole commands, with their start and imports; they
take turns.

    python -m benchmarks.study [--trials 8] [--by-hand 4] [--turns 3] [--ways 1,2] [--steps 150] [--shape minilm]
    python -m benchmarks.study --dry          a few steps of each, to see that all of it runs

A way is a number of workers, or WORKERSxTRIALS, where each worker trains so many trials in one pack.
Without --real the base has weights drawn at random, and the sentences are made up: nothing is downloaded. With it both
are what `python -m harness` trains by default.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import torch

from benchmarks import fresh
from benchmarks.configuration import configured
from harness import record
from harness.model import base_file
from harness.task import build_task
from harness.task.text import TextTask

RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
LOW, HIGH = 5e-4, 5e-3


def main() -> None:
    """Print a line for each command, then the medians and their ratios."""
    asked = _arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        words, base = _real() if asked.real else _made(root, asked.shape)
        data = _write_splits(words, root / "splits")
        seconds: dict[str, list[float]] = {}
        for turn in range(asked.turns):
            for workers, pack in asked.ways:
                name = f"harness, {workers} worker{'s' if workers > 1 else ''}" + (f", pack={pack}" if pack > 1 else "")
                spent, best = ours(words, root / f"results-{turn}-{workers}-{pack}", workers, pack, asked)
                seconds.setdefault(name, []).append(spent / asked.trials)
                _say(turn, name, spent / asked.trials, best)
            spent, best = by_hand(base, data, asked, device, turn)
            seconds.setdefault("by hand", []).append(spent / asked.by_hand)
            _say(turn, "by hand", spent / asked.by_hand, best)
    hand = statistics.median(seconds["by hand"])
    print(f"{device}, {asked.precision}, {asked.steps} steps, medians of {asked.turns} turns, seconds a trial:")
    for name, found in seconds.items():
        print(f"  {name:20} {statistics.median(found):7.2f} s  {hand / statistics.median(found):5.2f} times as fast")


def ours(
    words: list[str], results: Path, workers: int, pack: int, asked: argparse.Namespace
) -> tuple[float, tuple[float, float]]:
    """Seconds of a study as one command, and the scores of its best trial."""
    launch = [] if workers == 1 else ["launch=local", f"launch.workers={workers}", f"launch.per_gpu={workers}"]
    launch += [f"launch.pack={pack}"] if pack > 1 else []
    command = [
        *(sys.executable, "-m", "harness", *words, *launch, "run=study", "study=s", f"results={results}"),
        *("tracking=off", "sweep=rank_alpha_lr", "~sweep.baselines.full", "~sweep.baselines.head"),
        f"sweep.scientific={{lora.rank: {list(RANKS[: asked.trials])}}}",
        f"sweep.nuisance={{optimizer.lr: {{low: {LOW}, high: {HIGH}, log: true}}}}",
        *(f"sweep.trials={max(1, asked.trials // len(RANKS))}", "sweep.startup=1", "sweep.prune_after=null"),
        *("sweep.confirm=null", "sweep.test=true", "trainer.batch_size=16", "trainer.epochs=100.0"),
        *(f"trainer.max_steps={asked.steps}", "trainer.evaluations=2", f"trainer.precision={asked.precision}"),
        "lora.targets=[query,value]",
    ]
    own_cache = {} if asked.real else {"HARNESS_CACHE": str(results / "cache")}
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | own_cache)
    spent = time.perf_counter() - started
    best = max(record.read(results / "s"), key=lambda entry: entry.scores["val"]["accuracy"])
    return spent, (best.scores["val"]["accuracy"], best.scores["test"]["accuracy"])


def by_hand(
    base: Path, data: Path, asked: argparse.Namespace, device: str, seed: int
) -> tuple[float, tuple[float, float]]:
    """Seconds of the same by Optuna, each trial a process, and the scores of the best."""

    def objective(trial: optuna.Trial) -> float:
        rank, lr = trial.suggest_categorical("rank", RANKS), trial.suggest_float("lr", LOW, HIGH, log=True)
        words = [str(base), str(data), str(rank), str(lr), str(asked.steps), device, asked.precision]
        command = [sys.executable, "-m", "benchmarks.trainer_trial", *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        trial.set_user_attr("test", found["test"])
        return float(found["validation"])

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    started = time.perf_counter()
    study.optimize(objective, n_trials=asked.by_hand)
    return time.perf_counter() - started, (study.best_value, study.best_trial.user_attrs["test"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--by-hand", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ways", type=_ways, default=[(1, 1), (2, 1)])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--shape", choices=list(fresh.SHAPES), default="minilm")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    if asked.dry:
        asked.trials, asked.by_hand, asked.turns, asked.steps, asked.ways = 2, 1, 1, 2, [(1, 1)]
    return asked


def _ways(text: str) -> list[tuple[int, int]]:
    parts = [part.partition("x") for part in text.split(",")]
    return [(int(workers), int(pack or 1)) for workers, _, pack in parts]


def _made(root: Path, shape: str) -> tuple[list[str], Path]:
    base = fresh.write_base(root / "base", shape)
    return fresh.words_of(base, fresh.write_sentences(root / "sentences.csv"), shape), base


def _real() -> tuple[list[str], Path]:
    file = base_file(configured([]).model)
    assert file is not None
    return [], file.parent


def _write_splits(words: list[str], folder: Path) -> Path:
    """The rows of each split that the harness draws, for those who read files."""
    task = build_task(configured(words).task)
    assert isinstance(task, TextTask)
    folder.mkdir()
    for split in ("train", "validation", "test"):
        rows = task.splits[split]
        with open(folder / f"{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["text", "label"], *zip(rows.texts, rows.labels, strict=True)])
    return folder


def _say(turn: int, name: str, seconds: float, best: tuple[float, float]) -> None:
    scores = f"best {best[0]:.3f} on validation, {best[1]:.3f} on test"
    print(f"turn {turn}: {name}: {seconds:.2f} s a trial; {scores}", flush=True)


if __name__ == "__main__":
    main()
