"""Optuna's samplers and pruners by name: the arguments that each takes, and how it is made.

Nothing here imports torch: a sweep is refused before that.
"""

import dataclasses
import inspect
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from harness.config import ConfigError, nearest
from harness.config.arms import Arm
from harness.config.guests import load_guest
from harness.config.methods import PRUNERS as PRUNER_NAMES
from harness.config.methods import method_mistakes
from harness.config.space import Choice, Space
from harness.search.space import encoded

# Optuna announces each study and trial by default; the display does that.
optuna.logging.set_verbosity(optuna.logging.WARNING)
logging.getLogger("optuna._gp").setLevel(logging.ERROR)  # that greenlet would make it faster

Arguments = Mapping[str, Any]
T = TypeVar("T")

_SEED = {"seed": "the study's seed decides it"}
_LEARNS = _SEED | {"n_startup_trials": "sweep.startup says it", "constraints_func": "sweep.constraints says it"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerKind:
    """A sampler: its class, the arguments that are set here and by what, and which spaces it takes."""

    kind: type[BaseSampler]
    ours: Mapping[str, str] = dataclasses.field(default_factory=lambda: _SEED)
    learns: bool = True
    """Whether it proposes from scores, so that the first `sweep.startup` points are given to it."""
    replayed: bool = False
    """Whether it keeps its state in the study, which then is made again trial by trial."""
    conditions: bool = True
    choices: bool = True
    objectives: bool = True
    continuous: bool = True
    package: str | None = None
    least: int = 1
    """How many dimensions it needs."""
    history: bool = True
    """Whether it learns from trials that it did not propose itself."""
    constraints: bool = True
    """Whether it keeps away from what breaks them, where it learns at all."""


SAMPLERS: Mapping[str, SamplerKind] = {
    "tpe": SamplerKind(kind=optuna.samplers.TPESampler, ours=_LEARNS),
    "gp": SamplerKind(kind=optuna.samplers.GPSampler, ours=_LEARNS, conditions=False, package="scipy"),
    "cmaes": SamplerKind(
        kind=optuna.samplers.CmaEsSampler,
        ours=_LEARNS,
        replayed=True,
        conditions=False,
        choices=False,
        objectives=False,
        package="cmaes",
        least=2,
        history=False,
        constraints=False,
    ),
    "nsgaii": SamplerKind(kind=optuna.samplers.NSGAIISampler, ours=_LEARNS, replayed=True, history=False),
    "nsgaiii": SamplerKind(kind=optuna.samplers.NSGAIIISampler, ours=_LEARNS, replayed=True, history=False),
    "random": SamplerKind(kind=optuna.samplers.RandomSampler, learns=False),
    "qmc": SamplerKind(kind=optuna.samplers.QMCSampler, learns=False, replayed=True, conditions=False, package="scipy"),
    "grid": SamplerKind(
        kind=optuna.samplers.GridSampler,
        ours=_SEED | {"search_space": "the sweep's dimensions are the grid"},
        learns=False,
        conditions=False,
        continuous=False,
    ),
    "brute_force": SamplerKind(kind=optuna.samplers.BruteForceSampler, learns=False, continuous=False),
}

PRUNERS: Mapping[str, type[BasePruner]] = {
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
    "patient": optuna.pruners.PatientPruner,
    "threshold": optuna.pruners.ThresholdPruner,
}

_FIRST_RUNG = ("successive_halving", "hyperband")
"""Pruners whose `min_resource` is the step of a trial's first evaluation, unless it is given."""


@contextmanager
def experimental_allowed() -> Iterator[None]:
    """Inside, Optuna does not warn of what it calls experimental: what is used of that is tested here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def sampler_kind(method: Arguments | None) -> SamplerKind:
    """The kind of a sampler; of the user's own, that of one that learns and keeps its state in the study."""
    name = (method or {"name": "tpe"})["name"]
    if name in SAMPLERS:
        return SAMPLERS[name]
    kind = load_guest("sweep.sampler", name, BaseSampler)  # type: ignore[type-abstract]
    return SamplerKind(kind=kind, replayed=True)


def takes(kind: SamplerKind, arm: Arm) -> bool:
    """Return whether a sampler can propose points of an arm. If it cannot for a baseline, they are drawn uniformly."""
    return not any(untaken(kind, arm))


def untaken(kind: SamplerKind, arm: Arm) -> Iterator[str]:
    """Yield the reasons why a sampler cannot propose points of an arm."""
    for key, dimension in arm.nuisance.items():
        if dimension.when is not None and not kind.conditions:
            yield f"takes no conditional dimension, and {key} is one; tpe, random and nsgaii do"
        if isinstance(dimension, Choice) and not kind.choices:
            yield f"takes numbers alone, and {key} is a {dimension.described}"
        if dimension.values is None and not kind.continuous:
            yield f"{key} is a {dimension.described} without end; give it a step, integer: true, or choices"
    if (count := len(arm.nuisance)) < kind.least:
        yield f"needs two dimensions, and arm {arm.name} has {count}; tpe and gp take one"


def make_sampler(method: Arguments | None, space: Space, seed: int) -> BaseSampler:
    """A sampler with its arguments and its seed. Raises ConfigError where Optuna refuses the arguments."""
    kind, given = sampler_kind(method), _given(method)
    own: dict[str, Any] = {"seed": seed}
    if "n_startup_trials" in kind.ours and _takes(kind.kind, "n_startup_trials"):
        own["n_startup_trials"] = 1
    if "search_space" in kind.ours:
        own["search_space"] = {key: list(map(encoded, each.values or ())) for key, each in space.items()}
    if not kind.conditions:  # the first trials have no model yet, which is no reason to warn
        own["warn_independent_sampling"] = False
    return _make("sweep.sampler", kind.kind, {key: own[key] for key in own if _takes(kind.kind, key)} | given)


def make_pruner(
    method: Arguments, first_step: int, key: str = "sweep.pruner", *, after: int | None = None
) -> BasePruner:
    """A pruner with its arguments. Raises ConfigError where Optuna refuses them.

    Those that wait for so many complete trials wait for `after`, which is sweep.prune_after. Halving begins at
    `first_step`, the step of a trial's first evaluation: with Optuna's own first rung, at step 1 or a hundredth of the
    whole, one evaluation would decide about several rungs at once.
    """
    name, given = method["name"], _given(method)
    if name in _FIRST_RUNG:
        given = {"min_resource": first_step} | given
    if after is not None and name in PRUNERS and _takes(PRUNERS[name], "n_startup_trials"):
        given = {"n_startup_trials": after} | given
    if name == "patient":
        wrapped = given.pop("wrapped_pruner", None)
        inner = {"name": wrapped} if isinstance(wrapped, str) else wrapped
        given["wrapped_pruner"] = inner and make_pruner(inner, first_step, f"{key}.wrapped_pruner", after=after)
    return _make(key, pruner_kind(name, key), given)


def pruner_kind(name: str, key: str = "sweep.pruner") -> type[BasePruner]:
    """The class of a pruner. Raises ConfigError where a dotted path leads to none."""
    return PRUNERS[name] if name in PRUNERS else load_guest(key, name, BasePruner)  # type: ignore[type-abstract]


def notes_rungs(method: Arguments) -> bool:
    """Return whether a pruner notes in the study which rungs a trial has passed, or may wrap one that does."""
    return method["name"] not in PRUNERS or method["name"] in (*_FIRST_RUNG, "patient")


def sampler_mistakes(method: Arguments | None) -> Iterator[str]:
    """Yield the errors in the arguments of a sampler."""
    if method is not None:
        kind = sampler_kind(method)
        yield from _argument_mistakes("sweep.sampler", kind.kind, _given(method), kind.ours)
        if not _takes(kind.kind, "seed") and method["name"] not in SAMPLERS:
            yield f"sweep.sampler={method['name']}: its class has no argument seed, so it could not be repeated"


def pruner_mistakes(method: Arguments, key: str = "sweep.pruner") -> Iterator[str]:
    """Yield the errors in the arguments of a pruner, and of one that it wraps."""
    given = _given(method)
    wrapped = given.pop("wrapped_pruner", None) if method["name"] == "patient" else None
    yield from _argument_mistakes(key, pruner_kind(method["name"], key), given, {}, wrapped=("wrapped_pruner",))
    if wrapped is not None:
        inner = {"name": wrapped} if isinstance(wrapped, str) else wrapped
        where = f"{key}.wrapped_pruner"
        known = tuple(name for name in PRUNER_NAMES if name in PRUNERS)
        named = method_mistakes(where, inner, known) if isinstance(inner, dict) else [f"{where}={wrapped}: a pruner"]
        yield from named or pruner_mistakes(inner, where)


def _given(method: Arguments | None) -> dict[str, Any]:
    return {key: value for key, value in (method or {}).items() if key != "name"}


def _takes(kind: type, argument: str) -> bool:
    return argument in inspect.signature(kind).parameters


_SCALARS = {"int": int, "float": float, "bool": bool, "str": str}


def _argument_mistakes(
    key: str, kind: type, given: Arguments, ours: Mapping[str, str], wrapped: Sequence[str] = ()
) -> Iterator[str]:
    taken = {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if name not in ours and name not in wrapped and _scalars(parameter) != set()
    }
    for name, value in given.items():
        where = f"{key}.{name}={_shown(value)}"
        if name in ours:
            yield f"{where}: not to be set; {ours[name]}"
        elif name not in inspect.signature(kind).parameters:
            valid = f"; valid: {', '.join(taken)}" if taken else "; it takes none"
            yield f"{where}: {kind.__name__} takes no such argument{nearest(name, taken) or valid}"
        elif name not in taken:
            yield f"{where}: takes an object of Python's; write a class of your own, package.module:Name"
        elif (kinds := _scalars(taken[name])) is not None and not _is_one_of(value, kinds):
            yield f"{where}: {kind.__name__} takes {taken[name].annotation} here"


def _scalars(parameter: inspect.Parameter) -> set[str] | None:
    """The plain types that an argument may have, empty where it has none; None where its class does not say."""
    if parameter.annotation is parameter.empty:
        return None
    said = parameter.annotation if isinstance(parameter.annotation, str) else parameter.annotation.__name__
    parts = {part.strip() for part in re.sub(r"\[.*\]", "", said).split("|")}
    return parts & {*_SCALARS, "None"} if parts & set(_SCALARS) else set()


def _is_one_of(value: Any, kinds: set[str]) -> bool:
    if value is None:
        return "None" in kinds
    if isinstance(value, bool):
        return "bool" in kinds
    allowed = tuple(_SCALARS[kind] for kind in kinds if kind in _SCALARS and kind != "bool")
    return isinstance(value, allowed) or (isinstance(value, int) and "float" in kinds)


def _make(key: str, kind: type[T], arguments: Arguments) -> T:
    try:
        with experimental_allowed():
            return kind(**arguments)
    except (TypeError, ValueError) as error:
        said = " ".join(str(error).split()).replace(f"{kind.__name__}.__init__() ", "")
        raise ConfigError(f"{key}: {kind.__name__}: {said}") from None


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
