"""Studies that were never trained: records, curves and configurations as a real one has them."""

import math
import random
from pathlib import Path

from harness import record
from harness.record import Record, trial_path
from tests.test_record import make, memory

LAYERS = [f"encoder.layer.{index}.attention.self.{name}" for index in range(6) for name in ("query", "key", "value")]


def write_study(folder: Path, records: list[Record]) -> Path:
    """The records of a study in a folder, with a curve and a configuration for each trial."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / record.RECORDS, "w") as file:
        file.writelines(record.to_json(entry) + "\n" for entry in records)
    for entry in records:
        place = folder / trial_path(entry.trial)
        place.mkdir(parents=True)
        (place / "config.yaml").write_text(
            f"run: trial\nseed: {entry.seeds.trial}\nlora: {{name: {entry.lora.name}, rank: {entry.lora.rank or 8}}}\n"
            f"optimizer: {{lr: {entry.optimizer.lr}}}\ntrainer: {{max_steps: 150, batch_size: 16}}\n"
        )
        rows = [f"{step},{entry.optimizer.lr},{2 * math.exp(-step / 90):.5f},," for step in range(10, 160, 10)]
        rows += [f"{int(step)},,,{score:.5f},{1.2 - score:.5f}" for step, score in entry.reports]
        (place / "metrics.csv").write_text("step,lr,train_loss,val_accuracy,val_loss\n" + "\n".join(rows) + "\n")
    return folder


def factorial(seed: int = 0) -> list[Record]:
    """27 arms, of three variants, three targets and three ranks, and two baselines; three trials each."""
    draw, records = random.Random(seed), []
    for variant in ("lora", "dora", "pissa"):
        for targets in ("query+value", "attention", "all-linear"):
            for rank in (1, 4, 16):
                arm = f"variant={variant},targets={targets},rank={rank}"
                lift = 0.01 * math.log2(rank) + 0.01 * ("attention", "all-linear").count(targets)
                records += [_trial(draw, len(records) + index, arm, 0.76 + lift, rank, targets) for index in range(3)]
    for arm, base in (("full", 0.84), ("head", 0.72)):
        records += [_trial(draw, len(records) + index, arm, base, None, arm) for index in range(3)]
    return records


def joint(count: int = 500, seed: int = 0) -> list[Record]:
    """One search over rank, targets and rate, with some trials pruned and some failed."""
    draw, records = random.Random(seed), []
    for number in range(count):
        rank = 2 ** draw.randrange(8)
        targets = draw.choice(["query+value", "all-linear"])
        state = draw.choices(["complete", "pruned", "fail"], [0.8, 0.15, 0.05])[0]
        records.append(_trial(draw, number, f"targets={targets},rank={rank}", 0.75, rank, targets, state))
    return records


def _trial(
    draw: random.Random, number: int, arm: str, base: float, rank: int | None, targets: str, state: str = "complete"
) -> Record:
    lr = 10 ** draw.uniform(-4, -2)
    score = min(0.99, base + draw.gauss(0, 0.012) - 0.02 * abs(math.log10(lr) + 3))
    wide = {"query+value": 12, "attention": 18, "all-linear": 36, "full": 0, "head": 0}[targets]
    adapter = wide * 768 * rank if rank else 0
    other = 22_565_376 if arm == "full" else 0
    trained = adapter + other + 770
    sizes = {"parameters": 90 << 20, "gradients": 4 * trained, "optimizer": 8 * trained}
    peak = (1000 << 20) + sum(sizes.values()) + (draw.randrange(280, 300) << 20)
    reports = [[float(step), round(score - 0.1 * math.exp(-step / 50), 5)] for step in range(15, 151, 15)]
    failed = state == "fail"
    return make(
        number,
        study="simulated",
        arm=arm,
        state=state,
        reason={"fail": "diverged: train_loss is nan", "pruned": "below the median at step 75"}.get(state, ""),
        lora={
            "name": "lora" if rank else arm,
            "rank": rank,
            "scale": 2.0 if rank else None,
            "targets": targets.split("+"),
        },
        optimizer={"lr": lr, "batch_size": 16},
        point={"optimizer.lr": lr},
        scores={} if failed else {"val": {"accuracy": score, "loss": 1.2 - score}},
        parameters={
            "adapter": adapter,
            "head": 770,
            "other": other,
            "frozen": 22_565_376 - other,
            "total": 22_566_146 + adapter,
        },
        memory=memory(process=1000 << 20, train_peak=peak, eval_peak=peak, **sizes),
        time={"step_median_s": 0.1 + draw.random() / 50, "examples_per_s": 100.0, "train_s": 20.0, "total_s": 25.0},
        adapter={
            "path": f"trials/{number:04d}/adapter",
            "ranks": dict.fromkeys(LAYERS, rank) if rank else {},
            "effective_ranks": dict.fromkeys(LAYERS, rank * 0.8) if rank else {},
        },
        reports=[] if failed else reports,
        data={"name": "t", "source": "x", "sha256": "0", "rows": {"train": 8000, "validation": 742, "test": 1272}},
        task="reviews",
        model="minilm",
    )
