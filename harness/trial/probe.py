"""The probes of what a base has forgotten, by the module that their configuration names."""

import importlib
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch

from harness.config import ModelConfig, ProbeConfig
from harness.model import Network
from harness.trial.masked_probe import ProbeLoss


class ProbeModule(Protocol):
    """The functions of a probe's module; `config` is of that probe's own class."""

    def probe_loss(
        self, config: Any, source: ModelConfig, model: Network, device: torch.device, between: Callable[[], None]
    ) -> ProbeLoss:
        """The loss of a network's base on the held-out passages."""

    def probe_digest(self, config: Any, model: ModelConfig) -> str:
        """The digest of the passages: what text, how it is cut, which of it is held out."""


def probe_loss(
    config: ProbeConfig, source: ModelConfig, model: Network, device: torch.device, between: Callable[[], None]
) -> ProbeLoss:
    """The loss of a network's base on the held-out passages; `between` is called between the steps of a long fit."""
    return _module(config).probe_loss(config, source, model, device, between)


def probe_digest(config: ProbeConfig, model: ModelConfig) -> str:
    """The digest of the passages."""
    return _module(config).probe_digest(config, model)


def _module(config: ProbeConfig) -> ProbeModule:
    return cast(ProbeModule, importlib.import_module(config.module))
