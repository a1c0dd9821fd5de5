"""run=count: parameter counts, from shapes alone."""

import json

from harness.commands.checks import check_installed
from harness.commands.job import HydraJob, compose
from harness.config import MODELS, Config


def run(job: HydraJob) -> None:
    """Print the counts as JSON. No trainer is imported."""
    config = with_any_task(job)
    check_installed(config)
    from harness.trial.adapt import count  # torch is imported only by what needs it

    print(json.dumps(count(config), indent=2))


def with_any_task(job: HydraJob) -> Config:
    """The configuration, or, to count a model of another kind than the default task's, with a task that fits."""
    named = any(word.lstrip("+").startswith(("task=", "experiment=")) for word in job.words)
    kind = MODELS.get(job.composed.model.kind)
    if named or kind is None or not kind.count_with:
        return job.config
    return compose([*job.words, *kind.count_with])
