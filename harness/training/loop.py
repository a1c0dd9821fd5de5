"""The Lightning trainer of one trial, without the parts of Lightning that the harness does itself."""

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
from harness.training.distributed import raise_if_stop_requested_on_all
from harness.training.module import TrialModule
from harness.training.sharding import strategy_of

for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The number of optimiser steps, and after which of them there is an evaluation; the last is one of them."""

    steps: int
    evaluate_after: tuple[int, ...]


def plan(batches: int, epochs: float, max_steps: int | None, evaluations: int, *, round_up: bool = False) -> Plan:
    """The steps of `epochs` (a fraction is fine) of `batches` each, or `max_steps` if fewer.

    Rounded up to a multiple of `evaluations` as far as `max_steps` allows; else they are spread over the steps as
    evenly as whole numbers can be. With `round_up` past `max_steps`, too, as was done before.
    """
    steps = max(1, round(epochs * batches))
    if max_steps is not None and round_up:
        steps = min(steps, max_steps)
    parts = min(evaluations, steps)
    rounded = -(-steps // parts) * parts
    if max_steps is not None and rounded > max_steps and not round_up:
        rounded = max_steps
        parts = min(evaluations, rounded)
    return Plan(rounded, tuple(round(rounded * part / parts) for part in range(1, parts + 1)))


class EvaluationSchedule(L.Callback):
    """Has the trainer evaluate after the steps of a plan, which need not be evenly spread."""

    def __init__(self, evaluate_after: Sequence[int]) -> None:
        self.evaluate_after = evaluate_after

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        following = (step for step in self.evaluate_after if step > trainer.global_step)
        # The trainer evaluates after multiples of it: the first one is itself.
        trainer.val_check_batch = next(following, self.evaluate_after[-1])


class SameBuffers(L.Callback):
    """Gives all devices the first one's buffers before an evaluation.

    In training each has the running statistics of its own batches, and the first one's are what is saved.
    """

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrialModule)
        if trainer.world_size > 1:
            for buffer in module.model.buffers():
                torch.distributed.broadcast(buffer, 0)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context of the trainer's precision, for passes outside of it."""
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "32-true")


def make_trainer(
    folder: Path,
    length: Plan,
    device: torch.device,
    callbacks: Sequence[L.Callback],
    *,
    precision: str,
    clip: float | None,
    devices: int = 1,
    strategy: str = "auto",
    in_part: bool = False,
) -> L.Trainer:
    """A trainer with its own folder; requeueing, logging and checkpoints are not left to Lightning.

    `in_part` says that a step may leave some of the trained weights alone, which several devices have to know.
    """
    nodes = process_info().nodes if devices > 1 else 1
    with quiet():
        trainer = L.Trainer(
            default_root_dir=folder,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=devices // nodes,
            num_nodes=nodes,
            strategy=strategy_of(strategy, devices, in_part),
            precision=precision,  # type: ignore[arg-type]
            max_epochs=-1,
            max_steps=length.steps,
            val_check_interval=length.evaluate_after[0],
            check_val_every_n_epoch=None,
            gradient_clip_val=clip,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[EvaluationSchedule(length.evaluate_after), SameBuffers(), *callbacks],
            plugins=[SLURMEnvironment(auto_requeue=False)] if "SLURM_NTASKS" in os.environ else None,
        )
    if devices > 1:
        # Lightning would end each process of an evaluation at a different batch; ours end together, at a step.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def fit(trainer: L.Trainer, module: TrialModule, train: DataLoader[int], validation: DataLoader[int]) -> None:
    """Train to the end of the plan, or until a callback ends it."""
    with quiet():
        trainer.fit(module, train, validation)


def test(trainer: L.Trainer, module: TrialModule, loader: DataLoader[int]) -> dict[str, float]:
    """The scores on a split, with the weights as they are."""
    raise_if_stop_requested_on_all()  # a collective: all processes of a trial reach this point
    with quiet():
        trainer.test(module, loader, verbose=False)
    return dict(module.scores)


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings that a user cannot act on; Lightning's SIGTERMException becomes Interrupted."""
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
    # The position in the data is restored in the sampler, not in the loader.
    warnings.filterwarnings("ignore", message=".*You're resuming from a checkpoint that ended before the epoch.*")
    # Batch norms of a frozen base stay in evaluation mode on purpose: their statistics are frozen too.
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    # A recurrent layer's adapted weights are computed, not stored contiguously.
    warnings.filterwarnings("ignore", message=".*not part of single contiguous chunk.*")
    # A trial is one process on purpose; on a cluster its worker is what srun starts.
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    # Of several tasks a step may well train all weights.
    warnings.filterwarnings("ignore", message=".*find_unused_parameters.* was specified in DDP.*")
    # Lightning itself calls what torch has renamed.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*no.*`configure_callbacks`.*")
