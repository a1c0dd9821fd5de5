"""run=export: a trial in the form that transformers and PEFT load."""

from pathlib import Path

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.config import ConfigError
from harness.system.hub_upload import create, has_token, upload


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
    form = config.format or "adapter"
    usual = Path(config.results) / config.study / "exports" / f"{trained.entry.trial:04d}-{form}"
    folder = Path(config.output).expanduser() if config.output else usual
    if config.push is not None:
        create(config.push)  # so that nothing is written where it may not be pushed
    export_trial(trained, folder, merged=form == "merged")
    print(folder)
    if config.push is not None:
        entry = trained.entry
        print(upload(folder, config.push, f"{entry.task}, {entry.arm}: trial {entry.trial} of {entry.study}"))
