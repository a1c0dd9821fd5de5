"""The fingerprint of a trial: the same one means the same experiment."""

import hashlib
import json
from collections.abc import Mapping

from harness.config.schema import Config
from harness.config.tree import OF_COMMANDS, to_dict

_NOT_OF_A_TRIAL = (
    *("run", "study", "results", "tracking", "launch", "sweep", "arguments"),
    *OF_COMMANDS,
)


def fingerprint(config: Config, identity: Mapping[str, str]) -> str:
    """Sixteen hex digits that two trials share only if they are the same experiment.

    What is not meant to change the outcome stays out: names, paths, tracking, and what rounds otherwise, such as the
    number of threads. `identity` holds what only the machine can tell: the digests of data, weights, tokenizer and
    guests' code, the device, the precision and attention that is not the usual.
    """
    tree = to_dict(config) | {"task": config.task.hashed(), "model": config.model.hashed()}
    for key in _NOT_OF_A_TRIAL:
        del tree[key]
    del tree["trainer"]["threads"], tree["trainer"]["strategy"]
    del tree["trainer"]["activation_checkpointing"], tree["trainer"]["reuse_features"], tree["trainer"]["cuda_graphs"]
    if config.trainer.pad_to_multiple_of is None:
        del tree["trainer"]["pad_to_multiple_of"]
    if not config.trainer.pack_sequences:
        del tree["trainer"]["pack_sequences"]
    if not config.trainer.score_train:  # a trial from before there was this key is the same trial
        del tree["trainer"]["score_train"]
    if not config.trainer.measures:
        del tree["trainer"]["measures"]
    if config.trainer.accumulate == 1:
        del tree["trainer"]["accumulate"]
    if config.trainer.class_weights is None:
        del tree["trainer"]["class_weights"]
    if config.trainer.batch_tokens is None:
        del tree["trainer"]["batch_tokens"]
    most = config.trainer.max_steps
    if config.trainer.round_up or most is None or most % min(config.trainer.evaluations, most) == 0:
        del tree["trainer"]["round_up"]  # the steps are those of before there was this key
    optimizer = tree["optimizer"]
    if config.optimizer.schedule != "warmup-stable-decay":
        del optimizer["decay"]
    for key, usual in (("name", "AdamW"), ("arguments", None), ("schedule", "linear")):  # as before there were any
        if optimizer[key] == usual:
            del optimizer[key]
    if tree["probe"] is None:  # as before there were any
        del tree["probe"]
    else:
        del tree["probe"]["asset"]
    del tree["trainer"]["accelerator"], tree["trainer"]["precision"], tree["trainer"]["settled"]
    tree["lora"] = config.lora.identity()
    canonical = json.dumps({"config": tree, "identity": dict(identity)}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
