"""Classes of the user's own in a configuration: checked when they are imported, and known by their code."""

from harness.config import Config, ConfigError
from harness.config.guest_imports import imports_digest
from harness.config.guests import code_digest, module_digest
from harness.config.tasks.base import CLASS_MEASURES, NUMBER_MEASURES
from harness.model import guest_model_class
from harness.task import Task, build_task, guest_task_class, read_measure


def check_guests(config: Config) -> None:
    """Import the guests of a configuration. Raises ConfigError where they are none, or at odds with the rest of it."""
    if config.task.guests or config.model.guest is not None:
        _check_kinds(config)
    if config.task.guests:
        _check_task(config)
    for path in config.trainer.own_measures:
        read_measure(path)


def _check_kinds(config: Config) -> None:
    task, model = config.task, config.model
    taken = model.takes if model.guest is None else guest_model_class(model.guest).reads
    needed = {guest_task_class(path).reads for path in task.guests}
    needed |= {task.model_kind} if task.model_kind is not None else set()
    for other in sorted(needed - {str(taken)}):
        raise ConfigError(f"model={model.name}: a {taken} model; task={task.name} needs a {other} model")


def _check_task(config: Config) -> None:
    """Only the data of a guest's task tell what its scores are, and what it asks of a model."""
    task, asked = build_task(config.task), (config.trainer.objective, *config.trainer.measures)
    mistakes = task.mistakes(config.model)
    for name in asked:
        where = f"trainer.objective={name}"
        if ":" in name and task.outputs == 0:
            mistakes.append(f"{where}: task={task.name} answers with texts, and a measure is of classes or numbers")
        if ":" not in name and name not in _measured(task):
            mistakes.append(f"{where}: task={task.name} has none; trainer.objective={task.metrics().names[0]}")
    if mistakes:
        raise ConfigError(*mistakes)


def _measured(task: Task) -> tuple[str, ...]:
    further: tuple[str, ...] = CLASS_MEASURES if task.classes else NUMBER_MEASURES
    return (*task.metrics().names, *(further if task.outputs else ()))


def guest_digests(config: Config) -> dict[str, str]:
    """The digests of the files that the guests of a configuration stand in, and of those that they import."""
    found, modules = dict[str, str](), [path.partition(":")[0] for path in config.lora.guests]
    if config.task.guests:
        tasks = [guest_task_class(path) for path in config.task.guests]
        found["task_code"] = " ".join(map(code_digest, tasks))
        modules += [kind.__module__ for kind in tasks]
    if config.lora.guests:
        found["variant_code"] = " ".join(map(module_digest, config.lora.guests))
    if config.model.guest is not None:
        model = guest_model_class(config.model.guest)
        found["model_code"] = code_digest(model)
        modules.append(model.__module__)
    if own := config.trainer.own_measures:
        measures = [type(read_measure(path)) for path in own]
        found["measure_code"] = " ".join(map(code_digest, measures))
        modules += [kind.__module__ for kind in measures]
    imported = imports_digest(modules)  # a key of its own: guests of one file are known as before
    return found if imported is None else found | {"guest_imports": imported}
