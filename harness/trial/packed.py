"""The check of whether a trial can share the passes over its base with the others of its pack."""

import json
import logging

from harness.lora.packed import unpackable_reason
from harness.training import PackKey, PackMember, check_packable
from harness.trial.passes import on_device
from harness.trial.running import RunningTrial

log = logging.getLogger(__name__)

_ROWS = 8


def join_pack(trial: RunningTrial) -> PackMember | None:
    """Make the trial a member of its pack; None if it trains by itself, which is logged once."""
    if trial.context.pack is None:
        return None
    found = _refused(trial) or _joined(trial)
    if isinstance(found, PackMember):
        return found
    log.info("trial %d trains by itself: %s", trial.context.number, found)
    return None


def pack_notes(size: int) -> list[str]:
    """Return the notes for a trial in a pack of this size."""
    if size == 1:
        return []
    return [f"trained in a pack of {size} (launch.pack): its times and its memory are of all of them"]


def _refused(trial: RunningTrial) -> str:
    """Return why a configuration cannot join a pack; empty if it can."""
    settings, model = trial.config.trainer, trial.model
    if trial.context.phase == "confirm":
        return "what it costs is measured"
    if settings.devices > 1:
        return f"trainer.devices={settings.devices}"
    if settings.accumulate > 1:
        return f"trainer.accumulate={settings.accumulate}"
    if settings.activation_checkpointing:
        return "trainer.activation_checkpointing=true"
    if settings.reuse_features:
        return "trainer.reuse_features=true"
    if trial.config.task.mixed or model.weighting is not None:
        return f"task={trial.config.task.name} is several tasks"
    if not trial.method.packs:
        return f"lora={trial.config.lora.name}: what it trains of the base is not A and B of fixed ranks"
    return unpackable_reason(model.base)


def _joined(trial: RunningTrial) -> PackMember | str:
    assert trial.context.pack is not None
    model, train = trial.model.to(trial.device).train(), trial.splits["train"]
    batch = on_device(train.batch(train.sample(_ROWS)), trial.device)
    reason, draws = check_packable(model, batch, trial.device, trial.precision)
    if reason:
        return reason
    made_of = json.dumps([model.attention_kind, trial.config.model.hashed()], sort_keys=True, default=str)
    key = PackKey(made_of, trial.precision, trial.device, draws)
    return trial.context.pack.join(model, key, train.padding)
