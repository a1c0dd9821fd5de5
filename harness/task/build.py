"""From a task's configuration to its data, by the function that its class names."""

import importlib

from harness.config import TaskConfig
from harness.task.base import Task

_built: dict[str, Task] = {}  # the last task of this process: a study asks for it at every trial


def build_task(config: TaskConfig) -> Task:
    """Read a task's data and split it, once a process. Raises ConfigError for data that cannot be learned from."""
    key = repr(config)
    if key not in _built:
        task = read_task(config)
        _built.clear()
        _built[key] = task
    return _built[key]


def read_task(config: TaskConfig) -> Task:
    """Read a task's data and split it."""
    module, _, name = config.builder.partition(":")
    task: Task = getattr(importlib.import_module(module), name)(config)
    return task
