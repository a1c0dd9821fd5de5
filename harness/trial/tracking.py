"""The W&B mirror of a trial: configuration, counts, curves and scores. It can be off, and it never fails a trial."""

import csv
import logging
import netrc
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.config import ConfigError, TrackingConfig, nearest
from harness.record import Record, trial_path, wandb_summary
from harness.system.redaction import redact, redact_tree
from harness.system.study_files import CONFIG, CURVE

log = logging.getLogger(__name__)

_INIT_SECONDS = 20  # W&B's own limit of 90 s is long to wait for a network that is not there

_FINISH_SECONDS = 60  # by default a network that went away meanwhile is waited for without end

_MODES = {"online": "online", "offline": "offline", "disabled": "disabled", "run": "online", "dryrun": "offline"}

_refused: set[str] = set()  # modes that failed in this process: the next trial does not wait for them again


class Mirror:
    """One W&B run. Whatever goes wrong in it is said once, and the trial goes on without it."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One point of the curves, at the trainer's own step."""
        self._try(lambda: self._run.log(dict(values), step=step))

    def finish(self, summary: Mapping[str, Any], failed: bool) -> None:
        """Write the record's figures as the run's summary and close the run."""
        self._try(lambda: self._run.summary.update(redact_tree(dict(summary))))
        self._try(lambda: self._run.finish(exit_code=int(failed)))

    def _try(self, action: Any) -> None:
        if self._run is None:
            return
        try:
            action()
        except Exception as error:  # a mirror that breaks must not take the trial with it
            log.warning("W&B stopped: %s; the record and the curves on disk are complete", _short(error))
            self._run = None


def open_run(
    *, mode: str, project: str, entity: str | None, group: str, name: str, config: Mapping[str, Any], folder: Path
) -> Mirror:
    """Open a run in `group`, files under `folder`/wandb. Mode auto is online where a key is found, else offline."""
    resolved = resolve_mode(mode)
    if resolved == "disabled":
        return Mirror(None)
    import wandb  # half a second that a study without tracking does not spend

    lean = wandb.Settings(
        init_timeout=_INIT_SECONDS,
        finish_timeout=_FINISH_SECONDS,
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    for attempt in dict.fromkeys((resolved, "offline")):
        if attempt in _refused:
            continue
        try:
            run = wandb.init(
                project=redact(project),
                entity=redact(entity) if entity else None,
                group=group,
                name=name,
                id=secrets.token_hex(4),  # WANDB_RUN_ID would give every trial the same, and WANDB_RESUME that run
                resume="never",
                config=redact_tree(dict(config)),
                dir=folder,
                mode=attempt,  # type: ignore[arg-type]
                reinit="create_new",
                settings=lean,
            )
            return Mirror(run)
        except Exception as error:  # no network, a bad key, a full disk: none of it is the trial's business
            _refused.add(attempt)
            log.warning("W&B %s: %s", attempt, _short(error))
    return Mirror(None)


def close() -> None:
    """End W&B's own process, which would outlive a process that replaces itself."""
    if "wandb" in sys.modules:
        import wandb

        wandb.teardown()


def rebuild(settings: TrackingConfig, study: str, records: Sequence[Record], folder: Path) -> int:
    """Make a study's runs again from its records and curves; offline runs take the place of those that are there.

    Returns how many were made.
    """
    if resolve_mode(settings.mode) == "disabled":
        return 0
    for path in (folder / "wandb").glob("offline-run-*"):
        shutil.rmtree(path)
    for entry in records:
        trial = folder / trial_path(entry.trial)
        tree = yaml.safe_load((trial / CONFIG).read_text()) if (trial / CONFIG).exists() else {}
        name = f"{entry.arm}-{entry.trial:04d}"
        mirror = open_run(
            mode=settings.mode,
            project=settings.project,
            entity=settings.entity,
            group=study,
            name=name,
            config=tree,
            folder=folder,
        )
        for step, values in _curves(trial, entry.continual.tasks):
            mirror.log(step, values)
        mirror.finish(wandb_summary(entry), failed=entry.state == "fail")
    return len(records)


def _curves(trial: Path, tasks: Sequence[str]) -> Iterator[tuple[int, dict[str, float]]]:
    """A trial's curve, or those of the tasks that it learned one after another, on one axis of steps."""
    yield from _curve(trial / CURVE)
    before = 0
    for task in tasks:
        last = 0
        for last, values in _curve(trial / f"metrics_{task}.csv"):
            yield before + last, {f"{task}/{name}": value for name, value in values.items()}
        before += last


def _curve(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    if not path.exists():
        return
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            yield step, {name: float(value) for name, value in row.items() if value}


def resolve_mode(mode: str) -> str:
    """W&B's name of the mode; WANDB_MODE, where it is set, decides for auto. Raises ConfigError where it is none."""
    if mode == "auto":
        said = os.environ.get("WANDB_MODE", "")
        if said and said.lower() not in _MODES:
            raise ConfigError(f"WANDB_MODE={said}: no such mode{nearest(said, _MODES)}; valid: {', '.join(_MODES)}")
        return _MODES.get(said.lower()) or ("online" if _has_key() else "offline")
    return {"off": "disabled"}.get(mode, mode)


def sync_hint(folder: Path) -> str | None:
    """The command that uploads the offline runs under `folder`, if there are any."""
    runs = folder / "wandb"
    return f"wandb sync {runs}/offline-run-*" if any(runs.glob("offline-run-*")) else None


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return redact(f"{type(error).__name__}: {lines[0] if lines else ''}")
