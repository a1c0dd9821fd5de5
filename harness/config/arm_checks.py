"""Checks of a study's arms before it begins: at which points of their spaces, and which errors they have."""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping

from harness.config.arms import arms, given_values, joint_space
from harness.config.layer_ranks import rank_mistakes
from harness.config.schema import Config, SweepConfig
from harness.config.searched_ranks import is_rank, searched_rank_mistakes
from harness.config.space import Choice, Point, Range, Space, applied, space_mistakes, where
from harness.config.tasks.base import TaskConfig
from harness.config.tree import OF_COMMANDS, ConfigError, leaves, nearest

_NUMBER = re.compile(r"-?\d[\d.e+-]*")
_NAMED = 3  # arms named in a line; further ones are counted
# Keys of the whole study: an arm cannot have a value of its own.
_OF_THE_STUDY = ("run", "study", "results", "tracking", "launch", "sweep", "command")

# As well the same in the trials that confirm: what is compared holds for them, and their seeds are fresh.
_OF_EVERY_TRIAL = (*_OF_THE_STUDY, "seed", "task", "model", "arguments", *OF_COMMANDS)


def sweep_space_mistakes(sweep: SweepConfig) -> Iterator[str]:
    """Yield the errors in the dimensions of a sweep, each by itself and all arms together."""
    joint = sweep.mode == "joint"
    searched = {"sweep.nuisance": joint_space(sweep) if joint else sweep.nuisance}
    spaces = searched | {f"sweep.baselines.{name}.nuisance": arm.nuisance for name, arm in sweep.baselines.items()}
    across = {key: values for key in sweep.across or () if isinstance(values := sweep.scientific.get(key), list)}
    given = {"sweep.nuisance": given_values(sweep)}
    for name, arm in sweep.baselines.items():
        given[f"sweep.baselines.{name}.nuisance"] = {key: [value] for key, value in leaves(arm.set).items()} | across
    for place, space in spaces.items():
        for mistake in space_mistakes(space, given[place]):
            scientific = any(re.match(rf"{re.escape(key)}[=.]", mistake) for key in sweep.scientific)
            yield f"{'sweep.scientific' if scientific and place in searched else place}.{mistake}"
    kinds: dict[str, dict[str, str]] = {}
    for place, space in spaces.items():
        for key, dimension in space.items():
            kinds.setdefault(key, {}).setdefault(dimension.kind, place)
    for key, found in kinds.items():
        if len(found) > 1:
            said = ", ".join(f"{kind} in {place}" for kind, place in found.items())
            yield f"sweep: {key} is {said}; of one kind in all arms"


def mode_mistakes(sweep: SweepConfig) -> Iterator[str]:
    """Yield an error for keys of the other mode, and for a sweep that searches nothing."""
    searched = {**sweep.scientific, **sweep.nuisance}
    yield from rank_mistakes(sweep.ranks, sweep.budget, searched, sweep.allocate, sweep.nuisance)
    if sweep.budget is not None and sweep.ranks is None and not sweep.allocate and any(map(is_rank, searched)):
        tuned = {name: list(arm.nuisance) for name, arm in sweep.baselines.items()}
        joint = sweep.mode == "joint"
        yield from searched_rank_mistakes(joint_space(sweep), list(sweep.budget.given), joint=joint, baselines=tuned)
    if sweep.mode == "joint":
        if sweep.across:
            yield f"sweep.across={json.dumps(sweep.across)}: of the compared mode; sweep.across=null"
        if sweep.transfer:
            yield "sweep.transfer=true: of sweep.mode=compared; in the joint mode one arm has all trials"
        if not joint_space(sweep) and sweep.ranks is None:
            yield "sweep.mode=joint: sweep.scientific and sweep.nuisance have no dimension to be searched"
        return
    if not sweep.scientific and not sweep.baselines and not sweep.allocate:
        yield "sweep.scientific: an empty search space"
    if sweep.baseline_trials is not None:
        rule = "of sweep.mode=joint; arms that are compared have equal trials"
        yield f"sweep.baseline_trials={sweep.baseline_trials}: {rule}"
    for key, values in sweep.scientific.items():
        if not isinstance(values, list):
            yield (
                f"sweep.scientific.{key}: a {values.described}; arms are compared over a list of values, "
                "sweep.mode=joint searches a range"
            )


def unused(sweep: SweepConfig) -> Iterator[str]:
    """Yield an error for keys that are searched or set but reach no trial, or with another value."""
    compared = sweep.mode == "compared"
    takers = sweep.scientific or sweep.allocate
    if compared and sweep.nuisance and sweep.baselines and not takers:  # without baselines there is no arm
        yield (
            f"sweep.nuisance={json.dumps(list(sweep.nuisance))}: sweep.scientific is empty, so no arm takes these "
            "ranges; a baseline has its own, sweep.baselines.NAME.nuisance"
        )
    places = {"sweep.scientific": list(sweep.scientific), "sweep.nuisance": list(sweep.nuisance)}
    for name, arm in sweep.baselines.items():
        place, across = f"sweep.baselines.{name}", sweep.across or []
        places |= {f"{place}.set": list(arm.set), f"{place}.nuisance": list(arm.nuisance)}
        lost = [key for key in arm.set if key in arm.nuisance or key in across]
        yield from (f"{place}.set.{key}: its range or sweep.across sets it anew in every trial" for key in lost)
        yield from (
            f"{place}.nuisance.{key}: in sweep.across, too; one of them" for key in arm.nuisance if key in across
        )
    for place, keys in places.items():
        for key in keys:
            if key.partition(".")[0] in _OF_THE_STUDY:
                yield f"{place}.{key}: of the study as a whole, the same in every arm"


def confirmed_otherwise(sweep: SweepConfig) -> Iterator[str]:
    """Yield an error for keys in which confirming trials may not differ from the chosen trials of the search."""
    of_arms = _keys_of_arms(sweep)
    for key in sweep.confirm.set if sweep.confirm else ():
        place = f"sweep.confirm.set.{key}"
        if key.partition(".")[0] in _OF_EVERY_TRIAL:
            yield f"{place}: of the study as a whole, the same in every trial"
        elif own := next((other for other in of_arms if _overlap(key, other)), None):
            yield f"{place}: arms differ in {own}, or it is tuned; what is confirmed has it as in the search"


def reference_mistakes(sweep: SweepConfig) -> Iterator[str]:
    """A reference that is not among the arms that are always confirmed."""
    name = sweep.confirm.reference if sweep.confirm else None
    if name is None:
        return  # the arms may not be known yet: other mistakes are listed beside
    valid = [arm.name for arm in arms(sweep) if arm.baseline]
    valid += [method for method in sweep.allocate or {} if method not in valid]
    if name not in valid:
        known = nearest(name, valid) or (f"; valid: {', '.join(valid)}" if valid else "; there is none")
        yield f"sweep.confirm.reference={name}: no baseline{known}"


def order_mistakes(sweep: SweepConfig, task: TaskConfig) -> Iterator[str]:
    """Yield the reasons why confirming trials cannot learn the tasks in orders of their own."""
    if sweep.confirm is None or not sweep.confirm.orders:
        return
    where = "sweep.confirm.orders=true"
    if not task.in_turn:
        yield f"{where}: task={task.name} is not learned in turn, as task=continual is; set it to false"
    elif sweep.confirm.seeds > (orders := math.factorial(len(task.learned_in_turn))):
        told = f"{len(task.learned_in_turn)} tasks have {orders} orders"
        yield f"{where}: {told}, sweep.confirm.seeds={sweep.confirm.seeds}; at most {orders} seeds, or set it to false"
    if other := next((key for key in _keys_of_arms(sweep) if _overlap("task.order", key)), None):
        yield f"{where}: arms differ in {other}, and the orders are the same in every arm; set it to false"


def _overlap(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _keys_of_arms(sweep: SweepConfig) -> list[str]:
    """Return the keys that arms differ in, or tune."""
    own = [key for arm in sweep.baselines.values() for key in (*arm.set, *arm.nuisance)]
    return [*sweep.scientific, *sweep.nuisance, *own]


def corners(nuisance: Space) -> list[Point]:
    """All dimensions at their first ends, all at their last ends, and each alone at its others.

    For k ranges these are at most 2·k + 2 points. Every rule of the schema allows an interval, so what holds at the
    corners holds between them; of a choice every value is in two of the points. A dimension with a condition is put to
    its ends where it exists.
    """
    first: Point = {key: dimension.ends[0] for key, dimension in nuisance.items()}
    last: Point = {key: dimension.ends[-1] for key, dimension in nuisance.items()}
    points = [first, last]
    for base in (first, last):
        for key, dimension in nuisance.items():
            there = where(nuisance, key)
            points += [base | there | {key: value} for value in dimension.ends if there or value != base[key]]
    points = [applied(nuisance, point) for point in points]
    return [point for index, point in enumerate(points) if point not in points[:index]]


def check_objective(study: Config, trial: Config) -> None:
    """Raise ConfigError for an arm that is scored by another objective than the study compares by, or of others of a
    conversation's tokens.
    """
    scored, own = study.task.scored_tokens, trial.task.scored_tokens
    if own != scored and study.trainer.objective in _OF_TOKENS:
        raise ConfigError(
            f"task.train_on={own}: the study compares its arms by trainer.objective={study.trainer.objective} of the "
            f"tokens of task.train_on={scored}; one of them for all, or an objective of written texts, as chrf"
        )
    if trial.trainer.objective != study.trainer.objective:
        raise ConfigError(
            f"trainer.objective={trial.trainer.objective}: the study compares its arms by "
            f"trainer.objective={study.trainer.objective}; one objective for all of them"
        )


_OF_TOKENS = ("loss", "perplexity")


@dataclasses.dataclass
class ArmMistakes:
    """Mistakes by arm: each line once, with the arms that it is true of; of a key that is wrong, the first value."""

    _arms: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    _said: set[tuple[str, str]] = dataclasses.field(default_factory=set)

    def add(self, arm: str, nuisance: Space, error: ConfigError) -> None:
        """Note what is wrong with an arm at one point of its space."""
        for line in str(error).splitlines():
            key = line.partition("=")[0]
            dimension = nuisance.get(key)
            same = line if dimension else _NUMBER.sub("", line)
            same = key if dimension and dimension.has_between else same
            if (arm, same) not in self._said:
                self._said.add((arm, same))
                self._arms.setdefault(line + _reached(line, dimension), []).append(arm)

    def raise_if_any(self) -> None:
        """Raise ConfigError with all of them, if there are any."""
        if self._arms:
            raise ConfigError(*(f"arm {_named(names)}: {line}" for line, names in self._arms.items()))


def _reached(line: str, dimension: Range | Choice | None) -> str:
    if dimension is None:
        return ""
    whole = dimension.has_between and line.endswith("valid integer")
    rule = "; integer: true beside low and high has whole numbers alone" if whole else ""
    return f"; its {dimension.described} reaches it{rule}"


def _named(names: list[str]) -> str:
    shown = names if len(names) <= _NAMED else [*names[:_NAMED], f"and {len(names) - _NAMED} more"]
    return ", ".join(shown)


def is_cost(figure: str) -> bool:
    """Return whether a figure is a time or memory of training, which must be measured on a trial that trains alone."""
    return figure.startswith(("memory", "step_time", "time."))


def pack_mistakes(config: Config) -> list[str]:
    """Return the errors of a worker that trains several trials at once."""
    pack, sweep = config.launch.pack, config.sweep
    if pack == 1 or config.run not in ("study", "worker"):
        return []
    where, mistakes = f"launch.pack={pack}", []
    if config.trainer.devices > 1:
        mistakes.append(f"{where}: for trials of one device, and there are {config.trainer.devices}; launch.pack=1")
    if sweep is None:
        return mistakes
    asked: dict[str, Mapping[str, object]] = {
        "objectives": sweep.objectives or {},
        "constraints": sweep.constraints or {},
    }
    return mistakes + [
        f"{where}: sweep.{place}.{name} is measured of trials that train by themselves; launch.pack=1"
        for place, names in asked.items()
        for name in names
        if is_cost(name)
    ]
