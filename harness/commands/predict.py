"""run=predict: what a trial's network says of the texts of a file."""

from pathlib import Path

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.config import ConfigError


def run(job: HydraJob) -> None:
    """Write a CSV file, a row for each text, and print its name. Raises ConfigError for what cannot be read."""
    config = job.config
    refuse_several_processes("predict")
    if config.input is None or config.output is None:
        missing = "input" if config.input is None else "output"
        raise ConfigError(f"{missing}: missing; run=predict study=NAME input=FILE output=FILE")
    source, target = Path(config.input).expanduser(), Path(config.output).expanduser()
    if not source.is_file():
        raise ConfigError(f"input={config.input}: no such file")
    if target.exists():
        raise ConfigError(f"output={config.output}: is there already; name a new file")
    from harness.trial.predict import predict, read_texts, write_predictions
    from harness.trial.trained import find_trained

    trained = find_trained(config.results, config.study, config.trial)
    check_installed(trained.config)
    texts = read_texts(trained, source)
    write_predictions(trained, texts, predict(trained, texts), target)
    print(target)
