"""run=targets: the layers of a base, and which of them the targets name."""

from harness.commands.checks import check_installed
from harness.commands.count import with_any_task
from harness.commands.job import HydraJob


def run(job: HydraJob) -> None:
    """Print module, kind, shape, role, rank and number of alike layers. Nothing but a config.json is fetched."""
    config = with_any_task(job)
    check_installed(config)
    from harness.trial.targets import as_text, layer_rows  # torch is imported only by what needs it

    print(as_text(layer_rows(config)))
