"""The front of a search over several objectives: its points, which of them are ties, the recommendation, its growth."""

from collections.abc import Sequence
from pathlib import Path

from harness.config import stored_sweep
from harness.record import Record, figure
from harness.record.front import (
    Objectives,
    costs_no_more,
    feasible,
    front,
    gains,
    hypervolume,
    recommended,
    score_of,
)
from harness.report.statistics import wilson_interval
from harness.report.table import markdown, rank_cell

_BYTES = ("memory", "bytes")
_OF_ROWS = ("accuracy", "accuracy_norm")
"""Scores that are shares of the validation rows."""
_MOST_TIES = 10
"""That are shown beside the front."""


def objectives_of(folder: Path) -> dict[str, float]:
    """The objectives of the study in a folder with their signs; empty where it has one score alone."""
    found = stored_sweep(folder).get("objectives") or {}
    return {name: 1.0 if way == "maximize" else -1.0 for name, way in found.items()}


def section(records: Sequence[Record], folder: Path, margin: float) -> str:
    """The front of a search in Markdown, and what the noise of the score cannot tell from it.

    `margin` is the difference of scores that is too small to matter.
    """
    sweep, objectives = stored_sweep(folder), objectives_of(folder)
    allowed = [entry for entry in records if feasible(entry, sweep.get("constraints") or {})]
    kept = front(allowed, objectives)
    if not kept:
        return f"{_why_none(records, objectives)}: there is no front."
    beside = {**(sweep.get("baselines") or {}), **(sweep.get("profiles") or {})}
    compared = [entry for entry in allowed if entry.arm.partition(",")[0] not in beside]
    chosen, best = recommended(compared, objectives, margin), max(kept, key=lambda each: _score(each, objectives))
    kept.sort(key=lambda each: -_score(each, objectives))
    ties = sorted(_beside(allowed, kept, objectives, margin), key=lambda each: -_score(each, objectives))
    rows = [["trial", "arm", "rank", *objectives, ""]]
    for entry in [*kept, *ties[:_MOST_TIES]]:
        cells = [_cell(name, figure(entry, name)) for name in objectives]
        said = [*(["recommended"] if entry is chosen else []), *(["not on the front"] if entry in ties else [])]
        said += [*_of_best(entry, best, objectives, margin), *_tie(entry, kept, objectives, margin)]
        rows.append([str(entry.trial), entry.arm, rank_cell(entry), *cells, ", ".join(said)])
    parts = [f"Front over {', '.join(_way(name, sign) for name, sign in objectives.items())}:", markdown(rows)]
    if len(ties) > _MOST_TIES:
        parts.append(f"{len(ties) - _MOST_TIES} more trials that are not on the front are ties with one of its points.")
    if chosen is not None:
        first = max(front(compared, objectives), key=lambda each: _score(each, objectives))
        parts.append(_recommendation(chosen, first, objectives, margin))
    parts.append(_rule(best, objectives, margin))
    return "\n\n".join([*parts, _growth(allowed, objectives)])


def _why_none(records: Sequence[Record], objectives: Objectives) -> str:
    ended = [entry for entry in records if entry.state == "complete"]
    lacking = [name for name in objectives if all(figure(entry, name) is None for entry in ended)]
    if not ended or lacking:
        return f"No complete trial has {', '.join(lacking)}" if ended else "No trial is complete"
    whole = any(gains(entry, objectives) is not None for entry in ended)
    return f"No complete trial {'keeps the constraints' if whole else 'has all of ' + ', '.join(objectives)}"


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


def _beside(records: Sequence[Record], kept: Sequence[Record], objectives: Objectives, margin: float) -> list[Record]:
    """The complete trials off the front that are ties with one of its points."""
    known = [entry for entry in records if entry.state == "complete" and gains(entry, objectives) is not None]
    return [entry for entry in known if entry not in kept and _tie(entry, kept, objectives, margin)]


def _of_best(entry: Record, best: Record, objectives: Objectives, margin: float) -> list[str]:
    if entry is best:
        return ["best"]
    return ["tie with the best"] if _alike(entry, best, objectives, margin) else []


def _tie(entry: Record, kept: Sequence[Record], objectives: Objectives, margin: float) -> list[str]:
    """The best point of the front that costs no more in anything else, and whose score is not told from the trial's."""
    near = (
        other
        for other in kept
        if other is not entry and costs_no_more(other, entry, objectives) and _alike(other, entry, objectives, margin)
    )
    found = max(near, key=lambda each: _score(each, objectives), default=None)
    return [] if found is None else [f"tie with {found.trial}"]


def _alike(one: Record, other: Record, objectives: Objectives, margin: float) -> bool:
    """Return whether the intervals over validation items overlap; without them, whether the margin covers the
    difference.
    """
    found = [_interval(each, objectives) for each in (one, other)]
    if found[0] is None or found[1] is None:
        return abs(_score(one, objectives) - _score(other, objectives)) <= margin
    return found[0][0] <= found[1][1] and found[1][0] <= found[0][1]


def _interval(entry: Record, objectives: Objectives) -> tuple[float, float] | None:
    """The 95 % interval of the score where it is a share of the validation rows."""
    section, _, metric = score_of(objectives).partition(".")
    rows = entry.data.rows.get("validation")
    if section != "val" or (metric or entry.objective) not in _OF_ROWS or not rows:
        return None
    return wilson_interval(entry.score("val", metric or entry.objective), rows)


def _recommendation(entry: Record, best: Record, objectives: Objectives, margin: float) -> str:
    figures = ", ".join(f"{name} {_cell(name, figure(entry, name))}" for name in objectives)
    score = score_of(objectives)
    return (
        f"Recommended: trial {entry.trial} ({entry.arm}), the cheapest within {margin:g} of the best {score} of the "
        f"search, baselines aside (trial {best.trial}, {_cell(score, figure(best, score))}): {figures}."
    )


def _rule(entry: Record, objectives: Objectives, margin: float) -> str:
    told = "their 95 % intervals over validation items overlap"
    if _interval(entry, objectives) is None:
        told = f"their scores differ by {margin:g} at most"
    return (
        f"One seed each. Two trials are a tie if {told}. A trial is a tie with a point of the front that costs no more "
        "in anything else: it may owe its score to chance, or its place off the front."
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
