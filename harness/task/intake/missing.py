"""Classes and labels that a split has not; held-out splits of one answer are refused, unless they are scored alone."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from harness.config import ConfigError
from harness.task.intake.scored import scored_alone


def missing_classes(where: str, splits: Mapping[str, Sequence[Hashable]], unit: str) -> dict[str, list[str]]:
    """The classes that a split has not, of all splits' labels. Raises ConfigError for a held-out split of one class,
    unless it is scored alone.

    `unit` is what a label is of: rows, images, recordings.
    """
    classes = sorted({str(label) for labels in splits.values() for label in labels})
    trained = set(map(str, splits["train"]))
    missing = {}
    for split, labels in splits.items():
        there = set(map(str, labels))
        if split != "train" and len(there) == 1 < len(classes) and there < trained and not scored_alone():
            raise ConfigError(
                f"{where}: all {len(labels)} {unit} of the {split} split are {next(iter(there))!r}; any score on one "
                f"class is without meaning: {_others_for(split, unit)}"
            )
        if absent := [label for label in classes if label not in there]:
            missing[split] = absent
    return missing


def refuse_one_answer(where: str, splits: Mapping[str, Sequence[Hashable]]) -> None:
    """Raise ConfigError for a held-out split of several rows that all have one number, or the same labels."""
    if scored_alone():
        return
    for split, answers in splits.items():
        there = set(answers)
        if split != "train" and len(answers) > 1 and len(there) == 1 and there != set(splits["train"]):
            answer = next(iter(there))
            said = (", ".join(answer) or "none") if isinstance(answer, tuple) else answer
            raise ConfigError(
                f"{where}: all {len(answers)} rows of the {split} split have the answer {said}; any score on one "
                f"answer is without meaning: {_others_for(split, 'rows')}"
            )


def _others_for(split: str, unit: str) -> str:
    """Return the setting that gives a held-out split other rows: the user's own, or the cut."""
    cut = f"if it is cut, another task.split_seed, or a larger task.{split}_share"
    return f"if the split is given, add {unit} of others, or have it cut; {cut}"


def missing_labels(splits: Mapping[str, Sequence[Iterable[str]]]) -> dict[str, list[str]]:
    """The labels that no row of a split has, of all splits' labels."""
    there = {split: {label for row in rows for label in row} for split, rows in splits.items()}
    absent = {split: sorted(set().union(*there.values()) - mine) for split, mine in there.items()}
    return {split: labels for split, labels in absent.items() if labels}
