"""The trials of a page: their fields, curves and layers from the records, their configuration from its file."""

import csv
import functools
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.record import Record, row, trial_path
from harness.system.study_files import CONFIG, CURVE

_POINTS = 60  # of a curve, at most
_ALL_POINTS = 12_000  # of all curves of a page, about
_LEFT_OUT = ("fingerprint", "dead", "notes")  # are shown whole, in the trial's own place


def trial_trees(
    records: Sequence[Record], layered: Container[int], folder: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the common part of all trials' configurations, by dotted key, and the rest of each as a tree.

    The trials in `layered` bring the ranks of their layers.
    """
    configs = [_configuration(folder / trial_path(entry.trial) / CONFIG) for entry in records]
    known = [config for config in configs if config]
    common = dict(set.intersection(*(set(config.items()) for config in known))) if known else {}
    points = max(8, min(_POINTS, _ALL_POINTS // max(1, len(records))))
    trees = []
    for entry, config in zip(records, configs, strict=True):
        own = {key: value for key, value in config.items() if common.get(key) != value}
        ranks = _ranks(entry) if entry.trial in layered else {}
        trees.append(_trial(entry, folder, points) | {"config": own, "ranks": {}, "effective_ranks": {}} | ranks)
    return dict(sorted(common.items())), trees


def _trial(entry: Record, folder: Path, points: int) -> dict[str, Any]:
    fields = {name: _brief(value) for name, value in row(entry).items() if name not in _LEFT_OUT}
    if entry.rate:
        fields["rate"] = _brief(entry.rate)
    if entry.memory:
        fields["memory_needed"] = entry.memory.needed
    return {
        "fields": fields,
        "point": {key: _text(value) for key, value in entry.point.items()},
        "reports": thinned([[step, _brief(value)] for step, value in entry.reports], points),
        "curve": _curve(folder / trial_path(entry.trial) / CURVE, points),
        "adapter": entry.adapter.path,
        "sha256": {name: digest[:16] for name, digest in entry.adapter.sha256.items()},
        "folder": trial_path(entry.trial),
        "notes": list(entry.notes),
        "dead": list(entry.dead),
        "fingerprint": entry.fingerprint,
        "attempt": entry.attempt,
        "repeat": f"python -m harness run=repeat study={entry.study} trial={entry.trial}",
    }


def _ranks(entry: Record) -> dict[str, Any]:
    effective = {name: round(value, 2) for name, value in entry.adapter.effective_ranks.items()}
    return {"ranks": entry.adapter.ranks, "effective_ranks": effective}


def _brief(value: Any) -> Any:
    """A number with as many digits as a page can show."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _configuration(path: Path) -> dict[str, str]:
    """The configuration in a file by dotted key, values as text; empty where there is no file."""
    if not path.exists():
        return {}
    return dict(_flat_configuration(path, path.stat().st_mtime_ns))


@functools.lru_cache(maxsize=4096)
def _flat_configuration(path: Path, _changed: int) -> dict[str, str]:
    kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # five times faster, where PyYAML was built with libyaml
    loader = kind(path.read_text())
    try:
        return _flat(loader.get_single_data() or {}, "")
    finally:
        loader.dispose()


def _flat(tree: Mapping[str, Any], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[f"{prefix}{key}"] = _text(value)
    return found


def _text(value: Any) -> str:
    """A value as a command line has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _curve(path: Path, points: int) -> dict[str, list[list[float]]]:
    """The columns of a trial's curves, each as [step, value] pairs."""
    if not path.exists():
        return {}
    found: dict[str, list[list[float]]] = {}
    with open(path, newline="") as file:
        for line in csv.DictReader(file):
            step = float(line.pop("step"))
            for name, value in line.items():
                if value:
                    found.setdefault(name, []).append([step, float(f"{float(value):.5g}")])
    return {name: thinned(curve, points) for name, curve in found.items()}


def thinned(curve: list[list[float]], points: int) -> list[list[float]]:
    """At most so many points of a curve, evenly, the first and the last among them."""
    if len(curve) <= points:
        return curve
    last = len(curve) - 1
    return [curve[round(index * last / (points - 1))] for index in range(points)]
