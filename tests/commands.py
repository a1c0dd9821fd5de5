"""The configuration that the words of a command resolve to, composed in this process."""

import copy
import functools
import os
import re
from collections.abc import Sequence
from typing import Any, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config import Config, check, composition
from harness.config.guests import FOLDERS


def compose(words: Sequence[str]) -> Config:
    """Raises ConfigError or Hydra's own error for a key or a value that does not exist."""
    return check(compose_tree(words))


def compose_tree(words: Sequence[str]) -> dict[str, Any]:
    """The resolved tree: Hydra takes a tenth of a second, so it composes the same options once; values are set in them.

    What is set another way than as `key=value` of a key that is there, it composes as it is.
    """
    if os.environ.get(FOLDERS):  # their files may change
        return _resolved(_composed(words))
    options = tuple(word for word in words if _is_option(word))
    tree = _with_values(options, [word for word in words if word not in options])
    return _resolved(_composed(words) if tree is None else tree)


def _is_option(word: str) -> bool:
    return word.lstrip("+").partition("=")[0].partition("@")[0] in composition.groups()


def _with_values(options: tuple[str, ...], words: list[str]) -> DictConfig | None:
    if any(word[:1] in "+~" for word in words):
        return None
    tree = copy.deepcopy(_with_options(options, tuple(map(os.environ.get, _variables()))))
    try:
        for override in OverridesParser.create().parse_overrides(words):
            if override.is_sweep_override():
                return None
            OmegaConf.update(tree, override.key_or_group, override.value(), merge=True)
    except (HydraException, OmegaConfBaseException):  # Hydra says what is wrong
        return None
    return tree


@functools.cache
def _with_options(options: tuple[str, ...], _: tuple[str | None, ...]) -> DictConfig:
    return _composed(options)


def _composed(words: Sequence[str]) -> DictConfig:
    composition.register_sweeps()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(composition.CONF)):
        return hydra.compose("config", overrides=list(words))


def _resolved(tree: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(tree, resolve=True))


@functools.cache
def _variables() -> list[str]:
    """The variables that the files read."""
    texts = [path.read_text() for path in composition.CONF.rglob("*.yaml")]
    return sorted({name for text in texts for name in re.findall(r"oc\.env:(\w+)", text)})
