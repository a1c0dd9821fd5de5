"""Optional packages: which extra brings them, and one line for the user where they are not installed."""

from importlib.util import find_spec

from harness.config.schema import Config
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
    model = config.model
    # A task is read by the same packages as the model that learns it.
    needed = {f"task={config.task.name}": model.extra if config.run != "count" or model.extra_to_count else None}
    if config.launch.name == "slurm":
        needed["launch=slurm"] = "cluster"
    elif storage.startswith("postgresql"):
        needed["HARNESS_STORAGE=postgresql://…"] = "cluster"
    mistakes = [
        f"{what}: needs the extra {extra}: pip install 'lora-harness[{extra}]'"
        for what, extra in needed.items()
        if extra is not None and not all(map(find_spec, _MODULES[extra]))
    ]
    if mistakes:
        raise ConfigError(*mistakes)
