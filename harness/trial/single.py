"""The life of a trial that is fitted once, and the steps that every trial's life has."""

import copy
import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from harness.config import (
    Config,
    ContinualTaskConfig,
    LoraConfig,
    TextModelConfig,
    fingerprint,
)
from harness.devices import resolve_device, resolve_precision
from harness.lora import (
    ORTHOGONALITY,
    effective_ranks,
    final_budget,
    highest_rank,
    kept_ranks,
    named_updates,
    orthogonality,
    overlap,
    set_active,
    updates_of,
)
from harness.model import Network, build_model
from harness.system.signals import raise_if_stop_requested
from harness.task import Inputs, MixtureTask, Task, TextTask, build_task
from harness.training import (
    BestCheckpoint,
    CheckpointCallback,
    Checkpoints,
    ClassMetrics,
    DivergenceCheck,
    FallingBudget,
    Metrics,
    MetricsCsvLogger,
    MixtureMetrics,
    NestedRanks,
    RegressionMetrics,
    ResourceMeter,
    TokenMetrics,
    TrialModule,
    UnusedParameterCheck,
    autocast,
    fit,
    gather_full_model,
    make_trainer,
    mean_loss,
    plan,
    test,
)
from harness.trial import tracking
from harness.trial.accounting import flops_of
from harness.trial.adapt import compare_merged, lora_spec, lr_ratio, prepare, task_groups
from harness.trial.artifacts import cut_rows, save_artifacts, write_texts
from harness.trial.inputs import base_identity, input_digests, loader, read_inputs
from harness.trial.probe import probe_digest, probe_loss

CHECKPOINTS = "checkpoint"
BEST = "best.safetensors"
"""The weights of the best evaluation so far, while a trial runs."""

Report = Callable[[int, dict[str, float]], bool]


@dataclass(frozen=True)
class TrialContext:
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
    scales: dict[str, float] = field(default_factory=dict)
    params: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    time: dict[str, float] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    adapter: dict[str, Any] = field(default_factory=dict)
    flops: dict[str, int] = field(default_factory=dict)
    merge: dict[str, float] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    effective_ranks: dict[str, float] = field(default_factory=dict)
    kept_ranks: dict[str, int] = field(default_factory=dict)
    probe: dict[str, float] = field(default_factory=dict)
    sequence: dict[str, Any] = field(default_factory=dict)


def train_and_evaluate(
    config: Config, place: TrialContext, report: Report, mirror: tracking.Mirror, facts: Facts
) -> None:
    """The life of a trial of one task, or of several at once; what it learns on the way goes into `facts`."""
    task, device, precision = open_trial(config, facts)
    meters = ResourceMeter(device)
    model = build_model(config.model, task.outputs)
    train, validation, held_out = (read_inputs(config, task, split) for split in ("train", "validation", "test"))
    spread = config.trainer.strategy == "fsdp" and config.trainer.devices > 1
    home = torch.device("cpu") if spread else device  # no device may hold all of a model that is spread over several
    model.to(home)
    probe(config, model, home, facts, "before")
    adapt_and_count(config, model, train, home, precision, facts)
    trained = copy.deepcopy(model) if spread else model

    length = plan(
        -(-len(train) // (config.trainer.batch_size * config.trainer.devices)),
        config.trainer.epochs,
        config.trainer.max_steps,
        config.trainer.evaluations,
    )
    moving, settled = moving_ranks(config, trained, length.steps)
    watch = BestCheckpoint(config.trainer.objective, config.trainer.patience, report, place.folder / BEST, settled)
    module = make_module(config, trained, measure(task), length.steps, precision, spread)
    pulse, keeper = (
        UnusedParameterCheck(),
        CheckpointCallback(Checkpoints(place.folder / CHECKPOINTS, facts.fingerprint)),
    )
    curve = MetricsCsvLogger(place.folder / "metrics.csv", mirror.log, module.measure.names)
    trainer = make_trainer(
        place.folder,
        length,
        device,
        config.trainer.devices,
        config.trainer.strategy,
        precision,
        config.optimizer.clip,
        [keeper, DivergenceCheck(kept=True), meters, pulse, curve, *moving, watch],
    )
    ranks = trainer.global_rank, trainer.world_size
    started = time.perf_counter()
    training = loader(config, train, True, *ranks)
    keeper.batches = training.batch_sampler
    try:
        fit(trainer, module, training, loader(config, validation, False, *ranks))
    finally:
        facts.time = {**meters.clock.summary(), "train_s": time.perf_counter() - started}
        facts.memory, facts.dead = meters.parts, pulse.dead
        facts.steps = {"planned": length.steps, "made": trainer.global_step, "best": watch.best_step}
        facts.steps |= {"resumed": keeper.resumed_at} if keeper.resumed_at else {}
        facts.scores = {"val": watch.best} if watch.best else {}
    watch.restore(module)
    evaluate = {"val": loader(config, validation, False, *ranks), "test": loader(config, held_out, False, *ranks)}
    with keeper.holding(trainer, module):
        for rank in nested(model) if moving else ():
            set_active(trained.base, rank)
            facts.scores |= {f"{name}@{rank}": test(trainer, module, batches) for name, batches in evaluate.items()}
        if config.trainer.score_train:
            seen = loader(config, train, False, *ranks, rows=len(held_out))
            facts.scores["train"] = test(trainer, module, seen)
        facts.scores["test"] = test(trainer, module, evaluate["test"])
        facts.scores["test"] |= write_texts(config, trained, held_out, device, place.folder)
    if spread:
        gather_full_model(trained, model)
    probe(config, model, home, facts, "after")
    facts.data |= cut_rows({"train": train, "validation": validation, "test": held_out})
    facts.effective_ranks, facts.kept_ranks = effective_ranks(model.base), kept_ranks(model.base)
    facts.adapter = save_artifacts(config, model, module, place.folder)
    sample = held_out.batch(held_out.sample(config.trainer.batch_size))
    facts.merge = compare_merged(model.to(home), on_device(sample, home))


def open_trial(config: Config, facts: Facts) -> tuple[Task, torch.device, str]:
    """Settle device, precision, threads and seeds, read the task, and note what the trial is; the last is precision."""
    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    precision = resolve_precision(config.trainer.precision, device)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    L.seed_everything(config.seed, verbose=False)
    task = build_task(config.task)
    facts.data, facts.base = task.describe(), base_identity(config)
    facts.identity = identity(config)
    facts.fingerprint = fingerprint(config, facts.identity)
    return task, device, precision


def adapt_and_count(
    config: Config, model: Network, train: Inputs, device: torch.device, precision: str, facts: Facts
) -> None:
    """Adapt the model, from training batches where its variant starts from them, and count parameters and FLOPs."""
    calibration = getattr(config.lora, "calibration", 0)
    feed_model = partial(_feed, model, loader(config, train, True), device, precision, calibration)
    facts.ranks, params = prepare(model, config, feed_model)
    facts.params, facts.groups = asdict(params), task_groups(model)
    facts.scales = {name: pair.scale for name, pair in named_updates(model.base)}
    with autocast(precision, device):
        facts.flops = _step_flops(model, train, config.trainer.batch_size, device)


def probe(config: Config, model: Network, device: torch.device, facts: Facts, when: str) -> None:
    """Note the base's loss on general text, if the configuration asks for it, and in the end its change."""
    if config.probe is None:
        return
    assert isinstance(config.model, TextModelConfig)
    alone = config.trainer.devices == 1  # one of several must not leave the others
    between = raise_if_stop_requested if alone else lambda: None
    facts.probe[when] = probe_loss(config.probe, config.model, model.base.to(device), device, between)
    if when == "after":
        facts.probe["change"] = facts.probe["after"] - facts.probe["before"]


def _feed(
    model: Network, batches: DataLoader[int], device: torch.device, precision: str, count: int, gradients: bool
) -> None:
    """Run some training batches through the model as it stands, for the variants that start from what they see."""
    _still(model)
    for batch in itertools.islice(batches, count):
        with autocast(precision, device):
            loss = mean_loss(model, on_device(batch, device)) / count
        if gradients:
            loss.backward()
    model.train()


def _still(model: Network) -> None:
    """No dropout, and running statistics stay as they are: for passes that are not training."""
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.RNNBase):
            module.train()  # cuDNN has no backward pass of these in evaluation


def on_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The batch where the network is."""
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _step_flops(model: Network, train: Inputs, batch_size: int, device: torch.device) -> dict[str, int]:
    """Of a forward pass, and of a whole step, on the first rows of the training split."""
    batch = on_device(train.batch(train.sample(batch_size)), device)
    _still(model)
    forward = flops_of(lambda: mean_loss(model, batch))
    step = flops_of(lambda: mean_loss(model, batch).backward())
    model.zero_grad()
    model.train()
    return {"forward": forward, "step": step, "examples": len(batch["rows"])}


def moving_ranks(config: Config, model: Network, steps: int) -> tuple[list[L.Callback], int]:
    """What moves ranks in training, and from which step on they are settled."""
    if not isinstance(config.lora, LoraConfig):
        return [], 0
    spec = lora_spec(config.lora)
    if spec.method.rank_schedule == "allocated":
        falling = FallingBudget(model.base, final_budget(model.base, spec.final_rank_at), steps)
        return [falling], falling.budget.last
    return ([NestedRanks(model.base, config.seed)], 0) if spec.method.rank_schedule == "nested" else ([], 0)


def nested(model: Network) -> range:
    """The ranks that a nested adapter is scored at: all of them."""
    return range(1, highest_rank(model.base) + 1)


def make_module(
    config: Config, model: Network, measure: Metrics, steps: int, precision: str, spread: bool = False
) -> TrialModule:
    """The network as it is trained for so many steps, with the penalties that its way of adaptation asks for."""
    fast: list[torch.nn.Parameter] = []
    ratio, penalty = 1.0, None
    if isinstance(config.lora, LoraConfig):
        ratio = lr_ratio(config.lora)
        fast = [pair.zero_factor for pair in updates_of(model.base)]
        if lora_spec(config.lora).method.rank_schedule == "allocated":
            penalty = partial(_penalty, model)
        if isinstance(config.task, ContinualTaskConfig) and config.task.learn == "orthogonal":
            penalty = partial(_overlap, model, config.task.penalty)
    return TrialModule(
        model,
        measure,
        config.optimizer.lr,
        config.optimizer.head_lr or config.optimizer.lr,
        config.optimizer.weight_decay,
        config.optimizer.warmup,
        steps,
        # Fused, the optimiser takes scaled gradients and leaves them so; AdaLoRA looks at them afterwards.
        fused=precision == "32-true" or (config.optimizer.clip is None and penalty is None),
        fast=fast,
        fast_ratio=ratio,
        penalty=penalty,
        weigh=model.weighting.forward if model.weighting is not None else None,
        spread=spread,
    )


def _penalty(model: Network) -> Tensor:
    return ORTHOGONALITY * orthogonality(model.base)


def _overlap(model: Network, weight: float) -> Tensor:
    return weight * overlap(model.base)


def identity(config: Config) -> dict[str, str]:
    """What only the machine can tell of a trial: digests of data, weights and tokenizer, device and precision."""
    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    text = {}
    if config.probe is not None:
        assert isinstance(config.model, TextModelConfig)
        text = {"probe": probe_digest(config.probe, config.model)}
    return (
        input_digests(config)
        | text
        | {
            "device": device.type,
            "precision": resolve_precision(config.trainer.precision, device),
        }
    )


def fingerprint_of(config: Config) -> str:
    """The fingerprint of a trial that has not run."""
    return fingerprint(config, identity(config))


def measure(task: Task) -> Metrics:
    """What is scored of a task, by the kind of its answers."""
    if isinstance(task, MixtureTask):
        return MixtureMetrics({name: measure(part) for name, part in task.parts.items()})
    if isinstance(task, TextTask) and task.spread is not None:
        return RegressionMetrics(*task.spread)
    assert isinstance(task.outputs, int)
    return ClassMetrics(task.outputs) if task.outputs else TokenMetrics()
