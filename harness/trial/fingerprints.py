"""The machine-dependent part of a trial: what goes into its fingerprint, and what else affects results."""

from typing import Any

import torch

from harness.config import Config, fingerprint
from harness.devices import resolve_device, resolve_precision
from harness.trial.inputs import input_digests
from harness.trial.probe import probe_digest
from harness.trial.provenance import environment


def identity(config: Config) -> dict[str, str]:
    """The digests of data, weights and tokenizer, the device, the precision, and attention that is not the usual."""
    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    text = {}
    if config.probe is not None:
        text = {"probe": probe_digest(config.probe, config.model)}
    machine = {
        "device": device.type,
        "precision": resolve_precision(config.trainer.precision, device, config.model.base_dtype),
    }
    if config.model.attends == "eager":  # as before there was a choice, where it is the usual one
        machine["attention"] = "eager"
    return input_digests(config) | text | machine


def fingerprint_of(config: Config) -> str:
    """The fingerprint of a trial that has not run."""
    return fingerprint(config, identity(config))


def environment_of(config: Config) -> dict[str, Any]:
    """Return what affects the result of a trial in this process: see `provenance.environment`."""
    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    return environment(device, config.trainer.threads or torch.get_num_threads())
