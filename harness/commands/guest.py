"""run=package.module:name: a command from outside the package, which runs studies and reports on them."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.config import Config, ConfigError, nearest
from harness.config.guests import import_guest

if TYPE_CHECKING:
    from harness.commands.job import HydraJob

Compose = Callable[[Sequence[str]], Config]
"""The checked configuration of some words, run where and as this command is. Raises ConfigError."""

RunStudy = Callable[[Config, Sequence[str]], str]
"""Runs a study to its end; returns the name of its folder, which a stand-in's data may change."""

Function = Callable[[Config, Mapping[str, Any], Compose, RunStudy], str]


@dataclasses.dataclass(frozen=True)
class StudyCommand:
    """A function that was made for run=package.module:name; nothing else is called."""

    function: Function


def study_command(function: Function) -> StudyCommand:
    """Mark `function(config, arguments, compose, run_study)` as a command; it returns what is printed.

    `arguments` is the configuration's node of that name, or the one that is named as the module's last part.
    """
    return StudyCommand(function)


def run(job: "HydraJob") -> None:
    """Print what the command answers."""
    from harness.commands.devices import refuse_several_processes

    config = job.config
    refuse_several_processes(config.run)
    command = _load(config.run)
    print(command.function(config, config.arguments or {}, compose_as(config), study_runner(config)))


def _load(path: str) -> StudyCommand:
    """The command that a dotted path names. Raises ConfigError where there is none."""
    name, _, attribute = path.partition(":")
    try:
        module = import_guest(name)
    except Exception as error:  # the user's module may fail in any way
        raise ConfigError(f"run={path}: importing {name} failed, {type(error).__name__}: {error}") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, StudyCommand):
        commands = [key for key, value in vars(module).items() if isinstance(value, StudyCommand)]
        hint = nearest(attribute, commands) or "; harness.commands.study_command marks one"
        raise ConfigError(f"run={path}: {name} has no such command{hint}")
    return found


def compose_as(config: Config) -> Compose:
    """Compose other words, to be run where and as this command is."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from harness.commands.job import compose
    from harness.config import composition

    def other(words: Sequence[str]) -> Config:
        try:
            return _as_here(compose(words), config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(composition.explain(error, words)) from None

    return other


def study_runner(config: Config) -> RunStudy:
    """Run a study; its output goes to standard error, as progress does."""
    from harness.commands.checks import check_study, with_data
    from harness.commands.study import opened_study

    def run_study(part: Config, words: Sequence[str]) -> str:
        check_study(part)
        from harness.cluster.launchers.registry import launcher_of
        from harness.cluster.study import with_kept_confirmation

        part = with_kept_confirmation(_as_here(with_data(part, words), config))

        with contextlib.redirect_stdout(sys.stderr), opened_study(part) as folder:
            launcher_of(part).run(part, folder)
        return part.study

    return run_study


def _as_here(part: Config, config: Config) -> Config:
    trainer = dataclasses.replace(part.trainer, accelerator=config.trainer.accelerator, threads=config.trainer.threads)
    return dataclasses.replace(
        part, results=config.results, tracking=config.tracking, launch=config.launch, trainer=trainer
    )
