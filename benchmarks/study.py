"""Trials an hour of a study, against what people write by hand: Optuna, PEFT and transformers' Trainer.

Both train the same base with LoRA of rank 1 to 128 on query and value, on the same rows, in batches of 16, for as many
steps, with two validations and a test. By hand each trial is a process of its own, proposed by Optuna's TPE; here a
study is one command, with one worker or several. What is timed is whole commands, with their start and imports; they
take turns.

    python -m benchmarks.study [--trials 8] [--by-hand 4] [--turns 3] [--ways 1,2] [--steps 150] [--shape minilm]
    python -m benchmarks.study --real --ways 1,2,2+fastest,2+halving,2+fastest+halving
    python -m benchmarks.study --dry          a few steps of each, to see that all of it runs

A way is a number of workers, or WORKERSxTRIALS, where each worker trains so many trials in one pack. `+fastest` behind
it is trainer.precision=fastest; `+halving` is a joint search that ends half of its trials at a third of the steps, and
half of the others at two thirds. `+padded` pads batches to multiples of eight tokens: on a GPU more steps are graphs.
Without --real the base has weights drawn at random, and the sentences are made up: nothing is downloaded. With it both
are what `python -m harness` trains by default.
"""

import argparse
import csv
import dataclasses
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

_LEVERS = ("fastest", "halving", "padded")
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
            for number, way in enumerate(asked.ways):
                spent, best = ours(words, root / f"results-{turn}-{number}", way, asked)
                seconds.setdefault(str(way), []).append(spent / asked.trials)
                _say(turn, str(way), spent / asked.trials, best)
            spent, best = by_hand(base, data, asked, device, turn)
            seconds.setdefault("by hand", []).append(spent / asked.by_hand)
            _say(turn, "by hand", spent / asked.by_hand, best)
    hand = statistics.median(seconds["by hand"])
    print(f"{device}, {asked.precision}, {asked.steps} steps, medians of {asked.turns} turns, seconds a trial:")
    for name, found in seconds.items():
        print(f"  {name:36} {statistics.median(found):7.2f} s  {hand / statistics.median(found):5.2f} times as fast")


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to run a study of ours."""

    workers: int
    pack: int
    fastest: bool
    halving: bool
    padded: bool

    @classmethod
    def of(cls, text: str) -> "Way":
        """A way as the command line has it."""
        numbers, *levers = text.split("+")
        if unknown := set(levers) - set(_LEVERS):
            raise argparse.ArgumentTypeError(
                f"{text}: no such lever: {', '.join(unknown)}; valid: {', '.join(_LEVERS)}"
            )
        workers, _, pack = numbers.partition("x")
        return cls(int(workers), int(pack or 1), "fastest" in levers, "halving" in levers, "padded" in levers)

    def __str__(self) -> str:
        """Return its label in a line of the output."""
        parts = [f"harness, {self.workers} worker{'s' if self.workers > 1 else ''}"]
        parts += [f"pack={self.pack}"] if self.pack > 1 else []
        return ", ".join(parts + ["fastest"] * self.fastest + ["halving"] * self.halving + ["padded"] * self.padded)

    def words(self, asked: argparse.Namespace) -> list[str]:
        """Return the words of the command: the trials' launcher and precision, and their search."""
        launch = ["launch=local", f"launch.workers={self.workers}", f"launch.per_gpu={self.workers}"]
        found = launch if self.workers > 1 else []
        found += [f"launch.pack={self.pack}"] if self.pack > 1 else []
        found += ["trainer.pad_to_multiple_of=8"] * self.padded
        found += [f"trainer.precision={'fastest' if self.fastest else asked.precision}"]
        return [*found, *(_halved(asked.trials) if self.halving else _compared(asked.trials))]


def _compared(trials: int) -> list[str]:
    """Return as many trials of each rank, all of them trained to the end."""
    return [
        f"sweep.scientific={{lora.rank: {list(RANKS[:trials])}}}",
        *(f"sweep.trials={max(1, trials // len(RANKS))}", "sweep.startup=1", "sweep.prune_after=null"),
        "trainer.evaluations=2",
    ]


def _halved(trials: int) -> list[str]:
    """Ranks and learning rates proposed together; of those that come to an evaluation half go on."""
    return [
        *("sweep.mode=joint", f"+sweep.scientific.lora.rank={{choices: {list(RANKS)}}}", f"sweep.trials={trials}"),
        *("sweep.lag=4", f"sweep.startup={max(1, trials // 3)}", "sweep.sampler={name: tpe, multivariate: true}"),
        *("sweep.pruner={name: successive_halving, reduction_factor: 2}", "sweep.prune_after=3"),
        "trainer.evaluations=3",
    ]


def ours(words: list[str], results: Path, way: Way, asked: argparse.Namespace) -> tuple[float, tuple[float, float]]:
    """Seconds of a study as one command, and the scores of its best trial."""
    command = [
        *(sys.executable, "-m", "harness", *words, "run=study", "study=s", f"results={results}", "tracking=off"),
        *("sweep=rank_alpha_lr", "~sweep.baselines.full", "~sweep.baselines.head", "sweep.confirm=null"),
        f"sweep.nuisance={{optimizer.lr: {{low: {LOW}, high: {HIGH}, log: true}}}}",
        *("sweep.test=true", "trainer.batch_size=16", "trainer.epochs=100.0", f"trainer.max_steps={asked.steps}"),
        *("lora.targets=[query,value]", *way.words(asked)),
    ]
    own_cache = {} if asked.real else {"HARNESS_CACHE": str(results / "cache")}
    started = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | own_cache)
    if done.returncode:
        sys.exit(done.stderr)
    spent = time.perf_counter() - started
    complete = [entry for entry in record.read(results / "s") if entry.state == "complete"]
    best = max(complete, key=lambda entry: entry.scores["val"]["accuracy"])
    return spent, (best.scores["val"]["accuracy"], best.scores["test"]["accuracy"])


def by_hand(
    base: Path, data: Path, asked: argparse.Namespace, device: str, seed: int
) -> tuple[float, tuple[float, float]]:
    """Seconds of the same by Optuna, each trial a process, and the scores of the best."""

    def objective(trial: optuna.Trial) -> float:
        rank, lr = trial.suggest_categorical("rank", RANKS), trial.suggest_float("lr", LOW, HIGH, log=True)
        words = [str(base), str(data), str(rank), str(lr), str(asked.steps), device, asked.precision]
        command = [sys.executable, "-m", "benchmarks.trainer_trial", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        trial.set_user_attr("test", found["test"])
        return float(found["validation"])

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    started = time.perf_counter()
    study.optimize(objective, n_trials=asked.by_hand)
    return time.perf_counter() - started, (study.best_value, study.best_trial.user_attrs["test"])


def _ways(text: str) -> list[Way]:
    return [Way.of(part) for part in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--by-hand", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ways", type=_ways, default=_ways("1,2"))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--shape", choices=list(fresh.SHAPES), default="minilm")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    if asked.dry:
        asked.trials, asked.by_hand, asked.turns, asked.steps, asked.ways = 4, 1, 1, 3, _ways("1,2+halving")
    return asked


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
