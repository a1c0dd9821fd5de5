"""Checks of training on several devices, whether each holds the whole base or a part of it."""

from harness.config.schema import Config


def spread_mistakes(config: Config) -> list[str]:
    """Return errors for a base that is spread over devices."""
    if not config.trainer.sharded:
        return []
    where = "trainer.strategy=fsdp"
    mistakes = []
    if not config.model.spreads:
        mistakes.append(
            f"{where}: for bases of transformers and timm; model={config.model.name} is a {config.model.kind} model"
        )
    if config.trainer.batch_tokens is not None:
        rule = "all devices have to make as many passes; trainer.batch_tokens=null"
        mistakes.append(f"{where} trainer.batch_tokens={config.trainer.batch_tokens}: {rule}")
    return mistakes + config.lora.spread_mistakes(where)


def device_mistake(config: Config) -> str:
    """Return why several tasks cannot train on several devices; empty with one task or one device."""
    task, trainer = config.task, config.trainer
    if trainer.devices == 1 or not task.trains_in_part:
        return ""
    where = f"trainer.devices={trainer.devices}"
    if task.in_turn:
        return f"{where}: of task={task.name} each task is trained and kept by itself: one device"
    if trainer.sharded:
        rule = "a device would wait for weights that its batch does not need; trainer.strategy=ddp"
        return f"{where} trainer.strategy=fsdp: task={task.name} is several tasks, and {rule}"
    if task.weighted_by == "gradnorm":
        return (
            f"{where}: task.weighting=gradnorm follows the gradients of one device; equal, uncertainty, or one device"
        )
    parted = trainer.accumulate > 1 or trainer.batch_tokens is not None
    if task.mixes_rows and parted:
        rule = "a task may be in an early part alone, whose gradients are not shared out"
        return f"{where}: task.batches=mixed: {rule}; trainer.accumulate=1 and trainer.batch_tokens=null"
    return ""
