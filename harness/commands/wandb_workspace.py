"""run=wandb_workspace: the view of a study that a team loads in W&B."""

import json
import logging

from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.config import ConfigError
from harness.config.extras import check_extra
from harness.system.jsonl import replace_text

log = logging.getLogger(__name__)

FILE = "wandb_workspace.json"


def run(job: HydraJob) -> None:
    """Write the view beside the study's records; where W&B is online, save it there and say its address.

    Raises ConfigError where the study has none of W&B's runs, or the package is missing.
    """
    refuse_several_processes("wandb_workspace")
    from harness.cluster.study_folder import load_study, study_folder

    config = load_study(job.config.results, job.config.study)
    if config.tracking.name != "wandb":
        raise ConfigError(f"run=wandb_workspace: study={config.study} has tracking={config.tracking.name}")
    check_extra("run=wandb_workspace", "wandb")
    from harness.trial.tracking import resolve_mode
    from harness.trial.tracking.workspace import workspace_of

    settings = job.config.tracking if job.config.tracking.entity else config.tracking
    made = workspace_of(settings, config.study, config.trainer.objective)
    path = study_folder(config.results, config.study) / FILE
    replace_text(path, json.dumps(made._to_model().model_dump(mode="json", by_alias=True), indent=2) + "\n")
    if resolve_mode(settings.mode) != "online":
        log.info("%s is written; with a key of W&B the command also saves the view there", path)
        return
    saved = made.save()
    log.info("%s is written and saved: %s", path, saved.url)
