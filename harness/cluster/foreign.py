"""A study in a storage of Optuna's that another program made, as history of a search: `optuna:ADDRESS#NAME`."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url

from harness.cluster.connection import FAILURES
from harness.cluster.optuna_storage import close_storage
from harness.config import Config, ConfigError, nearest, to_dict
from harness.config.arms import Arm, arms
from harness.config.tree import leaves
from harness.search.history import PastTrial
from harness.search.plan import SearchPlan
from harness.system.redaction import redact, remember

FOREIGN = "optuna:"
_TIMEOUT_S = 5
_FAILURES = (*FAILURES, OptunaError)


@dataclasses.dataclass(frozen=True)
class _Study:
    """The contents read from a study: the trials are complete ones, `said` its attributes."""

    directions: list[StudyDirection]
    names: list[str] | None
    said: dict[str, Any]
    trials: list[FrozenTrial]


def foreign_trials(config: Config, source: str) -> list[PastTrial]:
    """The complete trials of a study of Optuna's, their parameters under the keys that they name here.

    A parameter is the key that sweep.history_keys says; else a key where it has its whole name, or where it is the last
    word of one key of the search alone. Nothing is written to the storage. Raises ConfigError where it cannot be read
    or is of another objective.
    """
    address, _, name = source.removeprefix(FOREIGN).rpartition("#")
    remember(address)
    where = f"sweep.history={redact(source)}"
    study = _read(where, address, name)
    if mistake := _mismatch(study, config):
        raise ConfigError(f"{where}: {mistake}")
    searched = [trial for trial in study.trials if trial.user_attrs.get("phase", "search") == "search"]
    keys = _keys(config, {name for trial in searched for name in trial.params})
    all_arms = arms(config.sweep) if config.sweep is not None else []
    return [_past(redact(source), trial, keys, all_arms) for trial in searched]


def _past(source: str, trial: FrozenTrial, keys: Mapping[str, str], all_arms: Sequence[Arm]) -> PastTrial:
    named = {keys[name]: value for name, value in trial.params.items() if name in keys}
    found = {key: _value(key, value, all_arms) for key, value in named.items()}
    return PastTrial(
        source=source,
        number=trial.number,
        values=[float(value) for value in trial.values],
        settings=found,
        varied=frozenset(found),
        foreign=True,
        unnamed=tuple(name for name in trial.params if name not in keys),
    )


def _value(key: str, value: Any, all_arms: Sequence[Arm]) -> Any:
    """A value as the search has it: a text that no arm has is read as what it spells, a number or a list."""
    known = (arm.nuisance[key].holds(value) for arm in all_arms if key in arm.nuisance)
    if not isinstance(value, str) or any(known) or any(arm.values.get(key) == value for arm in all_arms):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _read(where: str, address: str, name: str) -> _Study:
    try:
        with _closing(_open(where, address)) as storage:
            names = sorted(study.study_name for study in storage.get_all_studies())
            if name not in names:
                valid = f"; studies there: {', '.join(names) or 'none'}"
                raise ConfigError(f"{where}: no such study there{nearest(name, names) or valid}")
            found = optuna.load_study(study_name=name, storage=storage)
            complete = found.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            return _Study(found.directions, found.metric_names, found.user_attrs, complete)
    except _FAILURES as error:
        reason = redact(" ".join(str(error.__cause__ or error).split()))[:200]
        raise ConfigError(f"{where}: cannot be read: {reason}") from None


@contextmanager
def _closing(storage: BaseStorage) -> Iterator[BaseStorage]:
    """Close the storage in the end."""
    try:
        yield storage
    finally:
        close_storage(storage)


def _open(where: str, address: str) -> BaseStorage:
    """The storage as it is: a file that is not there is not made, and no table either."""
    if "://" not in address:
        if not Path(address).is_file():
            raise ConfigError(f"{where}: {address}: no such file")
        return JournalStorage(JournalFileBackend(address))
    url = make_url(address)
    kind, driver = url.get_backend_name(), url.drivername.partition("+")[2]
    if kind == "sqlite" and not Path(url.database or "").is_file():
        raise ConfigError(f"{where}: {url.database}: no such file")
    options: dict[str, Any] = {}
    if kind == "postgresql":
        options = {"connect_args": {"connect_timeout": _TIMEOUT_S}}
        if not driver and find_spec("psycopg2") is None:
            url = url.set(drivername="postgresql+psycopg")
    full = url.render_as_string(hide_password=False)
    return RDBStorage(full, engine_kwargs=options, skip_table_creation=True)


def _mismatch(study: _Study, config: Config) -> str | None:
    """Return why its values are not comparable with this study's; None if they are."""
    plan = SearchPlan.of(config)
    if study.directions != plan.directions:
        shown = [", ".join(way.name.lower() for way in ways) for ways in (study.directions, plan.directions)]
        return f"its objectives are to {shown[0]}, here to {shown[1]}"
    if study.said.get("task", config.task.name) != config.task.name:
        return f"its trials are of task={study.said['task']}, here task={config.task.name}"
    if study.names is not None and _short(study.names) != _short(plan.names):
        return f"its objectives are called {', '.join(study.names)}, here {', '.join(plan.names)}"
    if plan.constraints:
        return "it does not say sweep.constraints of its trials; sweep.constraints=null"
    return None


def _short(names: Sequence[str]) -> list[str]:
    return [name.removeprefix("val ") for name in names]


def _keys(config: Config, names: Iterable[str]) -> dict[str, str]:
    """The key here of each parameter that has one."""
    assert config.sweep is not None
    searched = {key for arm in arms(config.sweep) for key in (*leaves(arm.values), *arm.nuisance)}
    known, found = searched | set(leaves(to_dict(config))), dict(config.sweep.history_keys or {})
    for name in (name for name in names if name not in found):
        ends = [key for key in searched if key.rpartition(".")[2] == name or key.replace(".", "_") == name]
        if name in known or len(ends) == 1:
            found[name] = name if name in known else ends[0]
    return found
