"""run=analyse: what the trials of a study did to each layer of their base."""

import logging
from pathlib import Path

from harness import record
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.config import ConfigError
from harness.record import Record

_LOG = logging.getLogger(__name__)


def run(job: HydraJob) -> None:
    """Write layers.csv, spectra.csv, subspaces.csv, layers.md and layers.png into the study's folder.

    Raises ConfigError where no trial left weights.
    """
    config = job.config
    refuse_several_processes("analyse")
    folder = Path(config.results) / config.study
    records = record.read(folder)
    if not records:
        raise ConfigError(f"study={config.study}: no records in {folder}")
    from harness.report.layers import write_layers
    from harness.trial.layer_analysis import analyse_layers, analysed

    chosen = analysed(records, folder)
    if not chosen:
        raise ConfigError(f"study={config.study}: no complete trial left an adapter or changed weights in {folder}")
    changes, similarities = analyse_layers(chosen, folder, _say)
    print(write_layers(changes, similarities, folder, f"{chosen[0].task}, {chosen[0].model}"))


def _say(entry: Record, left_out: str) -> None:
    if left_out:
        _LOG.warning("trial %d (%s): %s", entry.trial, entry.arm, left_out)
    else:
        _LOG.info("trial %d (%s)", entry.trial, entry.arm)
