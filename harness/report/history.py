"""The trials that a search took over from earlier studies, as a paragraph of its report."""

import json
from collections import Counter
from pathlib import Path

from harness.system.study_files import HISTORY


def section(folder: Path) -> list[str]:
    """From which studies how many trials were learned from; nothing where there was none."""
    path = folder / HISTORY
    if not path.exists():
        return []
    tree = json.loads(path.read_text())
    trials = {(each["study"], each["trial"]) for each in tree["taken"]}
    counts = Counter(study for study, _ in trials)
    arms = Counter(each["arm"] for each in tree["taken"])
    taken = ", ".join(f"{count} of {study}" for study, count in counts.items())
    by_arm = ", ".join(f"{arm} {count}" for arm, count in arms.items())
    left = f" {len(tree['left_out'])} taught nothing here." if tree["left_out"] else ""
    return [f"The search learned from trials of earlier studies, too: {taken} (by arm: {by_arm}).{left}"]
