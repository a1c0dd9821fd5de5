"""The probes of what a base has forgotten, by their configuration: what each measures, and the digest of its text."""

from collections.abc import Callable

import torch

from harness.config import MaskedProbeConfig, ModelConfig, ProbeConfig
from harness.model import Network
from harness.trial.masked_probe import ProbeLoss, masked_digest, masked_loss
from harness.trial.perplexity import next_token_digest, next_token_loss


def probe_loss(
    config: ProbeConfig, source: ModelConfig, model: Network, device: torch.device, between: Callable[[], None]
) -> ProbeLoss:
    """The loss of a network's base on the held-out passages."""
    if isinstance(config, MaskedProbeConfig):
        return masked_loss(config, source, model.base, device, between)
    return next_token_loss(config, source, model, device)


def probe_digest(config: ProbeConfig, model: ModelConfig) -> str:
    """The digest of the passages."""
    return masked_digest(config, model) if isinstance(config, MaskedProbeConfig) else next_token_digest(config, model)
