"""The Lightning trainer of one trial, without the parts of Lightning that a study does itself."""

import dataclasses
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from harness.config.processes import process_info
from harness.training.module import TrialModule
from harness.training.process_group import raise_if_stop_requested_on_all
from harness.training.sharding import strategy_of

for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many optimiser steps, and an evaluation after every how many."""

    steps: int
    evaluate_every: int


def plan(batches: int, epochs: float, max_steps: int | None, evaluations: int) -> Plan:
    """The steps of `epochs` (a fraction is fine) of `batches` each, or `max_steps` if fewer.

    Rounded up to a multiple of `evaluations`, so that the last evaluation comes after the last step.
    """
    steps = max(1, round(epochs * batches))
    if max_steps is not None:
        steps = min(steps, max_steps)
    every = -(-steps // min(evaluations, steps))
    return Plan(steps=every * min(evaluations, steps), evaluate_every=every)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """What the trainer computes in, for passes that are made before it."""
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "32-true")


def is_follower() -> bool:
    """Whether this process was started by Lightning, for a trial that the first process leads."""
    return not process_info().by and os.environ.get("LOCAL_RANK", "0") != "0"


def make_trainer(
    folder: Path,
    length: Plan,
    device: torch.device,
    devices: int,
    strategy: str,
    precision: str,
    clip: float | None,
    callbacks: Sequence[L.Callback],
) -> L.Trainer:
    """A trainer with a folder of its own; requeueing, logging and checkpoints are not Lightning's business here."""
    nodes = process_info().nodes if devices > 1 else 1
    with _quiet():
        trainer = L.Trainer(
            default_root_dir=folder,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=devices // nodes,
            num_nodes=nodes,
            strategy=strategy_of(strategy, devices),
            precision=precision,  # type: ignore[arg-type]
            max_epochs=-1,
            max_steps=length.steps,
            val_check_interval=length.evaluate_every,
            check_val_every_n_epoch=None,
            gradient_clip_val=clip,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=list(callbacks),
            plugins=[SLURMEnvironment(auto_requeue=False)] if "SLURM_NTASKS" in os.environ else None,
        )
    if devices > 1:
        # Lightning would end each process of an evaluation at a batch of its own; ours end at a step, together.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def fit(trainer: L.Trainer, module: TrialModule, train: DataLoader[int], validation: DataLoader[int]) -> None:
    """Train to the end of the plan, or until a callback ends it."""
    with _quiet():
        trainer.fit(module, train, validation)


def test(trainer: L.Trainer, module: TrialModule, loader: DataLoader[int]) -> dict[str, float]:
    """The scores on a split, with the weights as they are."""
    raise_if_stop_requested_on_all()  # here all processes of a trial are at the same place
    with _quiet():
        trainer.test(module, loader, verbose=False)
    return dict(module.scores)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings that tell a user nothing, and with Lightning's own answer to SIGTERM given as ours."""
    with warnings.catch_warnings():
        _hush()
        try:
            yield
        except SIGTERMException:
            raise_if_stop_requested_on_all()
            raise


def _hush() -> None:
    # Batches are sliced from arrays in memory: loader processes would only cost.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    # Where the data go on is told to the sampler, not to the loader.
    warnings.filterwarnings("ignore", message=".*You're resuming from a checkpoint that ended before the epoch.*")
    # Batch norms of a frozen base rest on purpose: their statistics are frozen too.
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    # A recurrent layer's changed weights are results, not stored in one piece.
    warnings.filterwarnings("ignore", message=".*not part of single contiguous chunk.*")
    # A trial is one process on purpose; on a cluster its worker is what srun starts.
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    # Lightning itself calls what torch has renamed.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*no.*`configure_callbacks`.*")
