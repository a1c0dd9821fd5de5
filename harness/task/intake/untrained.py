"""Labels of held-out rows that training has not, all of them and with their rows."""

from collections.abc import Collection, Hashable, Iterable, Mapping

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.scored import with_head


def refuse_untrained(
    places: Mapping[str, str], labels: Mapping[str, Mapping[object, Hashable]], rules: Mapping[str, str]
) -> None:
    """Raise ConfigError for labels, one a row or several, that training has not; `places` are the splits' files, and
    `rules` what ends the line of a split.
    """
    cells = {
        split: [(row, each) for row, cell in mine.items() for each in _each(cell)] for split, mine in labels.items()
    }
    trained = with_head(label for _, label in cells["train"])
    found = {split: untrained(mine, trained, "rows") for split, mine in cells.items()}
    if wrong := [f"{places[split]}: {said}{rules.get(split, '')}" for split, said in found.items() if said]:
        raise ConfigError(*wrong)


def _each(cell: Hashable) -> tuple[str, ...]:
    return cell if isinstance(cell, tuple) else (str(cell),)


def untrained(there: Iterable[tuple[object, str]], trained: Collection[str], unit: str) -> str:
    """Return an error for labels that are missing in training, each with its row or file; empty if there are none.

    `unit` is what a label is of: rows, images, recordings.
    """
    found: dict[str, list[object]] = {}
    for row, label in there:
        if label not in trained:
            found.setdefault(label, []).append(row)
    if not found:
        return ""
    said = listed(f"{label!r} ({len(rows)} {unit}: {listed(rows)})" for label, rows in found.items())
    count = f"{len(found)} labels are" if len(found) > 1 else "a label is"
    numbers = all(label.isdecimal() and int(label) < len(trained) for label in found)
    hint = (
        ", whose numbers are not taken for them" if numbers and not any(label.isdecimal() for label in trained) else ""
    )
    return f"{count} absent from training: {said}; classes there: {listed(map(repr, sorted(trained)))}{hint}"
