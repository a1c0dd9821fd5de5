"""run=attribute: which tokens a trial's predictions rest on, before its base was adapted and after."""

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.commands.named_files import input_and_output
from harness.config import ConfigError
from harness.config.extras import check_extra


def run(job: HydraJob) -> None:
    """Write attributions.csv and attributions.html into a new folder. Raises ConfigError for what cannot be read."""
    config = job.config
    refuse_several_processes("attribute")
    source, folder = input_and_output(config, "FOLDER")
    check_extra("run=attribute", "attributions")
    from harness.trial.attributions import attribute, write_attributions
    from harness.trial.predict import read_texts
    from harness.trial.trained import find_trained

    trained = find_trained(config.results, config.study, config.trial)
    check_installed(trained.config)
    if trained.config.task.reads_pairs:
        raise ConfigError(f"task={trained.config.task.name}: the trial reads two texts a row; attributions are of one")
    (texts,) = read_texts(trained, source)
    found = attribute(trained, texts)
    folder.mkdir(parents=True)
    for path in write_attributions(found, folder):
        print(path)
