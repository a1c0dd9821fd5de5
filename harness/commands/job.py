"""The job: the configurations that Hydra composes from the command line, one for each job of a multirun."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from harness.config import Config, ConfigError, check, composition


@dataclass(frozen=True)
class HydraJob:
    """A composed configuration and the words that it was composed from."""

    composed: DictConfig
    words: tuple[str, ...]

    @property
    def run(self) -> str:
        """The value of `run`, as it was written."""
        return str(self.composed.get("run"))

    @property
    def study_folder(self) -> Path:
        """The folder of the study that is named."""
        return Path(str(self.composed.get("results"))) / str(self.composed.get("study"))

    @cached_property
    def config(self) -> Config:
        """The configuration, checked once. Raises ConfigError."""
        return checked(self.composed)


@contextmanager
def composed_jobs() -> Iterator[list[HydraJob]]:
    """The jobs of this command, none where Hydra itself has answered; inside, Hydra goes on composing."""
    found: list[HydraJob] = []
    context: list[Any] = []

    def note(composed: DictConfig) -> None:
        found.append(HydraJob(composed, tuple(HydraConfig.get().overrides.task)))
        context.append(GlobalHydra.instance().hydra)

    composition.register_sweeps()
    hydra.main(version_base="1.3", config_path=str(composition.CONF), config_name="config")(note)()
    if context:  # Hydra has cleared its search path, which --config-dir may have added to
        GlobalHydra.instance().initialize(context[-1])
    try:
        yield found
    finally:
        GlobalHydra.instance().clear()


def key_of(word: str) -> str:
    """The key, or the group, that a word of the command line says something of."""
    return word.lstrip("+~").partition("=")[0]


def refuse_other_words(words: Sequence[str], taken: Sequence[str], groups: Sequence[str], rule: str) -> None:
    """Raise ConfigError for words that say something of another key than those, and of no key in those groups."""
    others = [word for word in words if (key := key_of(word)) not in taken and key.partition(".")[0] not in groups]
    if others:
        raise ConfigError(*(f"{word}: {rule}" for word in others))


def compose(words: Sequence[str]) -> Config:
    """The checked configuration of other words. Raises ConfigError, and Hydra's errors."""
    return checked(hydra.compose("config", overrides=list(words)))


def checked(composed: DictConfig) -> Config:
    """The typed configuration of what was composed. Raises ConfigError."""
    tree = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(tree, dict)
    return check({str(key): value for key, value in tree.items()})
