"""run=export: a trial in the form that transformers and PEFT load."""

from pathlib import Path

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob


def run(job: HydraJob) -> None:
    """Write the folder and print its name. Raises ConfigError where the trial has no such form."""
    config = job.config
    refuse_several_processes("export")
    from harness.trial.export import export_trial
    from harness.trial.trained import find_trained

    trained = find_trained(config.results, config.study, config.trial)
    check_installed(trained.config)
    form = config.format or "adapter"
    usual = Path(config.results) / config.study / "exports" / f"{trained.entry.trial:04d}-{form}"
    folder = Path(config.output).expanduser() if config.output else usual
    export_trial(trained, folder, merged=form == "merged")
    print(folder)
