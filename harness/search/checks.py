"""What is refused of a study's sampler and pruner before anything is created, without torch."""

import itertools
from collections.abc import Iterator
from importlib.util import find_spec

from harness.config import Choice, Config, ConfigError, SweepConfig
from harness.config.arms import Arm, arms
from harness.config.space import points
from harness.search.methods import (
    SamplerKind,
    make_pruner,
    make_sampler,
    pruner_mistakes,
    sampler_kind,
    sampler_mistakes,
)


def check_search(config: Config) -> None:
    """Raise ConfigError with everything that is wrong with the sampler, the pruner, and what they are used for."""
    sweep = config.sweep
    assert sweep is not None
    if mistakes := [*sampler_mistakes(sweep.sampler), *_pruner_mistakes(sweep)]:
        raise ConfigError(*mistakes)
    all_arms = arms(sweep)
    if mistakes := [*_unsuitable(sweep, all_arms)]:
        raise ConfigError(*dict.fromkeys(mistakes))
    for arm in all_arms:
        if arm.nuisance:
            make_sampler(sweep.sampler, arm.nuisance, 0)
    if sweep.pruner is not None and sweep.pruner["name"] not in _OWN:
        make_pruner(sweep.pruner, 1)


_OWN = ("none", "dominance")
"""Pruners that are not Optuna's."""


def _pruner_mistakes(sweep: SweepConfig) -> Iterator[str]:
    pruner = sweep.pruner
    if pruner is None:
        return
    if pruner["name"] not in _OWN:
        yield from pruner_mistakes(pruner)
    elif given := [key for key in pruner if key != "name"]:
        yield f"sweep.pruner.{given[0]}: {pruner['name']} takes no arguments"


def _unsuitable(sweep: SweepConfig, all_arms: list[Arm]) -> Iterator[str]:
    """A line for each way in which the sampler does not suit the sweep."""
    if sweep.sampler is None:
        return
    kind, where = sampler_kind(sweep.sampler), f"sweep.sampler={sweep.sampler['name']}"
    if kind.package is not None and find_spec(kind.package) is None:
        yield f"{where}: needs the package {kind.package}, which is not installed: pip install {kind.package}"
    if kind.learns and sweep.startup >= sweep.trials:
        yield (
            f"sweep.startup={sweep.startup}: not below sweep.trials={sweep.trials}, so that {where} would propose "
            "nothing"
        )
    population = sweep.sampler.get("population_size", 50) if where.endswith(("nsgaii", "nsgaiii")) else 0
    if sweep.trials <= population:
        yield (
            f"{where}: the first {population} trials of an arm (population_size) are random, and sweep.trials="
            f"{sweep.trials} is not above that; fewer, as in 'sweep.sampler={{name: {sweep.sampler['name']}, "
            f"population_size: {max(2, sweep.trials // 4)}}}'"
        )
    for arm in all_arms:
        if arm.nuisance:
            yield from _of_space(where, kind, arm, sweep.trials)


def _of_space(where: str, kind: SamplerKind, arm: Arm, trials: int) -> Iterator[str]:
    """What a sampler cannot take of an arm's dimensions."""
    space = arm.nuisance
    for key, dimension in space.items():
        if dimension.when is not None and not kind.conditions:
            yield f"{where}: takes no conditional dimension, and {key} is one; tpe, random and nsgaii do"
        if isinstance(dimension, Choice) and not kind.choices:
            yield f"{where}: takes numbers alone, and {key} is a {dimension.described}"
        if dimension.values is None and not kind.continuous:
            yield f"{where}: {key} is a {dimension.described} without end; give it a step, integer: true, or choices"
    countable = all(dimension.values is not None for dimension in space.values())
    if not kind.continuous and countable:
        count = sum(1 for _ in itertools.islice(points(space), trials))
        if count < trials:
            yield f"sweep.trials={trials}: {where} has {count} points in arm {arm.name}; sweep.trials={count}"
    if kind.package == "cmaes" and len(space) < 2:
        yield f"{where}: needs two dimensions, and arm {arm.name} has {len(space)}"
