"""The life of a trial: from a configuration to a record."""

import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors.torch import save_file

from harness import assets, tracking
from harness.config import Config, ConfigError, FullConfig, LoraConfig, fingerprint, plain, to_yaml
from harness.inputs import base_identity, input_digests, loader, read_inputs
from harness.lora import export_adapter
from harness.model import Network, build_model
from harness.network import lora_spec, prepare
from harness.record import Record, State
from harness.task import Task, build_task
from harness.training import (
    ClassScores,
    Curve,
    Diverged,
    Guard,
    Interrupted,
    Meters,
    Pruned,
    Scores,
    TrialModule,
    Watch,
    fit,
    make_trainer,
    plan,
    resolve_device,
    resolve_precision,
    test,
)

_BEST = "best.safetensors"

Report = Callable[[int, dict[str, float]], bool]


@dataclass(frozen=True)
class Place:
    """Where a trial stands: its study, its number there, its arm, the folder of its files, what the search chose."""

    study: str
    number: int
    arm: str
    folder: Path
    point: dict[str, float] = field(default_factory=dict)


@dataclass
class Facts:
    """What is known of a trial so far; a trial that ends early leaves a record of what it reached."""

    fingerprint: str = ""
    identity: dict[str, str] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    params: dict[str, int] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    time: dict[str, float] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    adapter: dict[str, Any] = field(default_factory=dict)


def run_trial(config: Config, place: Place, report: Report) -> Record:
    """Train, select on validation, score on test. The record says how it ended: complete, pruned, or fail and why.

    `report` hears the validation scores after each evaluation and answers whether to prune. Raises ConfigError for a
    configuration that cannot run at all, and Interrupted when a stop was asked for.
    """
    facts, started = Facts(), time.perf_counter()
    config_tree = plain(config)
    (place.folder / "config.yaml").write_text(to_yaml(config_tree))
    mirror = _mirror(config, config_tree, place)
    state: State = "complete"
    reason = ""
    try:
        _live(config, place, report, mirror, facts)
    except Pruned as stop:
        state, reason = "pruned", str(stop)
    except Diverged as stop:
        state, reason = "fail", f"diverged: {stop}"
    except (torch.OutOfMemoryError, MemoryError) as stop:
        state, reason = "fail", f"out of memory: {str(stop).splitlines()[0] if str(stop) else ''}"
    except (ConfigError, assets.AssetError, Interrupted):
        mirror.finish({}, failed=True)
        raise
    except Exception as error:
        # A defect in one trial must not end a study of hundreds; its traceback stays in the trial's folder.
        (place.folder / "error.log").write_text(traceback.format_exc())
        state, reason = "fail", f"error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    finally:
        (place.folder / _BEST).unlink(missing_ok=True)
    facts.time["total_s"] = time.perf_counter() - started
    record = _record(config, place, facts, state, reason)
    mirror.finish(asdict(record), failed=state == "fail")
    return record


def _live(config: Config, place: Place, report: Report, mirror: tracking.Mirror, facts: Facts) -> None:
    """The life of a trial on one screen; what it learns on the way goes into `facts`."""
    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    precision = resolve_precision(config.trainer.precision, device)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    L.seed_everything(config.seed, verbose=False)
    task = build_task(config.task)
    facts.data, facts.base = task.describe(), base_identity(config)
    facts.identity = identity(config)
    facts.fingerprint = fingerprint(config, facts.identity)

    meters = Meters(device)
    model = build_model(config.model, task.outputs)
    facts.ranks, params = prepare(model, config)
    facts.params = asdict(params)

    train = read_inputs(config, task, "train")
    length = plan(
        -(-len(train) // (config.trainer.batch_size * config.trainer.devices)),
        config.trainer.epochs,
        config.trainer.max_steps,
        config.trainer.evaluations,
    )
    watch = Watch(config.trainer.objective, config.trainer.patience, report, place.folder / _BEST)
    measure = _measure(task)
    module = TrialModule(
        model,
        measure,
        config.optimizer.lr,
        config.optimizer.head_lr or config.optimizer.lr,
        config.optimizer.weight_decay,
        config.optimizer.warmup,
        length.steps,
        fused=precision == "32-true" or config.optimizer.clip is None,
    )
    curve = Curve(place.folder / "metrics.csv", mirror.log, measure.names)
    trainer = make_trainer(
        place.folder,
        length,
        device,
        config.trainer.devices,
        precision,
        config.optimizer.clip,
        [Guard(), meters, curve, watch],
    )
    ranks = trainer.global_rank, trainer.world_size
    validation = read_inputs(config, task, "validation")
    started = time.perf_counter()
    try:
        fit(trainer, module, loader(config, train, True, *ranks), loader(config, validation, False, *ranks))
    finally:
        facts.time = {**meters.clock.summary(), "train_s": time.perf_counter() - started}
        facts.memory = meters.parts
        facts.steps = {"planned": length.steps, "made": trainer.global_step, "best": watch.best_step}
        facts.scores = {"val": watch.best} if watch.best else {}
    watch.restore(module)
    facts.scores["test"] = test(trainer, module, loader(config, read_inputs(config, task, "test"), False, *ranks))
    facts.adapter = _save(config, model, module, place.folder)


def identity(config: Config) -> dict[str, str]:
    """What only the machine can tell of a trial: digests of data, weights and tokenizer, device and precision."""
    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    return input_digests(config) | {
        "device": device.type,
        "precision": resolve_precision(config.trainer.precision, device),
    }


def fingerprint_of(config: Config) -> str:
    """The fingerprint of a trial that has not run."""
    return fingerprint(config, identity(config))


def _mirror(config: Config, tree: dict[str, Any], place: Place) -> tracking.Mirror:
    settings = config.tracking
    name = f"{place.arm}-{place.number:04d}"
    return tracking.start(
        settings.mode, settings.project, settings.entity, place.study, name, tree, place.folder.parent.parent
    )


def _measure(task: Task) -> Scores:
    return ClassScores(task.outputs)


def _save(config: Config, model: Network, module: TrialModule, folder: Path) -> dict[str, Any]:
    """The adapter, the head (or all weights that full fine-tuning changed) and the predictions, with digests."""
    target = folder / "adapter"
    target.mkdir(exist_ok=True)
    if isinstance(config.lora, LoraConfig):
        export_adapter(model.base, lora_spec(config.lora), config.model.weights.address, target)
    elif isinstance(config.lora, FullConfig):
        save_file(
            {name: tensor.detach().cpu() for name, tensor in model.base.named_parameters()}, target / "base.safetensors"
        )
    save_file(
        {name: tensor.detach().cpu() for name, tensor in model.head.named_parameters()}, target / "head.safetensors"
    )
    _save_predictions(module, folder / "predictions.csv")
    files = sorted(target.iterdir())
    return {
        "path": f"{folder.parent.name}/{folder.name}/adapter",
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": {file.name: assets.sha256_of(file) for file in files},
    }


def _save_predictions(module: TrialModule, path: Path) -> None:
    rows = torch.cat([rows for rows, _ in module.predictions]).tolist()
    items = torch.cat([items for _, items in module.predictions]).tolist()
    lines = [",".join(map(str, (row, *item))) for row, item in sorted(zip(rows, items, strict=True))]
    path.write_text("\n".join([",".join(("row", *module.measure.columns)), *lines]) + "\n")


def _record(config: Config, place: Place, facts: Facts, state: State, reason: str) -> Record:
    lora: dict[str, Any] = {"name": config.lora.name}
    if isinstance(config.lora, LoraConfig):
        spec = lora_spec(config.lora)
        lora |= {"rank": spec.rank, "alpha": spec.alpha, "scale": spec.scale, "targets": list(spec.targets)}
        lora |= {"dropout": spec.dropout, "ranks": facts.ranks}
    return Record(
        study=place.study,
        trial=place.number,
        arm=place.arm,
        point=place.point,
        objective=config.trainer.objective,
        state=state,
        reason=reason,
        fingerprint=facts.fingerprint,
        task=config.task.name,
        model=config.model.name,
        lora=lora,
        optimizer=asdict(config.optimizer) | {"batch_size": config.trainer.batch_size * config.trainer.devices},
        params=facts.params,
        memory=facts.memory,
        time=facts.time,
        scores=facts.scores,
        steps=facts.steps,
        seeds={"trial": config.seed, "split": config.task.split_seed},
        versions=versions(),
        source=source(),
        data=facts.data,
        base=facts.base,
        hardware=hardware() | facts.identity,
        adapter=facts.adapter,
        command=shlex.join(["python", "-m", "harness", *sys.argv[1:]]),
    )


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("torch", "lightning", "transformers", "optuna", "numpy", "lora-harness")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


@functools.cache
def source() -> dict[str, Any]:
    """The revision of this code and whether it was changed; null where it was installed without git."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    tracked = git("ls-files", "--error-unmatch", "trial.py") is not None
    status = git("status", "--porcelain", "--", ".", "../conf", "../sweeps") if tracked else None
    return {"revision": git("rev-parse", "HEAD") if tracked else None, "dirty": bool(status) if tracked else None}


@functools.cache
def hardware() -> dict[str, Any]:
    """What the machine has; which of it a trial used is its device."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "platform": platform.platform(terse=True),
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
