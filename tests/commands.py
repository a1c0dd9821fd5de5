"""The configuration that the words of a command resolve to, composed in this process."""

from collections.abc import Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from harness.config import Config, check, composition


def compose(words: Sequence[str]) -> Config:
    """Raises ConfigError or Hydra's own error for a key or a value that does not exist."""
    composition.register_sweeps()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(composition.CONF)):
        tree = OmegaConf.to_container(hydra.compose("config", overrides=list(words)), resolve=True)
    assert isinstance(tree, dict)
    return check({str(key): value for key, value in tree.items()})
