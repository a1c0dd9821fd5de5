"""Checks of Hydra's own settings in a configuration, before Hydra acts on them.

Hydra imports the packages of its search path, and out of its own node it instantiates callbacks, launcher and sweeper,
builds log handlers and sets environment variables, all before the job begins. A shared file must be able to do none of
that, so what may be set is listed here, and all else is refused where Hydra composes: once for every command, for every
job of a multirun, and for every composition that the job itself asks for.
"""

import functools
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
import omegaconf._utils
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import ConfigSearchPath
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from harness.config.guests import guest_folders
from harness.config.tree import ConfigError
from harness.system.redaction import is_secret

# What may be set; a key stands for all that is below it. Hydra writes some of them itself.
_FREE = (
    *("hydra.mode", "hydra.verbose", "hydra.searchpath", "hydra.sweep.dir", "hydra.sweep.subdir"),
    *("hydra.help", "hydra.hydra_help", "hydra.overrides", "hydra.runtime"),
    *("hydra.job.name", "hydra.job.chdir", "hydra.job.override_dirname", "hydra.job.id", "hydra.job.num"),
    *("hydra.job.config_name", "hydra.job.config"),
)
# What may have these values only.
_PLUGINS = "hydra._internal.core_plugins"
_FIXED: Mapping[str, tuple[Any, ...]] = {
    "hydra.callbacks": ({},),
    "hydra.env": ({},),
    "hydra.job.env_set": ({},),
    "hydra.job.env_copy": ([],),
    "hydra.launcher": ({"_target_": f"{_PLUGINS}.basic_launcher.BasicLauncher"},),
    "hydra.sweeper._target_": (f"{_PLUGINS}.basic_sweeper.BasicSweeper",),
    "hydra.run.dir": (".",),  # Hydra makes it, whatever the command is
    "hydra.output_subdir": (None,),
}
_LOGGING = ("hydra.job_logging", "hydra.hydra_logging")
_SWEEPER = ("hydra.sweeper.params", "hydra.sweeper.max_batch_size")
_HYDRAS = Path(hydra.__file__).parent / "conf" / "hydra"  # its own files


def install() -> None:
    """Have Hydra check in this process, whoever asks it to compose. Calling it again changes nothing.

    Raises ConfigError for --experimental-rerun, which unpickles the file it is given.
    """
    if get_args_parser().parse_known_args(sys.argv[1:])[0].experimental_rerun is not None:
        raise ConfigError("--experimental-rerun: it unpickles a file, which can run anything; give the overrides again")
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)
    if not hasattr(ConfigLoaderImpl.load_configuration, "__wrapped__"):
        omegaconf._utils.get_yaml_loader = _with_plain_numbers(omegaconf._utils.get_yaml_loader)
        ConfigLoaderImpl.load_configuration = _checked(ConfigLoaderImpl.load_configuration)  # type: ignore[method-assign]
        ConfigSource._get_header_dict = staticmethod(_without_mark(ConfigSource._get_header_dict))  # type: ignore[method-assign]
        ConfigRepository.initialize_sources = _only_folders(ConfigRepository.initialize_sources)  # type: ignore[method-assign]


def refuse(composed: DictConfig) -> None:
    """Raise ConfigError for the first key of a composed configuration that could have Hydra run something."""
    tree = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(tree, dict)
    node = tree.pop("hydra", {})
    for key, value in _leaves(tree, ""):
        if "_target_" in key.split("."):
            raise ConfigError(f"{key}={_shown(value)}: no such key; a configuration names nothing to be run")
    targets = [key for key, _ in _leaves(node, "hydra") if "_target_" in key.split(".")]
    for key, value in sorted(_leaves(node, "hydra"), key=lambda leaf: leaf[0] not in targets):
        if not _allowed(key, value, node):
            raise ConfigError(f"{key}={_shown(value)}: {_rule(key)}")


def _allowed(key: str, value: Any, node: Any) -> bool:
    if "_target_" in key.split(".") and key not in ("hydra.launcher._target_", "hydra.sweeper._target_"):
        return False
    if place := _within(key, _LOGGING):
        said = node[place.partition(".")[2]]
        return any(said == own for own in _own_files(place))
    if place := _within(key, _FIXED):
        return any(_at(node, place) == valid for valid in _FIXED[place])
    if _within(key, _SWEEPER):  # Hydra resolves these, instantiates what it finds, and takes them for overrides
        swept = key.removeprefix("hydra.sweeper.params.").lstrip("+~")
        return "${" not in json.dumps(value, default=str) and (key in _SWEEPER or not swept.startswith("hydra"))
    return _within(key, _FREE) is not None


def _rule(key: str) -> str:
    if "_target_" in key.split(".") or _within(key, ("hydra.callbacks", "hydra.launcher", "hydra.sweeper")):
        return "a configuration names nothing to be run; Hydra's own launcher and sweeper are the only ones"
    if place := _within(key, _LOGGING):
        own = sorted(path.stem for path in (_HYDRAS / place.partition(".")[2]).glob("*.yaml"))
        return f"logging is one of Hydra's own; valid: {place.replace('.', '/')}= {', '.join(own)}"
    if key.startswith("hydra.job.env_"):
        return "a configuration sets no environment variables; set them for the command"
    if place := _within(key, _FIXED):
        return f"valid: {' or '.join(map(_shown, _FIXED[place]))}"
    return f"not to be set; valid: {', '.join(_FREE)}"


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The keys of a tree that hold a value or an empty container."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list) and any(isinstance(value, dict | list) for value in node):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{key}.{index}")
    else:
        yield key, node


def _within(key: str, places: Any) -> str | None:
    return next((place for place in places if key == place or key.startswith(f"{place}.")), None)


def _at(node: Any, place: str) -> Any:
    for part in place.split(".")[1:]:
        node = node.get(part) if isinstance(node, dict) else None
    return node


@functools.cache
def _own_files(place: str) -> list[Any]:
    folder = _HYDRAS / place.partition(".")[2]
    return [OmegaConf.to_container(OmegaConf.load(path), resolve=False) for path in sorted(folder.glob("*.yaml"))]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 200 else text[:200] + "…"


def _checked(load: Any) -> Any:
    @functools.wraps(load)
    def load_configuration(
        self: ConfigLoaderImpl,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        try:
            composed: DictConfig = load(self, config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{_undecoded()}: {error}; save it as UTF-8") from None
        except yaml.YAMLError as error:  # a tag that would make an object of Python's, too
            raise ConfigError(" ".join(str(error).split())) from None
        except ValueError as error:  # null or a number for an option
            raise ConfigCompositionException(str(error)) from error
        refuse(composed)
        return composed

    return load_configuration


def _undecoded() -> str:
    """The first file of a configuration that is not UTF-8."""
    for path in (path for folder in guest_folders() for path in sorted(Path(folder).rglob("*.yaml"))):
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return str(path)
    return "a file of the configuration"


def _with_plain_numbers(loader: Any) -> Any:
    """A loader that refuses numbers which YAML takes for those of base 8 or 60: 010 for 8, 1:30 for 90."""

    @functools.wraps(loader)
    def get_yaml_loader() -> Any:
        made = loader()
        made.add_constructor("tag:yaml.org,2002:int", _whole_number)
        return made

    return get_yaml_loader


def _whole_number(loader: Any, node: yaml.ScalarNode) -> int:
    found: int = loader.construct_yaml_int(node)
    if _OTHER_BASE.fullmatch(node.value):
        where = f"{node.start_mark.name}, line {node.start_mark.line + 1}"
        rule = f"YAML reads {node.value} as {found}; write a number without a 0 before it, a text in quotes"
        raise ConfigError(f"{where}: {rule}")
    return found


_OTHER_BASE = re.compile(r"[-+]?0[0-7_]+|[-+]?\d[\d_]*(?::[0-5]?\d)+")


def _without_mark(read: Any) -> Any:
    """Reads the header of a file that an editor began with a byte order mark."""

    @functools.wraps(read)
    def _get_header_dict(config_text: str) -> Any:
        return read(config_text.removeprefix("\ufeff"))

    return _get_header_dict


def _only_folders(initialize: Any) -> Any:
    @functools.wraps(initialize)
    def initialize_sources(repository: ConfigRepository, config_search_path: ConfigSearchPath) -> None:
        for item in config_search_path.get_path():
            scheme, found, _ = item.path.partition("://")
            if found and scheme not in ("file", "sweeps", "structured") and item.path != "pkg://hydra.conf":
                where = "--config-path" if item.provider == "main" else "hydra.searchpath"
                raise ConfigError(f"{where}={item.path}: a package is run when it is imported; give a folder")
        initialize(repository, config_search_path)

    return initialize_sources


def _environment(key: str, *default: Any) -> str | None:
    """OmegaConf's own resolver `oc.env`, which refuses secrets."""
    if key in os.environ and is_secret(key, os.environ[key]):
        raise ConfigError(
            f"${{oc.env:{key}}}: it may hold a secret, and what a configuration holds is printed, kept and sent"
        )
    found: str | None = oc.env(key, *default)
    return found
