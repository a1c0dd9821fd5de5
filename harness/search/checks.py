"""Checks of a study's sampler and pruner before anything is created, without torch."""

import itertools
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from harness.config import Config, ConfigError, SweepConfig, nearest, stored_sweep
from harness.config.arms import Arm, arms
from harness.config.layer_ranks import PREFIX
from harness.config.methods import HALVING, Method
from harness.config.space import exists, points
from harness.record import direction
from harness.record.figures import COUNTED, SHORT, figure_names, full_name
from harness.search.dry_run import STEPS, idle_pruner, try_sampler
from harness.search.methods import (
    SamplerKind,
    make_pruner,
    make_sampler,
    pruner_mistakes,
    sampler_kind,
    sampler_mistakes,
    takes,
    untaken,
)
from harness.system.study_files import RECORDS, has_begun


def check_search(config: Config) -> None:
    """Raise ConfigError with everything that is wrong with the sampler, the pruner, and what they are used for.

    Of ranks by group it is all that can be seen once their layers are known.
    """
    sweep = config.sweep
    assert sweep is not None
    if mistakes := [
        *sampler_mistakes(sweep.sampler),
        *_pruner_mistakes(sweep),
        *_objective_mistakes(config),
        *_memory_mistakes(config),
    ]:
        raise ConfigError(*mistakes)
    all_arms = arms(sweep)
    if mistakes := [
        *_unsuitable(sweep, all_arms),
        *_enqueue_mistakes(sweep, all_arms),
        *_history_mistakes(sweep),
        *_transfer_mistakes(sweep, all_arms),
        *_donor_mistakes(config),
        *_halving_mistakes(config),
    ]:
        raise ConfigError(*dict.fromkeys(mistakes))
    for arm in all_arms:
        if arm.nuisance and arm.knows_ranks:
            make_sampler(sweep.sampler, arm.nuisance, 0)
    try_sampler(config, all_arms)
    if sweep.pruner is not None and sweep.pruner["name"] not in _OWN:
        make_pruner(sweep.pruner, 1)
    if mistakes := list(idle_pruner(config, all_arms)):
        raise ConfigError(*mistakes)


_OWN = {
    "none": [],
    "dominance": ["margin"],
    "synchronous_halving": ["reduction_factor", "min_resource", "bracket"],
    "asynchronous_halving": ["reduction_factor", "min_resource"],
}
"""Pruners that are not Optuna's, and their arguments."""
_LEAST = {"reduction_factor": 2, "min_resource": 1, "bracket": 2}


def _pruner_mistakes(sweep: SweepConfig) -> Iterator[str]:
    pruner = sweep.pruner
    if pruner is None:
        return
    taken = _OWN.get(pruner["name"], [])
    if pruner["name"] not in _OWN:
        yield from pruner_mistakes(pruner)
    elif given := [key for key in pruner if key not in ("name", *taken)]:
        valid = f"; valid: {', '.join(taken)}" if taken else ""
        yield f"sweep.pruner.{given[0]}: {pruner['name']} takes no such argument{valid}"
    elif not isinstance(margin := pruner.get("margin", 0.0), int | float) or margin < 0:
        yield f"sweep.pruner.margin={margin}: a number of at least 0, in units of the score"
    for key, least in _LEAST.items() if pruner["name"] in HALVING else ():
        if key in pruner and (type(pruner[key]) is not int or pruner[key] < least):
            yield f"sweep.pruner.{key}={pruner[key]}: an integer of at least {least}"


def _halving_mistakes(config: Config) -> Iterator[str]:
    """Yield the errors for trials that wait at rungs."""
    sweep = config.sweep
    assert sweep is not None
    pruner = sweep.pruner or {"name": ""}
    if pruner["name"] not in HALVING:
        return
    where = f"sweep.pruner={pruner['name']}"
    if config.task.in_turn:
        yield f"{where}: task={config.task.name} is learned one after another, and no rung is between"
    if config.trainer.evaluations < 2:
        yield f"{where}: trainer.evaluations=1 is after the last step, and no rung is before it; 2 or more"
    if sweep.lag is not None:
        yield f"sweep.lag={sweep.lag}: {where} decides which trials run side by side; sweep.lag=null"
    if pruner["name"] == "synchronous_halving" and pruner.get("bracket", sweep.startup) < 2:
        yield f"{where}: brackets of sweep.startup={sweep.startup}; sweep.pruner.bracket says another number"
    if pruner["name"] == "asynchronous_halving" and sampler_kind(sweep.sampler).replayed:
        name = (sweep.sampler or {})["name"]
        yield f"{where}: sweep.sampler={name} makes its proposals again from the records, which come in another order"
    yield from _size_mistakes(sweep, pruner, config.trainer.max_steps)
    if pruner["name"] == "synchronous_halving":
        yield from _bracket_mistakes(config, sweep, pruner.get("bracket", sweep.startup))
    yield from _step_mistakes(sweep, where)


def _bracket_mistakes(config: Config, sweep: SweepConfig, bracket: int) -> Iterator[str]:
    """Numbers of trials that end within a bracket: it would be decided, and more trials would open it again."""
    folder = Path(config.results) / config.study
    before = stored_sweep(folder) if has_begun(folder) else {}
    counts = {"trials": (sweep.trials, before.get("trials"))}
    if sweep.baseline_trials is not None:
        counts["baseline_trials"] = (sweep.baseline_trials, before.get("baseline_trials") or before.get("trials"))
    for key, (count, was) in counts.items():
        if count == was:
            continue
        if was is not None and was % bracket:
            back = "set it back, or give the study another name"
            yield f"sweep.{key}={count}: the last bracket of the {was} trials so far has {was % bracket}; {back}"
        elif left := count % bracket:
            full = " or ".join(str(number) for number in (count - left, count - left + bracket) if number)
            yield f"sweep.{key}={count}: the last bracket would have {left} trials of {bracket}; {full}"


def _size_mistakes(sweep: SweepConfig, pruner: Method, steps: int | None) -> Iterator[str]:
    """Rungs that no trial comes to, and brackets that nothing follows."""
    first, bracket = pruner.get("min_resource", 1), pruner.get("bracket", 0)
    bounds: list[int | None] = [arm.values.get("trainer.max_steps", steps) for arm in arms(sweep)]
    short = [bound for bound in bounds if bound is not None and bound <= first]
    if short and len(short) == len(bounds):
        yield f"sweep.pruner.min_resource={first}: not below trainer.max_steps={max(short)}: no trial comes to a rung"
    if bracket >= sweep.trials and sampler_kind(sweep.sampler).learns:
        name = (sweep.sampler or {"name": "tpe"})["name"]
        yield (
            f"sweep.pruner.bracket={bracket}: not below sweep.trials={sweep.trials}, so that "
            f"sweep.sampler={name} would propose nothing; a smaller one, or sweep.sampler=random"
        )


def _step_mistakes(sweep: SweepConfig, where: str) -> Iterator[str]:
    """Dimensions by which trials of one arm are scored at different steps."""
    for arm in arms(sweep):
        for key in (f"trainer.{name}" for name in STEPS if f"trainer.{name}" in arm.nuisance):
            yield f"{where}: {key} is searched, and trials of a rung would be scored at different steps; give one value"
        variants = arm.nuisance.get("lora.variant")
        if variants is not None and variants.holds("adalora"):
            yield f"{where}: lora.variant is searched with adalora, which is scored from a later step on; without it"


_ABOVE_0 = ("parameters.trainable", "parameters.total", "memory.", "time.", "flops.", "merge.latency", "adapter.bytes")
"""Figures, or beginnings of figures, that every trial has above 0."""


def _objective_mistakes(config: Config) -> Iterator[str]:
    """Yield the errors in objectives and constraints, and in a pruner or a sampler with several objectives."""
    sweep = config.sweep
    assert sweep is not None
    objectives, valid, possible = sweep.objectives or {}, figure_names(), config.task.objectives
    for place, names in (("objectives", objectives), ("constraints", sweep.constraints or {})):
        for name in names:
            if name not in valid and not name.startswith("val."):
                near = nearest(name, valid) or f"; valid: {', '.join(['val', 'val.METRIC', *SHORT, 'forgetting'])}"
                unread = " (no choice reads test)" if name.startswith("test") else ""
                yield f"sweep.{place}.{name}: no figure of a record{unread}{near}"
            elif name.startswith("val.") and possible and name[4:] not in possible:
                near = nearest(name[4:], possible) or f"; valid: {', '.join(possible)}"
                yield f"sweep.{place}.{name}: task={config.task.name} has no such score{near}"
            elif why := _unreachable(config, name):
                yield f"sweep.{place}.{name}: no trial has it: {why}"
    for name, bound in (sweep.constraints or {}).items():
        if full_name(name).startswith(_ABOVE_0) and bound <= 0:
            yield f"sweep.constraints.{name}={bound:g}: always above 0, so that no trial keeps it"
    for name, way in objectives.items():
        up = direction(name[4:] or config.trainer.objective) > 0
        if name.partition(".")[0] == "val" and way != ("maximize" if up else "minimize"):
            whose = f" of trainer.objective={config.trainer.objective}" if name == "val" else ""
            yield f"sweep.objectives.{name}={way}:{whose} {'more' if up else 'less'} is better"
    if list(objectives) not in ([], ["val"]):
        yield from _beside_objectives(sweep)
    elif sweep.pruner is not None and sweep.pruner["name"] == "dominance":
        yield "sweep.pruner=dominance: needs sweep.objectives of a score and a cost"


def _unreachable(config: Config, name: str) -> str | None:
    """Return why no trial of the study reaches a figure, as far as that is known before one has run."""
    assert config.sweep is not None
    varied = {key.partition(".")[0] for arm in arms(config.sweep) for key in (*arm.values, *arm.nuisance)}
    if name == "forgetting" and not config.task.in_turn and "task" not in varied:
        return f"task={config.task.name} is not learned one after another"
    if name.startswith("probe.") and config.probe is None and "probe" not in varied:
        return "probe=null"
    return None


def _beside_objectives(sweep: SweepConfig) -> Iterator[str]:
    objectives, pruner = sweep.objectives or {}, sweep.pruner
    costs = [name for name in objectives if name != "val"]
    unknown = [name for name in costs if full_name(name) not in COUNTED]
    if pruner is None and sweep.prune_after is not None:
        yield (
            f"sweep.prune_after={sweep.prune_after}: judges by the score alone, and a trial below the median may be "
            "the cheapest; sweep.prune_after=null, or sweep.pruner=dominance"
        )
    elif pruner is not None and pruner["name"] not in ("none", "dominance"):
        yield f"sweep.pruner={pruner['name']}: judges by one value, and sweep.objectives has others; dominance, none"
    elif pruner is not None and pruner["name"] == "dominance" and ("val" not in objectives or unknown or not costs):
        why = f"{unknown[0]} is known only when a trial has ended" if unknown else "val and a cost must be objectives"
        yield f"sweep.pruner=dominance: {why}; costs known before that are {', '.join(_counted())}"
    if len(objectives) > 1 and sweep.sampler is not None and not sampler_kind(sweep.sampler).objectives:
        yield f"sweep.sampler={sweep.sampler['name']}: takes one objective; tpe, gp, nsgaii and nsgaiii take several"


def _counted() -> list[str]:
    return [name for name, stands_for in SHORT.items() if stands_for in COUNTED]


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
    if sweep.constraints and not kind.constraints:
        yield f"{where}: proposes as if there were no sweep.constraints; tpe, gp, nsgaii and nsgaiii heed them"
    population = sweep.sampler.get("population_size", 50) if where.endswith(("nsgaii", "nsgaiii")) else 0
    if sweep.trials <= population:
        yield (
            f"{where}: the first {population} trials of an arm (population_size) are random, and sweep.trials="
            f"{sweep.trials} is not above that; fewer, as in 'sweep.sampler={{name: {sweep.sampler['name']}, "
            f"population_size: {max(2, sweep.trials // 4)}}}'"
        )
    for arm in all_arms:
        if arm.nuisance and arm.knows_ranks:
            yield from _of_space(where, kind, arm, sweep.trials)
    tuned = [arm for arm in all_arms if arm.nuisance]
    if tuned and all(arm.baseline for arm in all_arms) and not any(takes(kind, arm) for arm in tuned):
        yield f"{where}: takes the dimensions of no arm, whose trials would all be drawn evenly; tpe takes them"


def _enqueue_mistakes(sweep: SweepConfig, all_arms: list[Arm]) -> Iterator[str]:
    """Yield an error for enqueued values that are no dimension of an arm, or outside its range."""
    points_given = sweep.enqueue or []
    if points_given and sweep.sampler is not None and sweep.sampler["name"] in ("grid", "qmc"):
        own = "has points of its own from the first; sweep.enqueue=null"
        yield f"sweep.enqueue: sweep.sampler={sweep.sampler['name']} {own}"
    if len(points_given) > sweep.trials:
        yield f"sweep.enqueue: {len(points_given)} points, above sweep.trials={sweep.trials}"
    searched = [arm for arm in all_arms if not arm.baseline]
    for place, point in enumerate(points_given):
        for key, value in point.items():
            where = f"sweep.enqueue.{place}.{key}={value}"
            takers = [arm for arm in searched if key in arm.nuisance]
            valid = list(dict.fromkeys(key for arm in searched for key in arm.nuisance))
            later = key.startswith(PREFIX) and not all(arm.knows_ranks for arm in searched)
            if not takers and not later:
                yield f"{where}: no dimension{nearest(key, valid) or f'; valid: {chr(44).join(valid)}'}"
            for arm in takers:
                dimension = arm.nuisance[key]
                if not dimension.holds(value):
                    yield f"{where}: not in its {dimension.described}; another value, or sweep.enqueue=null"
                elif not exists(dimension, point):
                    needed = ", ".join(f"{other}={wanted}" for other, wanted in (dimension.when or {}).items())
                    yield f"{where}: exists only with {needed}, which this point must have, too"


def _history_mistakes(sweep: SweepConfig) -> Iterator[str]:
    """Yield the errors in the studies to learn from, as far as they are known without reading them."""
    sources = sweep.history or []
    kind = sampler_kind(sweep.sampler)
    if sources and not (kind.learns and kind.history):
        yield f"sweep.history: {_learns_alone(sweep)} other studies"
    for source in dict.fromkeys(sources):
        if sources.count(source) > 1:
            yield f"sweep.history={source}: named more than once"
        if source.startswith("optuna:") and not all(source.removeprefix("optuna:").rpartition("#")):
            yield f"sweep.history={source}: no study is named; optuna:ADDRESS#NAME"
    given = sweep.history_keys or {}
    if given and not any(source.startswith("optuna:") for source in sources):
        yield "sweep.history_keys: says what parameters of optuna:ADDRESS#NAME are, and sweep.history names none"
    searched = list(dict.fromkeys(key for arm in arms(sweep) for key in (*arm.values, *arm.nuisance)))
    for name, key in given.items() if sweep.ranks is None else ():  # whose keys are known with the layers
        if key not in searched:
            valid = nearest(key, searched) or f"; valid: {', '.join(searched)}"
            yield f"sweep.history_keys.{name}={key}: not searched here{valid}"


def _learns_alone(sweep: SweepConfig) -> str:
    """Return the error for a sampler that cannot learn from trials that it did not propose."""
    name = (sweep.sampler or {"name": "tpe"})["name"]
    why = "learns from its own trials alone" if sampler_kind(sweep.sampler).learns else "does not learn from trials"
    return f"sweep.sampler={name} {why}; tpe and gp learn from those of"


def _transfer_mistakes(sweep: SweepConfig, all_arms: list[Arm]) -> Iterator[str]:
    """Yield the reasons why arms cannot learn from one another."""
    if not sweep.transfer:
        return
    kind = sampler_kind(sweep.sampler)
    if kind.replayed or not kind.learns:
        yield f"sweep.transfer=true: {_learns_alone(sweep)} neighbours"
    if several := [key for key in (*(sweep.objectives or {}), *(sweep.constraints or {})) if key != "val"]:
        yield f"sweep.transfer=true: {several[0]} is an arm's own figure; arms learn the validation score from others"
    if sum(arm.transfer for arm in all_arms) < 2:
        yield "sweep.transfer=true: fewer than two arms are compared, baselines aside, so that none has a neighbour"
    if any(arm.hasty for arm in all_arms):
        yield "sweep.transfer=true: under sweep.pruner=asynchronous_halving no arm waits; synchronous_halving"


def _donor_mistakes(config: Config) -> Iterator[str]:
    """The studies whose trials are read that are not there; of data that may be replaced, their names may change."""
    assert config.sweep is not None
    if has_begun(Path(config.results) / config.study):
        return  # its ranks are in its configuration
    for method, study in (config.sweep.allocate or {}).items():
        if study and config.task.fallback is None and not (Path(config.results) / study / RECORDS).exists():
            yield f"sweep.allocate.{method}={study}: no such study in {config.results}; run it first"


def _of_space(where: str, kind: SamplerKind, arm: Arm, trials: int) -> Iterator[str]:
    """Yield the dimensions of an arm that a sampler does not support; a baseline is drawn uniformly then."""
    space, why = arm.nuisance, list(untaken(kind, arm))
    if arm.baseline and why:
        return
    yield from (f"{where}: {each}" for each in why)
    countable = all(dimension.values is not None for dimension in space.values())
    if not kind.continuous and countable:
        count = sum(1 for _ in itertools.islice(points(space), trials))
        if count < trials:
            yield f"sweep.trials={trials}: {where} has {count} points in arm {arm.name}; sweep.trials={count}"


def _memory_mistakes(config: Config) -> Iterator[str]:
    """Yield an error if a budget of bytes counts the state of another optimiser than the one that trains."""
    budget, optimizer = config.sweep.budget if config.sweep else None, config.optimizer
    own = optimizer.name in ("AdamW", "Adam") and not (optimizer.arguments or {}).get("amsgrad")
    if budget is not None and budget.memory is not None and not own:
        state = f"optimizer.name={optimizer.name}" + (" with amsgrad" if optimizer.name in ("AdamW", "Adam") else "")
        yield f"sweep.budget.memory={budget.memory}: counts AdamW's two moments, and {state} holds others"
