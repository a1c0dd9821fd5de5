"""run=confirm: the finalists and baselines of a study again, with fresh seeds, and the verdicts on test."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from harness.commands.checks import check_study
from harness.commands.job import HydraJob, key_of, refuse_other_words
from harness.commands.study import led_study
from harness.config import Config, ConfirmConfig, apply_overrides, check, to_dict
from harness.config.processes import launched_process_group

_TAKEN = ("run", "study", "results", "top", "seeds", "margin", "orders", "reference")
_GROUPS = ("launch", "tracking")


def run(job: HydraJob) -> None:
    """Go on with the study, whatever is left of its search, and confirm it."""
    from harness.cluster.study_folder import load_study

    rule = "run=confirm goes on with the study as it was begun; it takes"
    refuse_other_words(job.words, _TAKEN, _GROUPS, f"{rule} {', '.join(_TAKEN)}, launch and tracking")
    config = _confirming(load_study(job.config.results, job.config.study), job.config, job.words)
    started = launched_process_group(config)
    check_study(config)
    with led_study(config, started) as run_trials:
        run_trials()


def _confirming(study: Config, asked: Config, words: Sequence[str]) -> Config:
    """The study's own configuration, with what this command says of the confirmation, launcher and tracking.

    Raises ConfigError for a study that cannot be confirmed.
    """
    assert study.sweep is not None
    known = study.sweep.confirm or ConfirmConfig()
    confirm = dataclasses.replace(
        known,
        top=asked.top or known.top,
        seeds=asked.seeds or known.seeds,
        margin=asked.margin or known.margin,
        orders=known.orders if asked.orders is None else asked.orders,
        reference=asked.reference or known.reference,
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
