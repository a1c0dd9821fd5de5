"""run=evaluate: the scores of a trial, or of an adapter from anywhere, on a split, without training."""

import json
import logging
from pathlib import Path
from typing import Any

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.config import Config, ConfigError

_LOG = logging.getLogger(__name__)


def run(job: HydraJob) -> None:
    """Print scores and intervals as JSON. Raises ConfigError for an adapter that does not fit task or base."""
    config = job.config
    refuse_several_processes("evaluate")
    target = _new_file(config)
    split = config.split or "test"
    if config.adapter is None:
        from harness.trial.evaluate import evaluate_trial
        from harness.trial.trained import find_trained

        trained = find_trained(config.results, config.study, config.trial)
        check_installed(trained.config)
        found = evaluate_trial(trained, split)
        asked: dict[str, Any] = {"study": config.study, "trial": trained.entry.trial, "task": trained.entry.task}
    else:
        found, asked = _adapter(config, split)
    said = {"split": split, "rows": len(found.items), "scores": found.scores, "interval_95": found.intervals}
    print(json.dumps(asked | said, indent=2))
    if target is not None:
        found.write_items(target)


def _adapter(config: Config, split: str) -> tuple[Any, dict[str, Any]]:
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
    target = Path(config.output).expanduser()
    if target.exists():
        raise ConfigError(f"output={config.output}: is there already; name a new file")
    return target
