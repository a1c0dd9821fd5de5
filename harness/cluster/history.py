"""`sweep.history`: studies that a search learns from, read once and sealed in the study's folder.

A source is the name of a study under `results`, the path of a study's folder, or `optuna:ADDRESS#NAME`, a study in a
storage of Optuna's.
"""

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import record
from harness.cluster.foreign import FOREIGN, foreign_trials
from harness.cluster.heartbeat import HeartbeatMonitor
from harness.cluster.locks import Locks
from harness.cluster.study_folder import load_study
from harness.config import Config, ConfigError, apply_overrides, to_dict
from harness.config.arms import arm_of, arms
from harness.config.tree import OF_COMMANDS, leaves
from harness.record import Record
from harness.search.history import LAYERS, History, PastTrial, known_of, placed, summary, to_tree
from harness.search.plan import Known, SearchPlan
from harness.system.jsonl import replace_text
from harness.system.redaction import redact, redact_tree
from harness.system.study_files import HISTORY, has_begun

log = logging.getLogger(__name__)

_NOT_OF_A_TRIAL = (
    *("run", "study", "results", "seed", "tracking", "launch", "sweep", "arguments", "trainer.threads"),
    *OF_COMMANDS,
)
_SHOWN = 4
"""Keys that differ, in a line."""


def read_history(config: Config) -> History | None:
    """The history of a study that is to be begun; None where it has none, or where its trials have begun with it.

    Raises ConfigError for a source that cannot be read, and for one none of whose trials an arm can learn from.
    """
    sweep = config.sweep
    if sweep is None or not sweep.history or has_begun(Path(config.results) / config.study):
        return None
    past: list[PastTrial] = []
    said: list[str] = []
    for source in sweep.history:
        past += foreign_trials(config, source) if source.startswith(FOREIGN) else _own_trials(config, source, said)
    if sweep.ranks is not None and sweep.ranks.layers is None:
        return None  # the dimensions are not known yet
    found = placed(config, past)
    for source in map(redact, sweep.history):
        told = summary(found, source) + _unnamed(past, source)
        if not any(trial.source == source for _, trial, _ in found.taken):
            raise ConfigError(f"sweep.history={source}: {told}; nothing that this search could learn from")
        said.append(f"{source}: {told}")
    return dataclasses.replace(found, said=said)


def _unnamed(past: Sequence[PastTrial], source: str) -> str:
    """The parameters of a foreign study that are no key here."""
    names = sorted({name for trial in past if trial.source == source for name in trial.unnamed})
    return f"; sweep.history_keys={{{names[0]}: KEY}} says what a parameter is: {', '.join(names)}" if names else ""


def seal_history(history: History | None, config: Config, folder: Path, locks: Locks) -> None:
    """Write what `read_history` found into the folder of the study, and log it; an earlier file is replaced.

    What a worker may have read stays. Call it under the study's lock.
    """
    assert config.sweep is not None
    if has_begun(folder):
        return
    if (folder / HISTORY).exists() and HeartbeatMonitor(folder, locks, config.launch.lease_s).workers():
        log.info("history: stays as it was read before: a worker has it")
        return
    if history is not None:
        for line in history.said:
            log.info("history: %s", line)
        replace_text(folder / HISTORY, json.dumps(redact_tree(to_tree(history)), indent=1) + "\n")
    elif not config.sweep.history:
        (folder / HISTORY).unlink(missing_ok=True)


def sealed_history(folder: Path, sources: Sequence[str] | None = None) -> dict[str, list[Known]]:
    """The history of a study that was begun, by the name of the arm that learns from it.

    Raises ConfigError where there is none of its `sources`.
    """
    path = folder / HISTORY
    if path.exists():
        return known_of(json.loads(path.read_text()))
    if sources:
        raise ConfigError(
            f"sweep.history: {path} is missing; run=study writes it where no trial was begun, else put it back or give "
            "the study another name"
        )
    return {}


def _own_trials(config: Config, source: str, said: list[str]) -> list[PastTrial]:
    """The complete trials of the search of a study of this program."""
    folder = Path(source) if "/" in source else Path(config.results) / source
    try:
        earlier = load_study(str(folder.parent), folder.name)
    except ConfigError as error:
        raise ConfigError(f"sweep.history={source}: {error}") from None
    if earlier.sweep is None or folder.resolve() == (Path(config.results) / config.study).resolve():
        raise ConfigError(f"sweep.history={source}: {'it has no search' if earlier.sweep is None else 'itself'}")
    entries = [entry for entry in record.read(folder) if entry.phase == "search" and entry.state == "complete"]
    if mistake := next(filter(None, (_mismatch(config, entry) for entry in entries)), None):
        raise ConfigError(f"sweep.history={source}: {mistake}")
    found = list(_past_trials(SearchPlan.of(config), redact(source), earlier, entries))
    said += _differences(config, earlier, redact(source), found)
    return found


def _mismatch(config: Config, entry: Record) -> str | None:
    """Return why the scores of an earlier study are not comparable with this one's; None if they are."""
    if entry.task != config.task.name and not _varies(config, "task"):
        return f"its trials are of task={entry.task}, here task={config.task.name}"
    if entry.objective != config.trainer.objective:
        return f"its trials are of trainer.objective={entry.objective}, here {config.trainer.objective}"
    return None


def _varies(config: Config, group: str) -> bool:
    assert config.sweep is not None
    keys = {key for arm in arms(config.sweep) for key in (*arm.values, *arm.nuisance)}
    return any(key.partition(".")[0] == group for key in keys)


def _past_trials(plan: SearchPlan, source: str, earlier: Config, entries: list[Record]) -> Iterator[PastTrial]:
    assert earlier.sweep is not None
    all_arms, tree, ranks = arms(earlier.sweep), to_dict(earlier), earlier.sweep.ranks
    varied = {key for arm in all_arms for key in (*leaves(arm.values), *arm.nuisance)}
    layers = {LAYERS + name: pattern for name, pattern in ((ranks and ranks.layers) or {}).items()}
    for entry in entries:
        arm = arm_of(all_arms, entry.arm)
        settings = leaves(apply_overrides(tree, arm.values)) | layers | entry.point if arm else entry.point
        violations = plan.violations(entry)
        yield PastTrial(
            source=source,
            number=entry.trial,
            values=plan.values(entry) or [],
            settings=settings,
            varied=frozenset(varied & settings.keys()),  # what another arm alone has says nothing of this one
            violations={name: violations[name] for name in plan.constraints if name in violations},
            fingerprint=entry.fingerprint,
            pack_size=entry.pack_size,
        )


def _differences(config: Config, earlier: Config, source: str, found: list[PastTrial]) -> Iterator[str]:
    """A line of what both studies hold fixed at different values."""
    assert config.sweep is not None
    searched = {key for arm in arms(config.sweep) for key in (*leaves(arm.values), *arm.nuisance)}
    searched |= {key for trial in found for key in trial.varied}
    then, now = leaves(to_dict(earlier)), leaves(to_dict(config))
    changed = [
        key
        for key in then.keys() & now.keys()
        if then[key] != now[key] and key not in searched and not key.startswith(_NOT_OF_A_TRIAL)
    ]
    if changed:
        shown = ", ".join(f"{key}={then[key]} (here {now[key]})" for key in sorted(changed)[:_SHOWN])
        more = f" and {len(changed) - _SHOWN} keys more" if len(changed) > _SHOWN else ""
        yield f"{source}: its trials were made with {shown}{more}"
