"""A trial whose model is adapted, and the steps that every trial's life has from there on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from harness.config import Config, ConfigError
from harness.lora import shared_parameters
from harness.model import Network
from harness.record import Draft, Probe
from harness.report.statistics import t_interval
from harness.system.signals import raise_if_stop_requested
from harness.task import Inputs, Task
from harness.training import Metrics, ResourceMeter, TrialModule
from harness.trial import tracking
from harness.trial.context import Report, TrialContext
from harness.trial.inputs import evaluation_size, loader
from harness.trial.methods import Method
from harness.trial.optimizers import MUON, check_scaled, fuses, make_optimizer


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """The objects that training and evaluation of a trial need.

    `splits` has the rows of each split, or of each task of it, where tasks are learned one after another. `spread`
    says that the weights are shared out over several devices in training; `home` is where the whole model is else.
    """

    config: Config
    context: TrialContext
    task: Task
    model: Network
    method: Method
    splits: dict[str, Any]
    device: torch.device
    home: torch.device
    spread: bool
    precision: str
    meter: ResourceMeter
    draft: Draft
    mirror: tracking.Mirror
    report: Report

    def training_batches(self, inputs: Inputs, process_index: int = 0, world: int = 1) -> DataLoader[int]:
        """The batches of an epoch of training that this process takes."""
        settings, seed = self.config.trainer, self.config.seed
        left = len(inputs) % settings.rows_of_step
        if self.spread and 0 < left < settings.accumulate:  # all devices have to make as many passes
            raise ConfigError(
                f"trainer.accumulate={settings.accumulate}: the last batch of an epoch has {left} of {len(inputs)} "
                "rows; with trainer.strategy=fsdp it needs at least as many"
            )
        batches = loader(
            inputs,
            settings.batch_size,
            seed,
            training=True,
            process_index=process_index,
            world=world,
            accumulate=settings.accumulate,
            tokens=settings.batch_tokens,
            pin=self.device.type == "cuda",
        )
        if len(batches) == 0:
            raise ConfigError(
                f"trainer.devices={world}: {len(inputs)} training rows are fewer batches of {settings.rows_of_step} "
                "than devices, so that one had none; fewer devices, or a smaller trainer.batch_size"
            )
        return batches

    def evaluation_batches(
        self, inputs: Inputs, process_index: int = 0, world: int = 1, rows: int | None = None
    ) -> DataLoader[int]:
        """Each row once, or each of the first `rows`, as this process takes them."""
        return loader(
            inputs,
            evaluation_size(self.config, self.task),
            self.config.seed,
            training=False,
            process_index=process_index,
            world=world,
            rows=rows,
            tokens=self.config.trainer.batch_tokens,
            pin=self.device.type == "cuda",
        )

    def note_probe_loss_after(self, device: torch.device) -> None:
        """Note the base's loss on general text after training."""
        note_probe_loss(self.config, self.model, device, self.draft, when="after")


def make_module(
    trial: RunningTrial,
    model: Network,
    metrics: Metrics,
    steps: int,
    *,
    penalty: Callable[[], Tensor] | None = None,
    written: Callable[[], dict[str, float]] | None = None,
) -> TrialModule:
    """The network as it is trained for so many steps, with its method's penalty, or the one that is given."""
    optimizer = trial.config.optimizer
    penalty = penalty or trial.method.penalty(model)
    on_gpu = trial.device.type == "cuda"
    fused = fuses(trial.precision, optimizer.clip, penalised=penalty is not None, on_gpu=on_gpu)
    if trial.precision == "16-mixed":
        check_scaled(trial.config)
    if model.weighting is not None:
        model.weighting.watch(shared_parameters(model.base))
    return TrialModule(
        model,
        metrics,
        lr=optimizer.lr,
        head_lr=optimizer.head_lr or optimizer.lr,
        weight_decay=optimizer.weight_decay,
        warmup=optimizer.warmup,
        steps=steps,
        make_optimizer=make_optimizer(trial.config, fused=fused),
        matrices_apart=optimizer.name == MUON,
        schedule=optimizer.schedule,
        decay=optimizer.decay,
        fast=trial.method.fast_parameters(model),
        fast_ratio=trial.method.lr_ratio,
        penalty=penalty,
        weigh=model.weighting.forward if model.weighting is not None else None,
        losses=trial.task.losses,
        written=written,
        as_graphs=not (penalty or no_graphs(trial)),
    )


def no_graphs(trial: RunningTrial) -> str:
    """Return why no training step of a trial is a graph of the GPU; empty if it may be."""
    settings = trial.config.trainer
    if trial.device.type != "cuda":
        return "there is no GPU"
    if not settings.cuda_graphs:
        return "trainer.cuda_graphs=false"
    if settings.devices > 1:
        return f"trainer.devices={settings.devices}"
    if settings.accumulate > 1 or settings.batch_tokens is not None:
        return "trainer.accumulate or trainer.batch_tokens"
    if settings.activation_checkpointing:
        return "trainer.activation_checkpointing=true"
    if settings.reuse_features:
        return "trainer.reuse_features=true"
    if trial.precision == "16-mixed":
        return "trainer.precision=16-mixed"
    if trial.context.pack is not None:
        return "launch.pack"
    if trial.task.losses is not None or trial.model.weighting is not None or trial.config.task.in_turn:
        return f"task={trial.config.task.name} is several tasks"
    if trial.config.model.guest is not None:
        return f"model={trial.config.model.name} is one of your own"
    return "" if trial.method.steady else f"lora={trial.config.lora.name} does not do the same in every step"


def note_arithmetic(draft: Draft, how: dict[str, Any]) -> None:
    """Note more of how the trial is computed."""
    where = draft.record.provenance
    draft.record = replace(draft.record, provenance=replace(where, arithmetic=where.arithmetic | how))


def note_probe_loss(
    config: Config, model: Network, device: torch.device, draft: Draft, *, when: Literal["before", "after"]
) -> None:
    """Note the loss on general text of the base of `model`; nothing without a probe."""
    if config.probe is None:
        return
    # One of several processes must not leave the others at a stop signal.
    between = raise_if_stop_requested if config.trainer.devices == 1 else lambda: None
    from harness.trial.probe import probe_loss  # it brings transformers

    loss = probe_loss(config.probe, config.model, model.to(device), device, between)
    if when == "before":
        draft.probed, found = loss.passages, Probe(before=loss.mean)
    else:
        moved = [after - before for after, before in zip(loss.passages, draft.probed, strict=True)]
        low, high = t_interval(moved)[1:] if len(moved) > 1 else (None, None)
        found = replace(draft.record.probe, after=loss.mean, low=low, high=high)
    draft.record = replace(draft.record, probe=found)
