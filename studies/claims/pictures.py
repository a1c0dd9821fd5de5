"""Two pictures behind the claims: scores over the number of training rows, and over the learning rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.record import Record
from harness.report.plots import Line, lines_picture
from studies.claims.evidence import Study, adapted, full
from studies.claims.learning import by_rate, cells


def draw(studies: Mapping[str, Study], folder: Path) -> list[str]:
    """Draw what there are finished studies for; returns the names of the files."""
    written = []
    for name, file, picture in (("little", "little_data.png", _little), ("lr", "learning_rate.png", _rates)):
        if name in studies and studies[name].records:
            picture(studies[name], folder / file)
            written.append(file)
    return written


def _little(study: Study, path: Path) -> None:
    heads = [entry for entry in study.records if entry.lora.trains_head_alone]
    lines = [line for records in (adapted(study), full(study), heads) for line in _over_rows(records)]
    title = f"{study.label}: as many steps at every size; lines: means over splits"
    lines_picture(lines, "training rows", "accuracy", title, path)


def _over_rows(records: Sequence[Record]) -> list[Line]:
    found = cells(records)
    if not found:
        return []
    style = records[0].lora.name
    points = {
        split: [(rows, entry.score(split, "accuracy")) for (rows, _), entry in found.items()]
        for split in ("test", "train")
    }
    return [Line(style, ", test", points["test"]), Line(style, ", training rows", points["train"], dotted=True)]


def _rates(study: Study, path: Path) -> None:
    lines = []
    for records in (adapted(study), full(study)):
        trials = [entry for entries in by_rate(records).values() for entry in entries]
        points = [(entry.optimizer.lr, entry.score("test", "accuracy")) for entry in trials]
        lines += [Line(records[0].lora.name, "", points)] if points else []
    lines_picture(lines, "learning rate", "test accuracy", f"{study.label}; lines: means over seeds", path)
