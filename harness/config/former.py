"""Settings whose default was another once: a study that was begun then goes on with its own."""

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from harness.config.check import check
from harness.config.schema import Config
from harness.config.stored import read_stored
from harness.config.tree import Tree, apply_overrides, dotted_keys, to_dict
from harness.system.study_files import CONFIG, has_begun

log = logging.getLogger(__name__)

_OF_OWN = ("labels.unlabelled", "labels.combined", "gap_words", "time_format", "split", "leaks", "impossible")
_OF_TASKS = ("cut", "group", "score_group", "objective", "measures", *_OF_OWN)
_OTHERS = ("trainer.round_up", "trainer.measures", "sweep.test")
_IF_NULL = ("sweep.confirm",)


def as_begun(config: Config, named: Collection[str]) -> Config:
    """The same study, with its own value of each such setting that the command does not name.

    `named` are the dotted keys of the command's words. A study that confirms nothing goes on without, too: run=confirm
    confirms it.
    """
    folder = Path(config.results) / config.study
    if not (folder / CONFIG).exists() or not has_begun(folder):
        return config
    before, now = read_stored(folder / CONFIG), to_dict(config)
    kept = {key: value for key, value in _kept(before, now) if not _names(named, key)}
    if not kept:
        return config
    log.info(
        "study %s goes on as it was begun, where defaults are others now: %s", config.study, ", ".join(sorted(kept))
    )
    return check(apply_overrides(now, kept))


def _kept(before: Tree, now: Tree) -> Iterator[tuple[str, object]]:
    """Such settings that both have, where they differ, at their former values."""
    keys, common = set(dotted_keys(before)), dotted_keys(now)
    for key in common:
        if key not in keys or not _is_former(key):
            continue
        was = _value(before, key)
        if was != _value(now, key) and (was is None or key not in _IF_NULL):
            yield key, was


def _is_former(key: str) -> bool:
    _, *inside = key.split(".")
    of_task = inside[2:] if inside[:1] == ["tasks"] else inside
    return key in (*_OTHERS, *_IF_NULL) or (key.startswith("task.") and ".".join(of_task) in _OF_TASKS)


def _value(tree: Tree, key: str) -> object:
    found: object = tree
    for part in key.split("."):
        assert isinstance(found, dict)
        found = found[part]
    return found


def _names(named: Collection[str], key: str) -> bool:
    """Return whether a command's keys include this one, a parent or a child; a group alone only chooses the file."""
    return any(f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.") for name in named if "." in name)
