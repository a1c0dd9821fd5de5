"""The optimiser that a configuration names: any class of torch.optim that makes one step a batch."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from harness.config import Config, ConfigError, nearest
from harness.training.muon import MuonWithAdamW

MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
"""Groups of tensors, each with its learning rate and its weight decay, to the optimiser of them all."""

_UNFIT = {
    "LBFGS": "it evaluates the loss several times a step",
    "SparseAdam": "gradients here are dense",
}
MUON = "Muon"
"""It takes matrices alone: AdamW, with its usual arguments, trains the rest."""
_OWN_KEYS = {"lr": "optimizer.lr", "weight_decay": "optimizer.weight_decay"}


def check_optimizer(config: Config) -> None:
    """Raise ConfigError where torch has no such optimiser, or it has no such argument."""
    named = config.optimizer
    kind = _kinds().get(named.name)
    if kind is None:
        reason = (
            f"cannot be used, {_UNFIT[named.name]}" if named.name in _UNFIT else "torch.optim has none of that name"
        )
        near = "" if named.name in _UNFIT else nearest(named.name, _kinds())
        raise ConfigError(f"optimizer.name={named.name}: {reason}{near}; valid: {', '.join(_kinds())}")
    known = inspect.signature(kind).parameters
    arguments = named.arguments or {}
    mistakes = [f"optimizer.arguments.{key}: that is {_OWN_KEYS[key]}" for key in arguments if key in _OWN_KEYS]
    mistakes += [
        f"optimizer.arguments.{key}: {named.name} has no such argument{nearest(key, known)}"
        for key in arguments
        if key not in known
    ]
    if "weight_decay" not in known and named.weight_decay:
        rule = f"{named.name} has none; optimizer.weight_decay=0.0"
        mistakes.append(f"optimizer.weight_decay={named.weight_decay}: {rule}")
    if named.name == MUON and config.trainer.sharded:
        rule = "Muon takes whole matrices, which are spread there; trainer=ddp, or optimizer.name=AdamW"
        mistakes.append(f"optimizer.name=Muon trainer.strategy=fsdp: {rule}")
    if mistakes:
        raise ConfigError(*mistakes)
    try:
        kind([torch.nn.Parameter(torch.zeros(1, 1))], lr=named.lr, **_given(arguments))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer.name={named.name}: {str(error).splitlines()[0]}") from None


def fuses(precision: str, clip: float | None, *, penalised: bool, on_gpu: bool) -> bool:
    """Return whether AdamW is fused if no argument sets it.

    It takes scaled gradients and leaves them so: Lightning cannot clip them, nor AdaLoRA look at them afterwards.
    In bf16 nothing is scaled. On a CPU it is left to optimizer.arguments.fused there, since it moves the last digits;
    on a GPU the other form starts eight kernels for each tensor.
    """
    return precision == "32-true" or (clip is None and not penalised) or (on_gpu and precision == "bf16-mixed")


def check_scaled(config: Config) -> None:
    """Raise ConfigError where the scaled losses of 16-mixed, which `auto` is on GPUs without bfloat16, do not serve."""
    optimizer, where = config.optimizer, "with trainer.precision=16-mixed"
    if optimizer.clip is not None and (optimizer.arguments or {}).get("fused"):
        rule = "a fused optimiser takes scaled gradients; optimizer.clip=null, or optimizer.arguments.fused=false"
        raise ConfigError(f"optimizer.arguments.fused=true {where}: cannot be clipped: {rule}")
    if config.task.weighted_by == "gradnorm":
        rule = (
            "compares gradients of unscaled losses, which float16 rounds to 0; 32-true, or task.weighting=uncertainty"
        )
        raise ConfigError(f"task.weighting=gradnorm {where}: {rule}")


def make_optimizer(config: Config, *, fused: bool) -> MakeOptimizer:
    """The optimiser as configured; `fused` is for AdamW, beside Muon, too: several times faster in that form.

    An argument that says it comes first.
    """
    kind, arguments = _kinds()[config.optimizer.name], _given(config.optimizer.arguments or {})
    if config.optimizer.name == MUON:
        return lambda groups: MuonWithAdamW(list(_apart(groups)), arguments, fused=fused)
    if config.optimizer.name == "AdamW":
        arguments = {"fused": fused} | arguments
    return partial(kind, **arguments)


def _apart(groups: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Groups that say whether they are of hidden matrices; those that do not are divided, all matrices are taken so."""
    for group in groups:
        if "hidden" in group:
            yield group
            continue
        for hidden in (True, False):
            yield group | {"params": [each for each in group["params"] if (each.ndim == 2) == hidden], "hidden": hidden}


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A list in a configuration is a tuple of torch's, as the betas of Adam are."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}


def _kinds() -> dict[str, Any]:
    base, there = torch.optim.Optimizer, sorted(vars(torch.optim).items())
    found = {name: kind for name, kind in there if isinstance(kind, type) and issubclass(kind, base)}
    return {name: kind for name, kind in found.items() if name not in _UNFIT and kind is not base}
