"""Compute the importance of each dimension of a study and write it beside the records, before the report."""

import dataclasses
import json
from pathlib import Path

from harness import record
from harness.cluster.study_folder import load_study
from harness.config import ConfigError
from harness.system.jsonl import replace_text
from harness.system.study_files import CONFIG, IMPORTANCES


def write_importances(folder: Path) -> None:
    """Write them from the records; of a study that has no search, or one that is no longer read, none."""
    (folder / IMPORTANCES).unlink(missing_ok=True)
    records = record.read(folder)
    if not records or not (folder / CONFIG).exists():
        return
    try:
        sweep = load_study(str(folder.parent), folder.name).sweep
    except ConfigError:  # begun when keys had other rules; its report needs them not
        return
    if sweep is None:
        return
    from harness.search.importance import importances

    if (found := importances(sweep, records)) is not None:
        replace_text(folder / IMPORTANCES, json.dumps(dataclasses.asdict(found), indent=1) + "\n")
