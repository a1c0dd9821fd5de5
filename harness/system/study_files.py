"""The names of files and folders of a study and its trials that several rooms read or write."""

from pathlib import Path

CONFIG = "config.yaml"
COMMAND = "command.txt"
"""The command that began a study, or went on with it last: its workers, which are started by others, record it."""
RECORDS = "records.jsonl"
HISTORY = "history.json"
"""What a search took over from earlier studies when it was begun."""
IMPORTANCES = "importances.json"
"""How much each dimension of a search mattered, as its report was last written."""
ATTEMPTS = "attempts.jsonl"
ADAPTER = "adapter"
"""The folder of a trial's adapter and head."""
HEAD = "head.safetensors"
PREDICTIONS = "predictions.csv"
ANSWERS = "answers.csv"
"""A trial's predictions by name, with the probability of each class."""
CONFUSION = "confusion.csv"
TAGGED = "tagged.jsonl"
"""The tokens of each test row, their tags, and the predicted ones, where a trial tags tokens."""
TAGS = "tags.csv"
"""For each type of span how many are there, were found and are right."""
WRITTEN = "written.csv"
"""The texts written for the first test rows, the wanted ones, and the answers in both, where a trial writes texts."""
CURVE = "metrics.csv"
SPLIT_ROWS = "splits.csv"
"""Which row of a user's own data is in which split."""
WEIGHTS = "weights"
"""The folder of the base's trained weights and the head, where a trial has no adapter."""
_FORMER_ATTEMPTS = "claims.jsonl"


def has_begun(folder: Path) -> bool:
    """Return whether a trial of the study was assigned or recorded."""
    return any(path.exists() and path.stat().st_size > 0 for path in (attempts_path(folder), folder / RECORDS))


def attempts_path(folder: Path) -> Path:
    """The log of attempts: `claims.jsonl` in a study begun while it had that name, else `attempts.jsonl`.

    It is not renamed: a worker of the former version that is still running would begin the old file anew.
    """
    former = folder / _FORMER_ATTEMPTS
    return former if former.exists() else folder / ATTEMPTS
