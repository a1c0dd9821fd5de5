"""run=report: table and pictures of a study again, from the records."""

import shutil
from pathlib import Path

from harness.commands.devices import refuse_several_processes
from harness.commands.importance import write_importances
from harness.commands.job import HydraJob
from harness.config import ConfigError
from harness.system.study_files import RECORDS


def run(job: HydraJob) -> None:
    """Print the report. Raises ConfigError where there are no records."""
    config = job.config
    refuse_several_processes("report")
    from harness.report import report_for_terminal

    folder = Path(config.results) / config.study
    if not _has_records(folder):
        known = sorted(
            path.parent.name for path in Path(config.results).glob(f"*/{RECORDS}") if _has_records(path.parent)
        )
        raise ConfigError(f"study={config.study}: no records in {folder}; studies there: {', '.join(known) or 'none'}")
    write_importances(folder)
    print(report_for_terminal(folder, shutil.get_terminal_size().columns))


def _has_records(folder: Path) -> bool:
    path = folder / RECORDS
    return path.exists() and path.stat().st_size > 0
