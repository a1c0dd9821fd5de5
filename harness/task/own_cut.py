"""The splits of a user's labelled rows that are not given, cut off the training file."""

from collections import Counter
from collections.abc import Hashable, Sequence

import pandas as pd

from harness.config import ConfigError, FileTableConfig, OwnTextTaskConfig
from harness.system.paths import listed
from harness.task.intake.cuts import SplitRows, drawn, joined, stratified
from harness.task.intake.groups import group_keys
from harness.task.intake.labels import many_classes, suspicious
from harness.task.intake.moments import cut_by_time
from harness.task.intake.scored import scored_alone
from harness.task.intake.whole_groups import Uncut, learnable, whole_groups

OwnRowsConfig = OwnTextTaskConfig | FileTableConfig
Frames = dict[str, pd.DataFrame]


def cut_off(config: OwnRowsConfig, where: str, frames: Frames) -> tuple[Frames, dict[str, str]]:
    """All splits, those that are not given cut off the training file; and from when to when those are that were cut
    by time.
    """
    once = frames["train"]
    shares = {"validation": config.validation_share, "test": config.test_share}
    shares = {split: share for split, share in shares.items() if split not in frames}
    parts, times = _places(config, where, once, shares)
    labels = list(once["label"])
    if scored_alone():
        return frames | {split: once.iloc[places] for split, places in parts.items()}, times
    told = suspicious(labels) if config.answer == "class" else []
    if told and not all(map(len, parts.values())):
        raise ConfigError(f"{where}: no rows to hold out; {'; '.join(told)} task.answer=number reads numbers")
    if config.answer == "class" and (many := many_classes(labels)) and _of_one_answer(labels, parts, 1):
        raise ConfigError(f"{where}: rows of one class to hold out; {many[0]} task.answer=number reads numbers")
    few = _too_few(labels, len(shares)) if config.answer == "class" else []
    if few and (not all(map(len, parts.values())) or _of_one_answer(labels, parts, 1)):
        said = f"{len(few)} of {len(set(labels))} classes have at most {len(shares)} rows, which training keeps"
        rule = "take more rows of them, or held-out rows in files of their own, task.validation and task.test"
        raise ConfigError(f"{where}: {said} ({listed(few)}), so that none or one class is held out; {rule}")
    return frames | {split: once.iloc[places] for split, places in parts.items()}, times


def other_cut(config: OwnRowsConfig) -> str:
    """Return the end of an error on a class that a cut left out of training: a setting that has each class there."""
    if config.time is not None:
        return ""
    if config.cut == "stratified" or config.answer != "class":
        return "; another task.split_seed may have them there"
    return "; task.cut=stratified has each class of three rows or more in training; of others take more rows"


def _too_few(labels: Sequence[Hashable], most: int) -> list[str]:
    """The classes of so many rows at most, too few for one in each split."""
    return sorted(str(label) for label, count in Counter(labels).items() if count <= most)


def _places(
    config: OwnRowsConfig, where: str, frame: pd.DataFrame, shares: dict[str, float]
) -> tuple[SplitRows, dict[str, str]]:
    if config.time is not None:
        return cut_by_time(where, config.time, frame["time"], shares, config.time_format)
    return _drawn(config, where, frame, shares), {}


def _drawn(config: OwnRowsConfig, where: str, frame: pd.DataFrame, shares: dict[str, float]) -> SplitRows:
    """Near-identical texts stay in one split."""
    groups: list[Hashable] = list(frame["near"])
    for role in ("group", "scored"):
        if role in frame:
            groups = joined(groups, group_keys(frame[role]))
    labels = list(frame["label"])
    if config.cut == "stratified" and config.answer == "class":
        parts = stratified(groups, labels, shares, config.split_seed)
        few = ("group" in frame or "scored" in frame) and not many_classes(labels) and not learnable(labels, parts)
        return _of_few_groups(config, where, groups, labels, shares) if few else parts
    parts = drawn(groups, shares, config.split_seed)
    if config.cut == "stratified" and _of_one_answer(labels, parts):  # as few rows may be: drawn from each answer
        evenly = stratified(groups, labels, shares, config.split_seed)
        return evenly if all(map(len, evenly.values())) and not _of_one_answer(labels, evenly) else parts
    return parts


def _of_few_groups(
    config: OwnRowsConfig, where: str, groups: list[Hashable], labels: list[Hashable], shares: dict[str, float]
) -> SplitRows:
    """Raises ConfigError, with the reason, where groups cannot be shared out."""
    try:
        return whole_groups(groups, labels, shares, config.split_seed)
    except Uncut as error:
        named = {"task.group": config.group, "task.score_group": config.scored_together}
        there = {key: column for key, column in named.items() if column is not None}
        keys = listed(f"{key}={column}" for key, column in there.items())
        nulls = listed(f"{key}=null" for key in there)
        rule = f"{nulls} cuts rows one by one; or give held-out rows in files, task.validation and task.test"
        raise ConfigError(f"{where} {keys}: no cut of whole groups can be learned from: {error}; {rule}") from None


def _of_one_answer(labels: Sequence[Hashable], parts: SplitRows, least: int = 2) -> bool:
    """Return whether a held-out split, of so many rows at `least`, has one answer alone, and there are others."""
    mine = list(labels)
    held = [[mine[place] for place in places] for split, places in parts.items() if split != "train"]
    return len(set(mine)) > 1 and any(len(set(answers)) == 1 and len(answers) >= least for answers in held)
