"""The configuration that a command line of the harness would compose."""

from collections.abc import Sequence

import hydra
from omegaconf import OmegaConf

from harness.config import Config, check
from harness.config.composition import CONF


def configured(words: Sequence[str]) -> Config:
    """The checked configuration of these words. Raises ConfigError, and Hydra's errors."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        tree = OmegaConf.to_container(hydra.compose("config", list(words)), resolve=True)
    assert isinstance(tree, dict)
    return check({str(key): value for key, value in tree.items()})
