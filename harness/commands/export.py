"""run=export: a trial in the form that transformers and PEFT load."""

from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.commands.named_files import refuse_taken
from harness.config import ConfigError
from harness.system.hub_upload import create, has_token, readme_of, upload

if TYPE_CHECKING:
    from harness.trial.trained import Trained


def run(job: HydraJob) -> None:
    """Write the folder and print its name, and where it was uploaded to.

    Raises ConfigError where the trial has no such form, AssetError where the hub does not take it.
    """
    config = job.config
    refuse_several_processes("export")
    if config.push is not None and not has_token():
        raise ConfigError(
            f"push={config.push}: there is no token of the hub; set HF_TOKEN, or log in with hf auth login"
        )
    from harness.trial.export import export_trial
    from harness.trial.trained import find_trained

    trained = find_trained(config.results, config.study, config.trial)
    check_installed(trained.config)
    if config.output is not None and config.push is None:
        refuse_taken(config.output, "FOLDER")
    form = config.format or "adapter"
    usual = Path(config.results) / config.study / "exports" / f"{trained.entry.trial:04d}-{form}"
    folder = Path(config.output).expanduser() if config.output else usual
    merged = form == "merged"
    if config.push is None:
        export_trial(trained, folder, merged=merged)
        print(folder)
    else:
        _push(trained, folder, config.push, merged=merged)


def _push(trained: "Trained", folder: Path, repository: str, *, merged: bool) -> None:
    """Upload an export, which is written where it is not there yet; nothing is where it may not be pushed."""
    from harness.trial.export import export_trial, is_exported
    from harness.trial.model_card import is_card

    entry = trained.entry
    if not merged and not entry.base.address.startswith("hub:"):
        raise ConfigError(
            f"push={repository}: others cannot load the base of the adapter, {entry.base.address}, which is no "
            "repository of the hub; format=merged has its weights"
        )
    done, readme = is_exported(trained, folder, merged=merged), readme_of(repository)
    if readme is not None and not is_card(readme):
        raise ConfigError(f"push={repository}: is there, and holds no export of this program; name another repository")
    create(repository)
    if not done:
        export_trial(trained, folder, merged=merged)
    print(folder)
    print(upload(folder, repository, f"{entry.task}, {entry.arm}: trial {entry.trial} of {entry.study}"))
