"""The data of the page as one JSON tree, made from the records and the files of the trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.record import Record, best_by, direction, headline_metric, measured_columns
from harness.report.chance import chance
from harness.report.confirmed import Confirmation, Confirmed
from harness.report.confirmed_tasks import ConfirmedMultitask
from harness.report.html.trials import trial_trees
from harness.report.importance import read_importances
from harness.report.table import ArmResult, bases, sign
from harness.system.redaction import redact_tree

Tree = dict[str, Any]

_SHOWN_ARMS = 40  # layers are the larger part of a record
_PICTURES = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Group:
    """Trials on the same data, and what is concluded from them.

    `results` holds a row for each arm of the search; `confirmed`, or of several tasks `multitask`, what was confirmed.
    `alike` is what the names of all its arms have, where a study has several groups: as 'task.train_rows=500'.
    """

    records: Sequence[Record]
    answer: str
    results: Sequence[ArmResult] = field(default_factory=list)
    confirmed: Confirmation | None = None
    multitask: ConfirmedMultitask | None = None
    alike: str = ""

    @property
    def searched(self) -> list[Record]:
        """Its trials of the search."""
        return [entry for entry in self.records if entry.phase == "search"]

    @property
    def title(self) -> str:
        """The title of the group: what its trials have in common."""
        found = bases(self.records)
        of = found[0] if len(found) == 1 else f"{len(found)} bases"
        return ", ".join(filter(None, [self.records[0].task, of, self.alike.replace(",", ", ")]))


def page_data(study: str, groups: Sequence[Group], folder: Path, now: datetime | None = None) -> Tree:
    """The tree of a study's page. Keys and passwords are removed; `now` is the time that the page names."""
    records = sorted((entry for group in groups for entry in group.records), key=lambda entry: entry.trial)
    common, trials = trial_trees(records, _leading(groups), folder)
    commands = list(dict.fromkeys(entry.command for entry in records))
    for tree, entry in zip(trials, records, strict=True):
        tree["command"] = commands.index(entry.command)
    data = {
        "study": study,
        "written": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "fields": _fields(records),
        "groups": [_group(group) for group in groups],
        "common": common,
        "commands": commands,
        "trials": trials,
        "provenance": _provenance(records),
        "pictures": _pictures(folder),
        "importances": read_importances(folder),
    }
    found: Tree = redact_tree(data)
    return found


def _leading(groups: Sequence[Group]) -> set[int]:
    """The trials whose layers are shown: the best of each arm, of the arms that did best."""
    found: set[int] = set()
    for group in groups:
        best = [entry for entry in best_by(group.searched, lambda entry: entry.arm).values() if entry.adapter.ranks]
        best.sort(key=lambda entry: direction(entry.objective) * entry.score("val", entry.objective), reverse=True)
        found |= {entry.trial for entry in best[:_SHOWN_ARMS]}
    return found


def _fields(records: Sequence[Record]) -> dict[str, Tree]:
    """Unit and direction of each field that a trial of the page may have: 1 where higher is better, −1 lower, or 0."""
    ways = {"lower is better": -1, "higher is better": 1, "": 0}
    found = {name: {"unit": mark.unit, "better": ways[mark.better]} for name, mark in measured_columns().items()}
    for entry in records:
        for split, scores in entry.scores.items():
            for name in scores:
                up = -1 if name.endswith("rmse") else direction(name.rpartition("/")[2])
                found[f"{split}_{name}"] = {"unit": "", "better": int(up)}
    found["rate"] = {"unit": "", "better": 0}
    found["memory_needed"] = {"unit": "bytes", "better": -1}
    return found


def _group(group: Group) -> Tree:
    first = group.records[0]
    return {
        "title": group.title,
        "answer": group.answer,
        "chance": chance(first, group.records).strip(),
        "metric": headline_metric(first),
        "objective": first.objective,
        "better": int(sign(first)),
        "trials": [entry.trial for entry in group.records],
        "rows": dict(first.data.rows),
        "arms": _arms(group),
        "confirmed": _confirmed(group),
    }


def _arms(group: Group) -> list[Tree]:
    """A row for each arm: its trial that did best on validation, and how its trials ended."""
    results = {result.arm: result for result in group.results}
    searched = group.searched
    best = best_by(searched, lambda entry: entry.arm)
    rows = []
    for arm in dict.fromkeys(entry.arm for entry in group.records):
        states = [entry.state for entry in searched if entry.arm == arm]
        result = results.get(arm)
        rows.append(
            {
                "arm": arm,
                "factors": factors(arm),
                "best": best[arm].trial if arm in best else None,
                "states": {state: states.count(state) for state in ("complete", "pruned", "fail")},
                "split": result.split if result else "val",
                "interval": result.interval if result else None,
                "verdict": result.verdict if result and result.best else "",
            }
        )
    return rows


def factors(arm: str) -> dict[str, str]:
    """The scientific values that an arm's name says: targets=query,rank=4 has two, full has none."""
    pairs = (part.partition("=") for part in arm.split(","))
    return {key: value for key, equals, value in pairs if equals}


def _confirmed(group: Group) -> Tree | None:
    """Return the confirmed arms and their reference; differences are of the score `measure`; `up` is −1 for a loss."""
    if group.multitask is not None:
        return _multitask(group.multitask)
    if (found := group.confirmed) is None:
        return None
    return {
        "measure": f"test {headline_metric(group.records[0])}",
        "up": sign(group.records[0]),
        "reference": found.reference,
        "repeats": found.repeats,
        "items": found.items if found.over_items else None,
        "margin": found.margin,
        "cannot_rank": found.cannot_rank,
        "arms": {each.arm: _confirmed_arm(each) for each in found.arms},
    }


def _multitask(found: ConfirmedMultitask) -> Tree:
    arms = {
        arm.arm: {
            "trials": [run.trial for run in arm.runs],
            "test": None,
            "difference": [arm.delta.difference, arm.delta.low, arm.delta.high],
            "verdict": arm.verdict,
        }
        for arm in found.arms
    }
    return {
        "measure": "Δm in percent",
        "up": 1.0,
        "reference": "each task alone",
        "repeats": f"{found.seeds} seeds",
        "items": found.items,
        "margin": found.margin,
        "cannot_rank": "",
        "arms": arms,
    }


def _confirmed_arm(each: Confirmed) -> Tree:
    mean = each.mean
    return {
        "trials": [run.trial for run in each.runs],
        "test": [mean.mean, mean.low, mean.high],
        "difference": each.difference,
        "verdict": each.verdict or "reference",
    }


def _provenance(records: Sequence[Record]) -> Tree:
    """Return the provenance of the results; if values differ, each with the number of its trials."""
    first = records[0]
    return {
        "command": first.command,
        "data": _counted([_data(entry) for entry in records]),
        "base": _counted([{"name": e.base.name, "address": e.base.address, "sha256": e.base.sha256} for e in records]),
        "source": _counted([dict(entry.provenance.source) for entry in records]),
        "hardware": _counted([dict(entry.provenance.hardware) for entry in records]),
        "versions": _counted([dict(entry.provenance.versions) for entry in records]),
    }


def _data(entry: Record) -> Tree:
    rows = {f"{split} rows": count for split, count in entry.data.rows.items()}
    return {"name": entry.data.name, "source": entry.data.source, "sha256": entry.data.sha256} | rows


def _counted(values: Sequence[Mapping[str, Any]]) -> list[Tree]:
    found: list[Tree] = []
    for value in values:
        same = next((known for known in found if known["value"] == value), None)
        if same is None:
            found.append({"value": dict(value), "trials": 1})
        else:
            same["trials"] += 1
    return sorted(found, key=lambda known: -int(known["trials"]))


def _pictures(folder: Path) -> list[Tree]:
    """The pictures beside the page, each with the formats that are there."""
    stems = sorted(path.stem for path in folder.glob("*.png"))
    return [
        {"name": stem, "formats": [end for end in _PICTURES if (folder / f"{stem}.{end}").exists()]} for stem in stems
    ]
