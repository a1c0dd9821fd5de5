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
"""Of a trial: the folder of its adapter and head."""
HEAD = "head.safetensors"
PREDICTIONS = "predictions.csv"
ANSWERS = "answers.csv"
"""Of a trial: the same by name, with the probability of each class."""
CONFUSION = "confusion.csv"
TAGGED = "tagged.jsonl"
"""Of a trial that tags tokens: the tokens of each test row, their tags, and those that were predicted."""
TAGS = "tags.csv"
"""Of the same: how many spans of each type are there, were found and are right."""
WRITTEN = "written.csv"
"""Of a trial that writes texts: those of the first test rows, the texts that were wanted, and the answers in both."""
CURVE = "metrics.csv"
SPLIT_ROWS = "splits.csv"
"""Of a study on a user's own data: which row of them is in which split."""
WEIGHTS = "weights"
"""Of a trial without an adapter: the folder of what it trained of the base, and its head."""
_FORMER_ATTEMPTS = "claims.jsonl"


def has_begun(folder: Path) -> bool:
    """Whether a trial of the study was assigned or recorded."""
    return any(path.exists() and path.stat().st_size > 0 for path in (attempts_path(folder), folder / RECORDS))


def attempts_path(folder: Path) -> Path:
    """The log of attempts: `claims.jsonl` in a study begun while it had that name, else `attempts.jsonl`.

    It is not renamed: a worker of the former version that is still running would begin the old file anew.
    """
    former = folder / _FORMER_ATTEMPTS
    return former if former.exists() else folder / ATTEMPTS
