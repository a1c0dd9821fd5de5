"""The arms of a study: what is compared, and which dimensions are tuned for each arm.

In the compared mode an arm is one combination of scientific values (a rank, a target set) or a baseline. Nuisance
values (learning rate, scale) are tuned within each arm, at equal trials; only then are arms compared. In the joint mode
one arm has all dimensions, and the baselines are further arms.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.layer_ranks import RanksConfig
from harness.config.schema import SweepConfig
from harness.config.space import Choice, Point, Range, Space, settled
from harness.config.tree import leaves

__all__ = ["Arm", "Point", "arm_of", "arms", "joint_space"]

JOINT = "joint"
"""The name of the arm that has all dimensions; its trials are named by their points."""
_JOINT_LAG = 4


@dataclasses.dataclass(frozen=True)
class Arm:
    """The dotted keys that an arm sets, and the nuisance dimensions that are tuned for it.

    A trial's point is proposed from trials of the arm that are more than `lag` before it, so that as many may run at
    once and one more; with a `bracket`, from those of earlier brackets, each of so many trials. If `hasty` it waits for
    none, and is proposed from what has ended by then. `named_by` are the keys whose values name a trial of the joint
    arm; None in any other. `ranks` are the groups of layers whose ranks are dimensions. Arms that `transfer` learn from
    one another's trials, and so wait for one another. `drawn` are the keys that are drawn at startup, those included
    whose condition the arm's values do not meet, so that arms have like draws; empty: those of its dimensions.
    """

    name: str
    values: dict[str, Any]
    nuisance: Space
    baseline: bool = False
    lag: int = 0
    named_by: tuple[str, ...] | None = None
    ranks: RanksConfig | None = None
    bracket: int = 0
    hasty: bool = False
    transfer: bool = False
    drawn: tuple[str, ...] = ()

    @property
    def awaited(self) -> str:
        """Names the arms whose earlier trials a proposal of this one reads: its own, or all that transfer."""
        return "" if self.transfer else self.name

    @property
    def knows_ranks(self) -> bool:
        """True if all dimensions are known: those of ranks by group are, once the network has been inspected."""
        return self.ranks is None or self.ranks.layers is not None

    def seen_by(self, index: int) -> int:
        """Return how many of the arm's first trials the proposal of its trial `index` reads."""
        return index - index % self.bracket if self.bracket else max(0, index - self.lag)

    def may_begin(self, index: int, first_open: int) -> bool:
        """Return whether trial `index` may begin once all trials before `first_open` have ended."""
        return self.hasty or self.seen_by(index) <= first_open

    def name_of(self, point: Point) -> str:
        """The name that a trial at a point of this arm is recorded under."""
        if self.named_by is None:
            return self.name
        return _name({key: point[key] for key in self.named_by if key in point})


def arms(sweep: SweepConfig) -> list[Arm]:
    """The product of all scientific values, or the joint arm; then every baseline over the product of `across`, and an
    arm for each allocation of ranks that is known.
    """
    joint = sweep.mode == "joint"
    lag = sweep.lag if sweep.lag is not None else _JOINT_LAG if joint else 0
    return [_paced(_with_own_dimensions(arm), sweep) for arm in _arms(sweep, lag, joint=joint)]


def _with_own_dimensions(arm: Arm) -> Arm:
    """The arm with the dimensions that exist at the values that it sets itself."""
    space = settled(arm.nuisance, leaves(arm.values))
    return dataclasses.replace(arm, nuisance=space, drawn=tuple(arm.nuisance) if len(space) < len(arm.nuisance) else ())


def _paced(arm: Arm, sweep: SweepConfig) -> Arm:
    """An arm whose trials wait at rungs under the study's pruner."""
    pruner = sweep.pruner or {}
    if pruner.get("name") == "synchronous_halving":
        return dataclasses.replace(arm, lag=0, bracket=pruner.get("bracket", sweep.startup))
    if pruner.get("name") == "asynchronous_halving":
        return dataclasses.replace(arm, lag=0, hasty=True)
    return arm


def _arms(sweep: SweepConfig, lag: int, *, joint: bool) -> list[Arm]:
    baselines = [
        Arm(",".join(filter(None, (name, _name(point)))), {**arm.set, **point}, arm.nuisance, baseline=True, lag=lag)
        for name, arm in sweep.baselines.items()
        for point in _product(sweep, sweep.across or [])
    ]
    baselines += [
        Arm(method, {"lora.ranks": ranks}, sweep.nuisance, baseline=True, lag=lag)
        for method, ranks in (sweep.profiles or {}).items()
    ]
    if joint:
        return [_joint(sweep, lag), *baselines]
    compared = [
        Arm(_name(point), point, sweep.nuisance, lag=lag, transfer=sweep.transfer)
        for point in _product(sweep, list(sweep.scientific))
        if point
    ]
    return compared + baselines


def joint_space(sweep: SweepConfig) -> Space:
    """The dimensions of the joint arm: scientific ones first; of a list of several values, a choice of them."""
    scientific: dict[str, Range | Choice] = {}
    for key, values in sweep.scientific.items():
        if not isinstance(values, list):
            scientific[key] = values
        elif len(values) > 1:
            scientific[key] = Choice(choices=values)
    return scientific | dict(sweep.nuisance) | _rank_space(sweep)


def given_values(sweep: SweepConfig) -> dict[str, list[Any]]:
    """The values of the keys that arms set, baselines aside, which a condition of `sweep.nuisance` may name."""
    space = joint_space(sweep) if sweep.mode == "joint" else {}
    return {key: values for key, values in sweep.scientific.items() if isinstance(values, list) and key not in space}


def _rank_space(sweep: SweepConfig) -> dict[str, Range | Choice]:
    return dict(sweep.ranks.space) if sweep.ranks is not None else {}


def arm_of(all_arms: Sequence[Arm], name: str) -> Arm | None:
    """The arm whose trials are recorded under a name; of the joint arm, one that is that trial's alone."""
    known = next((arm for arm in all_arms if arm.name == name), None)
    joint = next((arm for arm in all_arms if arm.named_by is not None), None)
    return known or (joint and dataclasses.replace(joint, name=name, named_by=None))


def _joint(sweep: SweepConfig, lag: int) -> Arm:
    space = joint_space(sweep)
    fixed = {
        key: values[0] for key, values in sweep.scientific.items() if key not in space and isinstance(values, list)
    }
    named_by = tuple(key for key in sweep.scientific if key in space) or tuple(_rank_space(sweep)) or tuple(space)
    return Arm(JOINT, fixed, space, lag=lag, named_by=named_by, ranks=sweep.ranks)


def _product(sweep: SweepConfig, keys: Sequence[str]) -> list[dict[str, Any]]:
    lists = [values for key in keys if isinstance(values := sweep.scientific[key], list)]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*lists)]


def _name(values: Mapping[str, Any]) -> str:
    return ",".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    if value is None:
        return "all"  # no limit was given
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
