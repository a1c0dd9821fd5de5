"""The front of a search over several objectives: its points, which of them are ties, the recommendation, its growth."""

from collections.abc import Sequence
from pathlib import Path

from harness.config import stored_sweep
from harness.record import Record, figure, headline_metric
from harness.record.front import Objectives, feasible, front, gains, hypervolume, recommended, score_of
from harness.report.statistics import wilson_interval
from harness.report.table import markdown, rank_cell

_BYTES = ("memory", "bytes")


def objectives_of(folder: Path) -> dict[str, float]:
    """The objectives of the study in a folder with their signs; empty where it has one score alone."""
    found = stored_sweep(folder).get("objectives") or {}
    return {name: 1.0 if way == "maximize" else -1.0 for name, way in found.items()}


def section(records: Sequence[Record], folder: Path, margin: float) -> str:
    """The front of a search in Markdown. `margin` is the difference of scores that is too small to matter."""
    sweep, objectives = stored_sweep(folder), objectives_of(folder)
    allowed = [entry for entry in records if feasible(entry, sweep.get("constraints") or {})]
    kept = front(allowed, objectives)
    if not kept:
        return "No complete trial keeps the constraints: there is no front."
    beside = {**(sweep.get("baselines") or {}), **(sweep.get("profiles") or {})}
    compared = [entry for entry in allowed if entry.arm.partition(",")[0] not in beside]
    chosen, best = recommended(compared, objectives, margin), max(kept, key=lambda each: _score(each, objectives))
    ordered = sorted(kept, key=lambda each: -_score(each, objectives))
    rows = [["trial", "arm", "rank", *objectives, ""]]
    for entry in ordered:
        cells = [_cell(name, figure(entry, name)) for name in objectives]
        said = [*(["recommended"] if entry is chosen else []), *_tie(entry, best, objectives, margin)]
        rows.append([str(entry.trial), entry.arm, rank_cell(entry), *cells, ", ".join(said)])
    parts = [f"Front over {', '.join(_way(name, sign) for name, sign in objectives.items())}:", markdown(rows)]
    if chosen is not None:
        parts.append(_recommendation(chosen, objectives, margin))
    return "\n\n".join([*parts, _growth(allowed, objectives)])


def _way(name: str, sign: float) -> str:
    return f"{name} ({'more' if sign > 0 else 'less'} is better)"


def _score(entry: Record, objectives: Objectives) -> float:
    """The score among the objectives, by its sign."""
    name = score_of(objectives)
    return objectives[name] * (figure(entry, name) or 0.0)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name.partition(".")[0] in _BYTES or name.endswith("bytes"):
        return f"{value / 2**20:.1f} MiB"
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.4g}"


def _tie(entry: Record, best: Record, objectives: Objectives, margin: float) -> list[str]:
    """Whether the validation items tell a point from the best one; without intervals, the margin does."""
    if entry is best:
        return ["best"]
    if headline_metric(entry) == "accuracy" and "val" in objectives and entry.data.rows.get("validation"):
        one, other = (
            wilson_interval(each.score("val", "accuracy"), each.data.rows["validation"]) for each in (entry, best)
        )
        return ["tie with the best"] if one[1] >= other[0] else []
    return ["tie with the best"] if _score(best, objectives) - _score(entry, objectives) <= margin else []


def _recommendation(entry: Record, objectives: Objectives, margin: float) -> str:
    figures = ", ".join(f"{name} {_cell(name, figure(entry, name))}" for name in objectives)
    return (
        f"Recommended: trial {entry.trial} ({entry.arm}), the cheapest within {margin:g} of the best score: {figures}. "
        "One seed each: a tie is a point whose 95 % interval over validation items overlaps with the best one's."
    )


def _growth(records: Sequence[Record], objectives: Objectives) -> str:
    """The hypervolume after parts of the trials, as a share of the box between the best and the worst value of each."""
    ended = sorted((entry for entry in records if entry.state == "complete"), key=lambda each: each.trial)
    known = [found for entry in ended if (found := gains(entry, objectives)) is not None]
    low = [min(values) for values in zip(*known, strict=True)]
    span = [max(values) - min(values) or 1.0 for values in zip(*known, strict=True)]
    unit = [tuple((v - a) / s for v, a, s in zip(point, low, span, strict=True)) for point in known]
    parts = sorted({max(1, round(share * len(unit))) for share in (0.25, 0.5, 0.75, 1.0)})
    origin = [-0.05] * len(low)  # a little below the worst, so that a point at an end of the front counts
    whole = 1.05 ** len(low)
    shown = ", ".join(f"{hypervolume(unit[:count], origin) / whole:.3f} after {count}" for count in parts)
    return f"Hypervolume, as a share of the box of all trials: {shown} complete trials."
