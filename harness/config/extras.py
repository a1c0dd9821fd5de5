"""Optional packages: which extra brings them, and one line for the user where they are not installed."""

from importlib.util import find_spec

from harness.config.schema import SHAPES_ALONE, Config
from harness.config.tree import ConfigError

_MODULES = {
    "vision": ("torchvision", "timm", "PIL", "sklearn"),
    "speech": ("soxr",),
    "translation": ("polib", "sacrebleu", "sentencepiece"),
    "cluster": ("psycopg", "submitit"),
}
"""The modules that each extra of pyproject.toml installs; everything else is a base dependency."""


def check_extras(config: Config, storage: str) -> None:
    """Raise ConfigError where the configuration, or the address of the storage, needs an extra that is not installed.

    Nothing is imported for it.
    """
    task, model, counted = config.task, config.model, config.run in SHAPES_ALONE
    needed = [(f"task={task.name}", extra) for extra in (() if counted else sorted(task.extras))]
    if model.extra is not None and (model.extra_to_count or not counted) and model.extra not in dict(needed).values():
        needed.append((f"model={model.name}", model.extra))
    if config.launch.extra is not None:
        needed.append((f"launch={config.launch.name}", config.launch.extra))
    elif storage.startswith("postgresql"):
        needed.append(("HARNESS_STORAGE=postgresql://…", "cluster"))
    mistakes = [
        f"{what}: needs the extra {extra}: pip install 'lora-harness[{extra}]'"
        for what, extra in needed
        if not all(map(find_spec, _MODULES[extra]))
    ]
    if mistakes:
        raise ConfigError(*mistakes)
