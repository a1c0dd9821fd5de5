"""The importance of each dimension of a search in its report, read from the file that the command wrote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.report.table import markdown
from harness.system.study_files import IMPORTANCES

LEVEL = 0.05


def read_importances(folder: Path) -> Mapping[str, Any] | None:
    """Read the importances beside the records; None if there are none."""
    path = folder / IMPORTANCES
    found: Mapping[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def section(folder: Path) -> list[str]:
    """A table of the dimensions, or that there are too few trials; nothing where none was searched."""
    found = read_importances(folder)
    if found is None:
        return []
    if not found["shares"]:
        return [
            f"Which dimension mattered: too few trials, {found['trials']} complete ones of at least {found['needed']}."
        ]
    rows = [["dimension", "importance", "p", ""]]
    for key, share in found["shares"].items():
        rows.append([key, f"{100 * share:.0f} %", f"{found['p'][key]:.2f}", _said(found["p"][key])])
    return [f"{title(found)}:", markdown(rows), _NOTE]


def title(found: Mapping[str, Any]) -> str:
    """Return the title of the table."""
    best, trials = f"{100 * found['best']:.0f} %", found["trials"]
    return f"What decided whether a trial was among the best {best} by validation {found['metric']} ({trials} trials)"


def _said(p: float) -> str:
    return "more than chance" if p < LEVEL else "not told from chance"


_NOTE = (
    "Importance: Optuna's PED-ANOVA, each dimension by itself, as a share of the sum; baselines and pruned trials are "
    "left out. p: how often shuffled scores give as much, Holm-corrected; that a sampler leans makes it approximate."
)
