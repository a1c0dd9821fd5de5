"""Trials of earlier studies as history of a search: which arm each teaches at which point, or why none."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config import Config, apply_overrides, to_dict
from harness.config.arm_checks import is_cost
from harness.config.arms import Arm, Point, arms
from harness.config.layer_ranks import PREFIX
from harness.config.space import exists, in_order
from harness.config.tree import leaves
from harness.search.plan import Known, SearchPlan

LAYERS = "sweep.ranks.layers."
"""The key that says which layers a group of ranks has."""
_NONE = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PastTrial:
    """A complete trial of an earlier study: what it scored in this study's objectives (nothing: not all), what it was.

    `settings` are its values by dotted key, `varied` the keys that its study searched or compared. A trial that is
    `foreign` is of a study in Optuna that this program did not make: its other settings are not known, and `unnamed`
    are its parameters that are no key here. `pack_size` is the size of its pack: what it cost is its own where that is
    1.
    """

    source: str
    number: int
    values: Sequence[float]
    settings: Mapping[str, Any]
    varied: frozenset[str]
    violations: Mapping[str, float] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""
    foreign: bool = False
    pack_size: int = 1
    unnamed: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A trial of an earlier study that teaches nothing here; why, and the value that it has there."""

    source: str
    number: int
    why: str
    value: Any = None


@dataclasses.dataclass(frozen=True)
class History:
    """Trials that a study takes over from earlier ones, by arm name, and those left out; `said` sums it up."""

    taken: Sequence[tuple[str, PastTrial, Point]] = ()
    left_out: Sequence[LeftOut] = ()
    said: Sequence[str] = ()

    def known(self) -> dict[str, list[Known]]:
        """The trials that each arm's sampler is given, by the arm's name."""
        found: dict[str, list[Known]] = {}
        for arm, past, point in self.taken:
            found.setdefault(arm, []).append(Known(point, list(past.values), dict(past.violations)))
        return found


def placed(config: Config, past: Sequence[PastTrial]) -> History:
    """Each trial beside the arm that it teaches; a trial that no arm can learn from is left out with the reason."""
    sweep = config.sweep
    assert sweep is not None
    all_arms, plan, tree = arms(sweep), SearchPlan.of(config), to_dict(config)
    layers = {LAYERS + name: pattern for name, pattern in ((sweep.ranks and sweep.ranks.layers) or {}).items()}
    here = {arm.name: leaves(apply_overrides(tree, arm.values)) | layers for arm in all_arms}
    costs = list(filter(is_cost, (*plan.objectives, *plan.constraints)))
    taken: list[tuple[str, PastTrial, Point]] = []
    out: list[LeftOut] = []
    for trial in past:
        if not trial.values:
            out.append(LeftOut(trial.source, trial.number, f"not all of {', '.join(plan.names)}"))
            continue
        if unknown := [name for name in plan.constraints if name not in trial.violations]:
            out.append(LeftOut(trial.source, trial.number, f"no {', '.join(unknown)}"))
            continue
        if costs and trial.pack_size > 1:
            why = f"{', '.join(costs)} of a pack of trials (launch.pack), not of this one"
            out.append(LeftOut(trial.source, trial.number, why, trial.pack_size))
            continue
        tried = [(arm, *_point(trial, arm, here[arm.name], plan)) for arm in all_arms if arm.nuisance]
        found = [(arm.name, trial, point) for arm, point, _ in tried if point is not None]
        taken += found
        if not found:
            out.append(LeftOut(trial.source, trial.number, *_nearest([why for _, _, why in tried])))
    return History(taken, out)


Why = tuple[int, str, Any]
"""How far a trial came with an arm, what it fails by, and the value that it has there."""


def _nearest(whys: Sequence[Why]) -> tuple[str, Any]:
    """The reason of the arm that came nearest."""
    return max(whys, key=lambda why: why[0])[1:] if whys else ("no arm has a dimension", None)


def _point(past: PastTrial, arm: Arm, here: Mapping[str, Any], plan: SearchPlan) -> tuple[Point | None, Why]:
    """A trial as a point of an arm; None and the reason where it is none.

    What either study varies has the value that the arm has, or is a dimension; all else may differ.
    """
    if past.foreign and arm.baseline:
        return None, (0, f"it does not say that it is {arm.name}", None)
    for key in _required(past, arm):
        there, own = past.settings.get(key, _NONE), here.get(key, _NONE)
        if key not in arm.nuisance and there != own:
            return None, (1, f"{key} is another, here {_shown(own)}", there)
    point: Point = {}
    for key in in_order(arm.nuisance):
        dimension = arm.nuisance[key]
        if not exists(dimension, point):
            continue
        if key not in past.settings:
            return None, (2, f"no {key}", None)
        if not dimension.holds(value := past.settings[key]):
            return None, (3, f"{key} is not in the {dimension.described}", value)
        point[key] = value
    budget = plan.budget
    if budget is not None and budget.covers(point) and budget.used(point) > budget.most:
        return None, (4, "ranks above sweep.budget", budget.used(point))
    return {key: point[key] for key in arm.nuisance if key in point}, (5, "", None)


def _required(past: PastTrial, arm: Arm) -> list[str]:
    """The keys in which a trial must be as the arm is."""
    compared = set(leaves(arm.values)) if arm.named_by is None else set()
    groups = {LAYERS + key.removeprefix(PREFIX) for key in arm.nuisance if key.startswith(PREFIX)}
    method = set() if past.foreign else {"lora.name"}
    return sorted(past.varied | compared | groups | method)


def summary(history: History, source: str) -> str:
    """Count the trials taken over from a source, and say why others are not."""
    taken = len({past.number for _, past, _ in history.taken if past.source == source})
    whys = Counter(each.why for each in history.left_out if each.source == source)
    reasons = "; ".join(f"{count}: {why}" for why, count in whys.most_common(4))
    more = f"; and {len(whys) - 4} reasons more" if len(whys) > 4 else ""
    left = f"; {sum(whys.values())} left out ({reasons}{more})" if whys else ""
    return f"{taken} of {taken + sum(whys.values())} trials{left}"


def to_tree(history: History) -> dict[str, Any]:
    """The history as JSON has it."""
    taken = [
        {"arm": arm, "point": point, "values": list(past.values), "violations": dict(past.violations)}
        | {"study": past.source, "trial": past.number, "fingerprint": past.fingerprint}
        for arm, past, point in history.taken
    ]
    left_out = [
        {"study": each.source, "trial": each.number, "why": each.why, "value": each.value} for each in history.left_out
    ]
    return {"taken": taken, "left_out": left_out}


def known_of(tree: Mapping[str, Any]) -> dict[str, list[Known]]:
    """Read the trials of `History.known` from JSON."""
    found: dict[str, list[Known]] = {}
    for each in tree["taken"]:
        found.setdefault(each["arm"], []).append(Known(each["point"], each["values"], each["violations"]))
    return found


def _shown(value: Any) -> str:
    return value if value == _NONE else json.dumps(value, ensure_ascii=False, default=str)
