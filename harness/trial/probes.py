"""The probes of what a base has forgotten, by their configuration: what each measures, and the digest of its text."""

from collections.abc import Callable

import torch

from harness.config import MaskedProbeConfig, ModelConfig, ProbeConfig
from harness.model import Network
from harness.trial.perplexity import next_token_digest, next_token_loss
from harness.trial.probe import ProbeLoss, probe_digest, probe_loss


def measure(
    config: ProbeConfig, source: ModelConfig, model: Network, device: torch.device, between: Callable[[], None]
) -> ProbeLoss:
    """The loss of a network's base on the held-out passages."""
    if isinstance(config, MaskedProbeConfig):
        return probe_loss(config, source, model.base, device, between)
    return next_token_loss(config, source, model, device)


def digest(config: ProbeConfig, model: ModelConfig) -> str:
    """The digest of the passages."""
    return probe_digest(config, model) if isinstance(config, MaskedProbeConfig) else next_token_digest(config, model)
