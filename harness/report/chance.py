"""Baselines without learning in a report: constant answers, and the unmodified base."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.record import Record, direction, headline_metric
from harness.system.figures import figure

_OF_BEFORE = (
    ("majority", "accuracy", "always answering the most frequent {what}, {class}"),
    ("usual_answer", "answer_accuracy", "always giving the most frequent answer of training, {answer}"),
    ("copy", "chrf", "copying the source"),
    ("usual_text", "chrf", "always writing the most frequent target, {text!r}"),
    ("usual_transcript", "wer", "always writing the most frequent transcript, {text!r}"),
    ("usual_span", "f1", "always giving {span}"),
    ("usual_labels", "f1_micro", "always answering the most frequent labels, {labels}"),
    ("mean_predictor", "rmse", "always answering the mean of training"),
)
"""What records have of constant answers, by key: the one measure that these are scored by, and what is said of them."""
_LONGEST = 90  # characters of a shown answer


@dataclass(frozen=True)
class Constant:
    """A constant answer and its score by a measure; None if it is unknown for a split."""

    said: str
    measure: str
    val: float | None
    test: float | None

    @property
    def sentence(self) -> str:
        comma = "," if "," in self.said else ""
        return f"{self.said[0].upper()}{self.said[1:]}{comma} has a test {self.name} of {self.cell(self.test)}. "

    @property
    def row(self) -> str:
        """The label of its table row."""
        return f"({self.said.removeprefix('always answering ').removeprefix('always writing ')})"

    @property
    def name(self) -> str:
        return _NAMES.get(self.measure, self.measure)

    def cell(self, score: float | None) -> str:
        """A score as tables show it."""
        return "" if score is None else figure(score)


_NAMES = {
    "f1": "F1",
    "f1_micro": "F1 (micro)",
    "f1_macro": "F1 (macro)",
    "wer": "WER",
    "cer": "CER",
    "chrf": "chrF",
    "bleu": "BLEU",
    "rmse": "RMSE",
}


def constant(entry: Record) -> Constant | None:
    """The constant answer that scores best on validation, by the headline measure.

    None where no constant answer has a score by it, and in records from before it was kept.
    """
    name = headline_metric(entry)
    known = [found for found in constants(entry) if found.measure == name and found.test is not None]
    return max(known, key=lambda found: direction(name) * (found.val or 0.0), default=None)


def constant_among(entries: Iterable[Record]) -> Constant | None:
    """The best constant answer of one study, from a trial that has kept all of them if there is one."""
    kept = sorted(entries, key=lambda entry: "constants" not in entry.data.details)
    return next((found for entry in kept if (found := constant(entry)) is not None), None)


def constants(entry: Record) -> list[Constant]:
    """Every constant answer that a record has, by every measure that it is scored by."""
    scored = entry.data.details.get("constants")
    if not isinstance(scored, dict):
        return _of_before(entry)
    found = []
    for said, splits in scored.items():
        val, test = (splits.get(split, {}) for split in ("validation", "test"))
        found += [Constant(_short(said), name, val.get(name), test.get(name)) for name in val | test]
    return found


def _of_before(entry: Record) -> list[Constant]:
    details, found = entry.data.details, []
    for key, measure, form in _OF_BEFORE:
        if isinstance(told := details.get(key), dict) and "test" in told:
            said = _short(form.format_map(told | _words(told, details)))
            found.append(Constant(said, measure, told.get("validation"), told["test"]))
    return found


def _words(told: dict[str, Any], details: dict[str, Any]) -> dict[str, str]:
    """Return the values that phrases need in addition to a record's."""
    span = f"the most frequent answer of training, {told['answer']!r}" if told.get("answer") else "no answer"
    labels = ", ".join(told.get("labels", ()))
    return {"what": "place" if "chance" in details else "class", "span": span, "labels": labels}


def _short(said: str) -> str:
    line = " ".join(said.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def chance(entry: Record, others: Iterable[Record] = ()) -> str:
    """Describe the scores reached without learning; empty for records that lack them.

    The measure is the trials' headline, or, if no constant answer has a score by it, each one that they have.
    The base is scored by trials that read test: by `others` of its study if not by `entry`.
    """
    guessing = entry.data.details.get("chance")
    others = list(others)
    guess = f"Guessing has a test accuracy of {guessing['test']:.4f}. " if isinstance(guessing, dict) else ""
    best = constant_among((entry, *others))
    told = [best] if best is not None else [found for found in _of_before(entry) if found.test is not None]
    base = _before((entry, *others)) if "usual_transcript" in entry.data.details else ""
    return guess + "".join(found.sentence for found in told) + base


def _before(records: Iterable[Record]) -> str:
    """Describe the base's scores before any training, by the first record that has them."""
    for entry in records:
        if (rates := entry.scores.get("base")) is not None:
            window = entry.provenance.arithmetic.get("window")
            cut = f", its window cut to {window}," if window is not None else ""
            return f"The base as it is{cut} has a test WER of {rates['wer']:.4f}. "
    return ""
