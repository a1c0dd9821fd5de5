"""The basis of a rank allocation: inputs and gradients of the frozen base, or a trained network that is truncated.

Figures are by target, the greatest first.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.config import Config, ConfigError
from harness.devices import resolve_device, resolve_precision
from harness.lora import Feed, InitialisationError, adapter_parameters
from harness.lora.truncation import cut, singular_values
from harness.lora.variants.eva import explained_variance
from harness.lora.variants.lora_ga import first_gradients
from harness.model import build_model
from harness.system.study_files import ADAPTER
from harness.task import build_task
from harness.training import autocast, task_losses
from harness.trial.adapt import method_of, spec_errors
from harness.trial.inputs import evaluation_size, loader, read_inputs
from harness.trial.passes import feed, on_device
from harness.trial.rank_costs import plain_lora
from harness.trial.single import metrics_of
from harness.trial.trained import Trained, load_trained


def variance_shares(config: Config) -> dict[str, list[float]]:
    """EVA's measure: the share of its input's variance that each direction explains, on the first batches."""
    return {name: found.tolist() for name, found in _before_training(config, explained_variance).items()}


def gradient_energies(config: Config) -> dict[str, list[float]]:
    """The squared singular values of the loss's first gradient in each matrix.

    Their sum up to r is what a step along the gradient's best part of rank r takes off the loss, to first order.
    """
    found = _before_training(config, first_gradients)
    return {name: torch.linalg.svdvals(each.double()).square().tolist() for name, each in found.items()}


def _before_training(config: Config, look: Callable[[nn.Module, Feed], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Collect a statistic of the network before training, on the first `lora.calibration` batches."""
    _refuse_several(config)
    device = resolve_device(config.trainer.accelerator, 1)
    precision = resolve_precision(config.trainer.precision, device, config.model.base_dtype)
    plain = plain_lora(config)
    torch.manual_seed(config.seed)  # the head is drawn
    task = build_task(config.task)
    train = read_inputs(config, task, "train")
    model = build_model(config.model, task.outputs).to(device)
    with spec_errors():
        method_of(replace(config, lora=plain)).adapt(model)
    batches = loader(train, config.trainer.batch_size, config.seed, training=True)
    show = partial(feed, model, batches, task.losses, device=device, precision=precision, count=plain.calibration)
    try:
        return look(model.base, show)
    except InitialisationError as error:
        raise ConfigError(f"run=allocate: {error}") from None


def _refuse_several(config: Config) -> None:
    if config.task.parts or config.task.in_turn:
        raise ConfigError(f"run=allocate: task={config.task.name} is several tasks; the ranks of one are allocated")


class TruncatedTrial:
    """A trial's network, whose changes can be cut to lower ranks and scored on validation.

    `steps` says that it is also trained. Raises ConfigError for a trial whose changes are no products of A and B alone,
    for one of several tasks, and for steps in 16-mixed.
    """

    def __init__(self, trained: Trained, steps: int | None = None) -> None:
        self.config = config = trained.config
        _refuse_several(config)
        if (objective := config.trainer.objective) in config.trainer.text_measures:
            raise ConfigError(
                f"method=truncate: trainer.objective={objective} is of texts that the model writes; a trial that is "
                "cut is scored on the answers that are given"
            )
        self._device = resolve_device(config.trainer.accelerator, 1)
        self._precision = resolve_precision(config.trainer.precision, self._device, config.model.base_dtype)
        if steps is not None and self._precision == "16-mixed":
            raise ConfigError(
                f"steps={steps}: method=truncate trains without a scaled loss, which 16-mixed, the precision of the "
                "trial here, needs; steps=null"
            )
        self._task = build_task(config.task)
        self._network = load_trained(trained).to(self._device)
        size = evaluation_size(config, self._task)
        validation = read_inputs(config, self._task, "validation")
        self._batches = loader(validation, size, config.seed, training=False)
        train = read_inputs(config, self._task, "train")
        self._training = loader(train, config.trainer.batch_size, config.seed, training=True)
        with spec_errors():
            self.values = singular_values(self._network.base)

    def score(self, ranks: Mapping[str, int]) -> float:
        """The validation score of the trial's objective with each change cut to its rank."""
        with cut(self._network.base, ranks):
            return self._score()

    def recovered(self, ranks: Mapping[str, int], steps: int) -> float:
        """The same after so many steps of training what is left, which keeps its rank, and the head.

        AdamW at the trial's own rates, on a line down to zero, on the same batches and with the same dropout whatever
        the ranks. The network is as it was afterwards.
        """
        batches: Any = self._training.batch_sampler
        devices = [self._device] if self._device.type == "cuda" else []
        head = {name: tensor.clone() for name, tensor in self._network.head.state_dict().items()}
        with cut(self._network.base, ranks), torch.random.fork_rng(devices):
            batches.resume_at(0)
            torch.manual_seed(self.config.seed)
            self.train(steps)
            score = self._score()
        self._network.head.load_state_dict(head)
        return score

    def train(self, steps: int) -> None:
        """Train adapter and head: rows of A and columns of B that are both zero get no gradient, and stay so."""
        network, settings = self._network, self.config.optimizer
        method = method_of(self.config)
        fast = {id(tensor) for tensor in method.fast_parameters(network)}
        groups = [
            {"params": [tensor], "lr": settings.lr * (method.lr_ratio if id(tensor) in fast else 1.0)}
            for tensor in adapter_parameters(network.base)
            if tensor.requires_grad
        ]
        groups += [{"params": list(network.head.parameters()), "lr": settings.head_lr or settings.lr}]
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)
        falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
        network.train()
        for batch in itertools.islice(itertools.chain.from_iterable(itertools.repeat(self._training)), steps):
            with autocast(self._precision, self._device):
                loss = task_losses(network, on_device(batch, self._device), self._task.losses)[0].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
        network.eval()

    def _score(self) -> float:
        metrics = metrics_of(self._task, self.config.trainer).to(self._device)
        with torch.no_grad():
            for batch in self._batches:
                here = on_device(batch, self._device)
                with autocast(self._precision, self._device):
                    logits = self._network(here)
                metrics.update(logits, here)
        return metrics.compute_and_reset()[self.config.trainer.objective]


def adapter_energies(trained: Trained) -> dict[str, list[float]]:
    """The squared singular values of each ΔW that a trial's adapter holds, from its file alone.

    Raises ConfigError where the file is not there, or a layer has no A and B of a linear layer.
    """
    entry, path = trained.entry, trained.folder / ADAPTER / "adapter_model.safetensors"
    if not path.exists():
        raise ConfigError(f"trial={entry.trial}: {path}: no such file; the trial's adapter is needed")
    tensors, found = load_file(path), {}
    for layer in entry.adapter.ranks:
        down, up = (tensors.get(f"base_model.model.{layer}.lora_{part}.weight") for part in "AB")
        if down is None or up is None or down.ndim != 2:
            raise ConfigError(f"trial={entry.trial}: {layer}: no A and B of a linear layer in {path}")
        a, b = down.double(), up.double()
        values = torch.linalg.svdvals(torch.linalg.qr(b).R @ torch.linalg.qr(a.t()).R.t())
        scale = entry.adapter.scales.get(layer, 1.0)
        found[layer] = (scale * values).square().tolist()
    return found
