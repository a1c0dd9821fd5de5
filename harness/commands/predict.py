"""run=predict: what a trial's network says of texts, conversations, images or recordings."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.commands.named_files import input_and_output
from harness.config import ConfigError, TaskConfig

if TYPE_CHECKING:
    from harness.trial.trained import Trained


def run(job: HydraJob) -> None:
    """Write a CSV file, a row for each of them, and print its name. Raises ConfigError for what cannot be read."""
    config = job.config
    refuse_several_processes("predict")
    if config.input is None or config.output is None:
        input_and_output(config, "FILE")
    from harness.trial.trained import find_trained

    trained = find_trained(config.results, config.study, config.trial)
    check_installed(trained.config)
    task = trained.config.task
    write = _predictor(task, config.study)
    source, target = input_and_output(config, "FILE", takes_folder=task.answers_files)
    write(trained, source, target)
    print(target)


def _predictor(task: TaskConfig, study: str) -> Callable[["Trained", Path, Path], None]:
    """The function that a task names. Raises ConfigError for one whose answers are images."""
    if task.predictor is None:
        rule = "run=evaluate with output=FILE has the scores of rows with labels"
        raise ConfigError(f"study={study}: task={task.name} answers for each pixel, which run=predict does not: {rule}")
    module, _, name = task.predictor.partition(":")
    write: Callable[[Trained, Path, Path], None] = getattr(importlib.import_module(module), name)
    return write
