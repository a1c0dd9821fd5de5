"""run=evaluate: the scores of a trial, or of an adapter from anywhere, on a split, without training."""

import json
import logging
from pathlib import Path
from typing import Any

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob, refuse_other_words
from harness.commands.named_files import refuse_taken
from harness.config import Config, ConfigError

_LOG = logging.getLogger(__name__)
_TAKEN = ("run", "study", "results", "trial", "split", "output")
"""What is read where a trial is scored on its own data."""
_OF_NO_SCORE = ("hydra", "tracking")


def run(job: HydraJob) -> None:
    """Print scores and intervals as JSON. Raises ConfigError for an adapter that does not fit task or base."""
    if job.composed.get("adapter") is None:
        rule = "run=evaluate of a study scores a trial with its own task and model; it takes"
        refuse_other_words(
            job.words, _TAKEN, _OF_NO_SCORE, f"{rule} {', '.join(_TAKEN)}; adapter=FOLDER scores on other data"
        )
    config = job.config
    refuse_several_processes("evaluate")
    target = _new_file(config)
    split = config.split or "test"
    if config.adapter is None:
        from harness.trial.evaluate import evaluate_trial
        from harness.trial.trained import find_trained

        trained = find_trained(config.results, config.study, config.trial)
        check_installed(trained.config)
        found, facts = evaluate_trial(trained, split)
        entry = trained.entry
        asked: dict[str, Any] = {"study": config.study, "trial": entry.trial, "task": entry.task, **facts}
    else:
        found, asked = _adapter(config, split)
    said = {"split": split, "rows": len(found.items), "scores": found.scores, "interval_95": found.intervals}
    missing = {"no_value": found.without_value} if found.without_value else {}
    print(json.dumps(asked | said | missing, indent=2))
    if target is not None:
        found.write_items(target)


def _adapter(config: Config, split: str) -> tuple[Any, dict[str, Any]]:
    if config.trial is not None:
        raise ConfigError(f"trial={config.trial}: has no effect with adapter={config.adapter}; leave one of them out")
    check_installed(config)
    from harness.trial.base_checks import check_base
    from harness.trial.evaluate import evaluate_saved
    from harness.trial.saved import find_saved

    check_base(config)
    saved = find_saved(str(config.adapter))
    found, facts = evaluate_saved(saved, config, split)
    for note in facts["notes"]:
        _LOG.warning("%s: %s", saved.address, note)
    return found, {"adapter": saved.address, "task": config.task.name, **facts}


def _new_file(config: Config) -> Path | None:
    if config.output is None:
        return None
    refuse_taken(config.output, "FILE")
    return Path(config.output).expanduser()
