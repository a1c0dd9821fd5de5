"""The splits of a user's labelled rows that are not given, cut off the training file."""

from collections.abc import Hashable

import pandas as pd

from harness.config import ConfigError, FileTableConfig, OwnTextTaskConfig
from harness.task.intake.cuts import Parts, by_time, drawn, joined, stratified
from harness.task.intake.groups import group_keys
from harness.task.intake.labels import suspicious
from harness.task.intake.moments import moments, ranges

OwnRowsConfig = OwnTextTaskConfig | FileTableConfig
Frames = dict[str, pd.DataFrame]


def cut_off(config: OwnRowsConfig, where: str, frames: Frames) -> Frames:
    """Cut the splits that are not given off the training file."""
    once = frames["train"]
    shares = {"validation": config.validation_share, "test": config.test_share}
    shares = {split: share for split, share in shares.items() if split not in frames}
    parts = _places(config, where, once, shares)
    told = suspicious(once["label"]) if config.answer == "class" else []
    if told and not all(map(len, parts.values())):
        raise ConfigError(f"{where}: no rows to hold out; {'; '.join(told)} task.answer=number reads numbers")
    return frames | {split: once.iloc[places] for split, places in parts.items()}


def _places(config: OwnRowsConfig, where: str, frame: pd.DataFrame, shares: dict[str, float]) -> Parts:
    """Near-identical texts stay in one split, whatever the cut."""
    groups: list[Hashable] = list(frame["near"])
    if config.time is not None:
        return by_time(moments(where, config.time, frame["time"]), shares)
    for role in ("group", "scored"):
        if role in frame:
            groups = joined(groups, group_keys(frame[role]))
    if config.cut == "stratified" and config.answer == "class":
        return stratified(groups, list(frame["label"]), shares, config.split_seed)
    return drawn(groups, shares, config.split_seed)


def times_told(frames: Frames) -> dict[str, str]:
    """From when to when the rows of each split are that was cut by time."""
    return ranges({split: frame["time"] for split, frame in frames.items() if "time" in frame})
