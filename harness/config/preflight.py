"""Checks before torch is imported: missing files, results that cannot be written, layers and ranks that the named model
does not have, another configuration under a study's name.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.config import (
    Config,
    ConfigError,
    apply_overrides,
    check,
    read_stored,
    to_dict,
)
from harness.config.arm_checks import ArmMistakes, check_objective, corners
from harness.config.arms import arms
from harness.config.layer_ranks import overrides
from harness.config.tree import OF_COMMANDS, leaves
from harness.system.paths import path_problem
from harness.system.redaction import redact_tree
from harness.system.study_files import CONFIG, has_begun

_LEAST_FREE = 32 * 2**20  # bytes; the smallest trial's files fit, and an error can still be written down


def validate_before_import(config: Config) -> None:
    """Raise ConfigError for what is wrong with a trial or a study and needs no network, data or torch to be seen."""
    if missing := [*config.task.missing_files(), *config.model.missing_files()]:
        raise ConfigError(*missing)
    writable(Path(config.results), config.study)
    if config.run == "study" and config.task.fallback is None:  # which may be what was trained on
        check_same_config(Path(config.results) / config.study, to_dict(config))
    mistakes = [mistake for each in _trials(config) for mistake in _layers(each)]
    if mistakes:
        raise ConfigError(*dict.fromkeys(mistakes))


def _layers(config: Config) -> Iterator[str]:
    known = config.model.rank_limits
    if known is not None:
        yield from config.lora.layer_mistakes(known, config.model.children, config.model.name)


def _trials(config: Config) -> Iterator[Config]:
    """The configurations that a study compares, at the corners of their ranges; of a trial its own.

    Raises ConfigError for one that cannot be.
    """
    if config.sweep is None:
        yield config
        return
    tree, mistakes = to_dict(config) | {"run": "trial", "sweep": None}, ArmMistakes()
    for arm in arms(config.sweep):
        for point in corners(arm.nuisance):
            try:
                trial = check(apply_overrides(apply_overrides(tree, arm.values), overrides(arm.ranks, point)))
                check_objective(config, trial)
            except ConfigError as error:
                mistakes.add(arm.name, arm.nuisance, error)
            else:
                yield trial
    mistakes.raise_if_any()


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def writable(results: Path, study: str) -> None:
    """Raise ConfigError where nothing can be written under `results`, or what is there of the name of the study is no
    folder; leaves nothing there.
    """
    place = results.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".harness-"):
            free = shutil.disk_usage(place).free
    except OSError as error:
        raise ConfigError(f"results={results}: {place} cannot be written, {error.strerror or error}") from None
    if free < _LEAST_FREE:
        raise ConfigError(f"results={results}: {free // 2**20} MiB are free there, {_LEAST_FREE // 2**20} are needed")
    folder = results / study
    if (folder.exists() or folder.is_symlink()) and (problem := path_problem(folder, "folder")):
        raise ConfigError(f"study={study}: {folder}: {problem}; name another study")


# What may differ when a study is taken up again: where and how it runs, how many trials it may take and confirm.
_HOW = (
    *("trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.threads"),
    *("trainer.reuse_features", "trainer.cuda_graphs"),
)
_ASKED = ("run", *OF_COMMANDS)
_FOUND = (  # when the study is begun
    *(f"sweep.ranks.{key}" for key in ("layers", "limits", "costs", "present", "fixed")),
    *("sweep.profiles", "sweep.budget.prices", "trainer.settled"),
)
_SETTLED = (
    "trainer.precision",
    "model.attention",
    "optimizer.arguments",
)  # when it is begun, where the fastest is asked for
_MORE = ("sweep.trials", "sweep.baseline_trials", "sweep.confirm")
_FREE = (*_ASKED, "results", "tracking", "launch", *_HOW, *_MORE, *_FOUND)


def check_same_config(folder: Path, tree: Mapping[str, Any]) -> None:
    """Raise ConfigError where a study was begun with another configuration: points were drawn by it, or trials run."""
    path = folder / CONFIG
    if not path.exists() or not has_begun(folder):
        return
    stored, given = read_stored(path), redact_tree(dict(tree))  # as it was stored
    before, now = leaves(stored), leaves(given)
    measured = any(key.startswith("trainer.settled.") for key in before)
    free = _SETTLED if measured and now.get("trainer.precision") == "fastest" else ()
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key) and not _is_free(key, free)]
    then = {key: (before.get(key), now.get(key)) for key in changed} | _reordered(stored, given)
    if then:
        study = tree["study"]
        said = [
            f"{key}={_shown(new)}: study={study} was begun with another configuration, {_shown(old)}; set it back, or "
            "give the study another name"
            for key, (old, new) in then.items()
        ]
        said[-1] += f"; run=worker study={study} goes on with it as it was begun"
        raise ConfigError(*said)


def _reordered(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[list[str], list[str]]]:
    """The parts of a sweep that arms come from, in another order: then trials would go to other arms."""
    found = {}
    for part in ("scientific", "baselines", "allocate"):
        old, new = (list((tree.get("sweep") or {}).get(part) or {}) for tree in (before, now))
        if old != new and sorted(old) == sorted(new):
            found[f"sweep.{part}"] = (old, new)
    return found


def _is_free(key: str, more: tuple[str, ...]) -> bool:
    return any(key == free or key.startswith(free + ".") for free in (*_FREE, *more))
