"""run=confirm: the finalists and baselines of a study again, with fresh seeds, and the verdicts on test."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from harness.commands.checks import check_study
from harness.commands.job import HydraJob, key_of
from harness.commands.study import led_study
from harness.config import Config, ConfigError, ConfirmConfig, apply_overrides, check, to_dict
from harness.config.processes import launched_process_group

_TAKEN = ("run", "study", "results", "top", "seeds", "margin")
_GROUPS = ("launch", "tracking")


def run(job: HydraJob) -> None:
    """Go on with the study, whatever is left of its search, and confirm it."""
    from harness.cluster.study_folder import load_study

    _refuse_other_words(job.words)
    config = _confirming(load_study(job.config.results, job.config.study), job.config, job.words)
    started = launched_process_group(config)
    check_study(config)
    with led_study(config, started) as folder:
        if folder is not None:
            from harness.cluster.launchers.registry import launcher_of

            launcher_of(config).run(config, folder)


def _refuse_other_words(words: Sequence[str]) -> None:
    others = [word for word in words if (key := key_of(word)) not in _TAKEN and key.partition(".")[0] not in _GROUPS]
    if others:
        raise ConfigError(
            *(
                f"{word}: run=confirm goes on with the study as it was begun; it takes {', '.join(_TAKEN)}, launch and "
                "tracking"
                for word in others
            )
        )


def _confirming(study: Config, asked: Config, words: Sequence[str]) -> Config:
    """The study's own configuration, with what this command says of seeds, margin, launcher and tracking.

    Raises ConfigError for a study that cannot be confirmed.
    """
    assert study.sweep is not None
    known = study.sweep.confirm or ConfirmConfig()
    confirm = dataclasses.replace(
        known, top=asked.top or known.top, seeds=asked.seeds or known.seeds, margin=asked.margin or known.margin
    )
    sweep = dataclasses.replace(study.sweep, confirm=confirm)
    tree = to_dict(dataclasses.replace(study, run="study", sweep=sweep))
    return check(apply_overrides(tree, dict(_said(words, to_dict(asked)))))


def _said(words: Sequence[str], asked: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of the keys of launcher and tracking that the words name; a whole group comes before its keys."""
    for key in sorted(key for key in map(key_of, words) if key.partition(".")[0] in _GROUPS):
        value: Any = asked
        for part in key.split("."):
            value = value[part]
        yield key, value
