"""Optional packages: which extra brings them, and one line for the user where they are not installed."""

from importlib.util import find_spec

from harness.config.schema import SHAPES_ALONE, Config
from harness.config.tree import ConfigError

_MODULES = {
    "vision": ("torchvision", "timm", "PIL", "sklearn"),
    "speech": ("soxr",),
    "gguf": ("gguf",),
    "quantization": ("bitsandbytes",),
    "audio": ("soundfile",),
    "translation": ("polib", "sacrebleu", "sentencepiece"),
    "cluster": ("psycopg", "submitit"),
    "attributions": ("captum",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
    "wandb": ("wandb_workspaces",),
    "hub": ("datasets",),
    "cmaes": ("cmaes",),
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
    needed += [(f"model={model.name}", extra) for extra in model.file_extras]
    if model.quantized is not None and not counted:
        needed.append((f"model.quantization={model.quantized}", "quantization"))
    if config.launch.extra is not None:
        needed.append((f"launch={config.launch.name}", config.launch.extra))
    elif storage.startswith("postgresql"):
        needed.append(("HARNESS_STORAGE=postgresql://…", "cluster"))
    if config.tracking.extra is not None and not counted:
        needed.append((f"tracking={config.tracking.name}", config.tracking.extra))
    mistakes = [_needs(what, extra) for what, extra in needed if not _installed(extra)]
    if mistakes:
        raise ConfigError(*mistakes)


def check_extra(what: str, extra: str) -> None:
    """Raise ConfigError where `what` was asked for and its extra is not installed."""
    if not _installed(extra):
        raise ConfigError(_needs(what, extra))


def _installed(extra: str) -> bool:
    return all(map(find_spec, _MODULES[extra]))


def _needs(what: str, extra: str) -> str:
    return f"{what}: needs the extra {extra}: pip install 'lora-harness[{extra}]'"
