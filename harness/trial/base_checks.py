"""Checks that need a base's own files: whether it accepts the task's inputs, and texts of that length."""

from harness.config import Config, ConfigError
from harness.model import build_model, model_takes

_WAYS = {
    "vision": "; model=timm has networks of images",
    "speech": "; those that read samples (wav2vec2, hubert, wavlm, …) and whisper are known",
    "recognition": "; those that read samples (wav2vec2, hubert, wavlm, …) and whisper are known",
}
"""What is known instead, by the kind of model that a task needs."""


def check_base(config: Config) -> None:
    """Raise ConfigError where a base that is described by its own files is at odds with the task or the configuration.

    Its config.json is fetched for that, where it is not on this machine.
    """
    task, model = config.task, config.model
    if model.described_by_files:
        _check_kind(config)
    if model.described_by_files or model.quantized is not None:
        outputs = task.head_outputs(2) if task.known_outputs is None else task.known_outputs
        # What transformers makes of config.json, and which layers it has.
        network = build_model(model, outputs, weights=False)
        if task.known_outputs == 0 and config.lora.trains_head_alone and not network.head.state_dict():
            rule = "a base that writes has no fresh head"
            raise ConfigError(f"lora=head: {rule}; task={task.name}; lora=lora or lora=full")


def _check_kind(config: Config) -> None:
    task, model = config.task, config.model
    found = model_takes(model)
    if task.model_kind is not None and task.model_kind not in found.kinds:
        kinds = " or ".join(found.kinds)
        said = f"a base for {kinds} tasks" if kinds else "a base that is given its inputs in a way not known here"
        raise ConfigError(
            f"model.address={found.address}: config.json says model_type={found.model_type}, {said}; "
            f"task={task.name} needs a {task.model_kind} model{_WAYS.get(task.model_kind, '')}"
        )
    size = vars(task).get("image_size")
    if found.image_size is not None and size not in (None, found.image_size):
        raise ConfigError(
            f"task.image_size={size}: {found.model_type} reads {found.image_size} pixels a side; "
            f"task.image_size={found.image_size}, or model.image_size={size} to resample its table of positions"
        )
    if mistakes := task.mistakes(model):
        raise ConfigError(*mistakes)
