"""Trials as W&B runs, online where a key is found, else offline; a study as a run of its own."""

import hashlib
import logging
import netrc
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from harness.config import ConfigError, TrackingConfig, nearest
from harness.record import Record, best_by, direction, row
from harness.system.redaction import redact, redact_tree
from harness.trial.tracking.base import Run, Tracker

log = logging.getLogger(__name__)

_INIT_SECONDS = 20  # W&B's own limit of 90 s is long to wait for a network that is not there

_FINISH_SECONDS = 60  # by default a network that went away meanwhile is waited for without end

_MODES = {"online": "online", "offline": "offline", "disabled": "disabled", "run": "online", "dryrun": "offline"}

_refused: set[str] = set()  # modes that failed in this process: the next trial does not wait for them again


class WandbTracker(Tracker):
    """One run, in the study's group. Figures are flat keys of its summary, the layers' a table."""

    kept_in = "wandb/offline-run-*"

    def __init__(self, wandb_run: Any, run: Run, adapters: bool) -> None:
        self._wandb, self._run, self._adapters = wandb_run, run, adapters
        self._known: set[str] = set()

    @classmethod
    def is_off(cls, mode: str) -> bool:
        return resolve_mode(mode) == "disabled"

    @classmethod
    def open(cls, settings: TrackingConfig, run: Run) -> Self | None:
        base = run.config.get("model") or {}
        names = (base.get("name"), (run.config.get("task") or {}).get("name"), run.phase, _method(run.config))
        found = open_wandb(
            settings,
            group=run.study,
            name=run.name,
            job_type="confirm" if run.phase == "confirm" else "trial",
            tags=[str(name)[:64] for name in names if name],
            config=run.settings,
            folder=run.folder,
        )
        return None if found is None else cls(found, run, settings.adapters)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name in values.keys() - self._known:
            self._known.add(name)
            self._wandb.define_metric(name, summary=_kept(name))
        self._wandb.log(dict(values), step=step)

    def finish(self, record: Record | None, failed: bool) -> None:
        if record is not None:
            self._wandb.summary.update(redact_tree(self._run.figures(record)))
            origin = {"command": record.command, "adapter": record.adapter.path, "source": record.provenance.source}
            self._wandb.config.update(redact_tree({"origin": origin}))
            self._log_layers(record)
            if self._adapters and record.adapter.path:
                self._log_adapter(record)
        self._wandb.finish(exit_code=int(failed))

    @classmethod
    def publish(cls, settings: TrackingConfig, study: str, records: Sequence[Record], folder: Path) -> None:
        """A run for the study itself, which replaces an earlier one: tables of arms and trials, the page, the figures.

        An error in it is logged and does not stop the study.
        """
        if not records or cls.is_off(settings.mode):
            return
        number = _study_number(study, records)
        for path in (folder / "wandb").glob(f"offline-run-*-{number}"):
            shutil.rmtree(path)
        first = records[0]
        opened = open_wandb(
            settings,
            group=study,
            name=study,
            job_type="study",
            tags=[first.model[:64], first.task[:64], "study"],
            config={"study": study, "arm": "all", "command": first.command},
            folder=folder,
            number=number,
        )
        if opened is None:
            return
        try:
            _log_study(opened, records, folder)
            opened.finish()
        except Exception as error:
            log.warning("W&B stopped: %s; the report on disk is complete", short(error))

    def _log_layers(self, record: Record) -> None:
        import wandb

        adapter = record.adapter
        rows: list[Any] = [
            [name, rank, adapter.scales.get(name), adapter.effective_ranks.get(name)]
            for name, rank in adapter.ranks.items()
        ]
        if rows:
            table = wandb.Table(columns=["layer", "rank", "scale", "effective rank"], data=rows)
            self._wandb.log({"layers": table})  # into the row of the last step

    def _log_adapter(self, record: Record) -> None:
        import wandb

        folder = self._run.folder / record.adapter.path
        if folder.is_dir():
            name = re.sub(r"[^\w.-]+", "-", f"{self._run.study}-{self._run.name}")[:128]
            artifact = wandb.Artifact(name, type="adapter", metadata=redact_tree(self._run.figures(record)))
            artifact.add_dir(str(folder))
            self._wandb.log_artifact(artifact)


def _method(config: Mapping[str, Any]) -> str | None:
    lora = config.get("lora") or {}
    return lora.get("variant") or lora.get("name")


def _kept(name: str) -> str:
    """Return which of a curve's values its summary keeps: the best of a validation score."""
    metric = name.rpartition("/")[2]
    if not metric.startswith("val_"):
        return "last"
    return "min" if metric.endswith("rmse") or direction(metric.removeprefix("val_")) < 0 else "max"


def open_wandb(
    settings: TrackingConfig,
    *,
    group: str,
    name: str,
    job_type: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
    folder: Path,
    number: str | None = None,
) -> Any:
    """A W&B run, files under `folder`/wandb; None where none can be opened. `number` is its own where it has one."""
    import wandb  # half a second that a study without tracking does not spend

    lean = wandb.Settings(
        init_timeout=_INIT_SECONDS,
        finish_timeout=_FINISH_SECONDS,
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_stats=not settings.system,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    for attempt in dict.fromkeys((resolve_mode(settings.mode), "offline")):
        if attempt in _refused:
            continue
        try:
            return wandb.init(
                # WANDB_RUN_ID would give every trial the same, and WANDB_RESUME that run.
                id=number or secrets.token_hex(4),
                resume="allow" if number and attempt == "online" else "never",
                project=redact(settings.project),
                entity=redact(settings.entity) if settings.entity else None,
                group=group,
                name=name,
                job_type=job_type,
                tags=[redact(tag) for tag in tags],
                config=redact_tree(dict(config)),
                dir=folder,
                mode=attempt,  # type: ignore[arg-type]
                reinit="create_new",
                settings=lean,
            )
        except Exception as error:  # no network, a bad key, a full disk: none of it is the trial's business
            _refused.add(attempt)
            log.warning("W&B %s: %s", attempt, short(error))
    return None


def _study_number(study: str, records: Sequence[Record]) -> str:
    made = f"{study} {records[0].fingerprint} {records[0].provenance.inputs}"
    return "study" + hashlib.sha256(made.encode()).hexdigest()[:10]


def _log_study(opened: Any, records: Sequence[Record], folder: Path) -> None:
    import wandb

    ordered = sorted(records, key=lambda entry: entry.trial)
    best = best_by((entry for entry in ordered if entry.phase == "search"), lambda entry: entry.arm)
    states = [entry.state for entry in ordered]
    counts = {f"count/{state}": states.count(state) for state in ("complete", "pruned", "fail")}
    opened.summary.update(counts | {"count/arms": len(best)})
    shown: dict[str, Any] = {"trials": _table(ordered), "arms": _table(list(best.values()))}
    page = folder / "report.html"
    if page.exists():
        shown["report"] = wandb.Html(page.read_text(), inject=False)
    shown |= {f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}
    opened.log(shown, step=1)


def _table(records: Sequence[Record]) -> Any:
    import wandb

    rows = [redact_tree(row(entry)) for entry in records]
    columns = list(dict.fromkeys(name for cells in rows for name in cells))
    return wandb.Table(columns=columns, data=[[cells.get(name) for name in columns] for cells in rows])


def resolve_mode(mode: str) -> str:
    """W&B's name of the mode; WANDB_MODE, where it is set, decides for auto. Raises ConfigError where it is none."""
    if mode == "auto":
        said = os.environ.get("WANDB_MODE", "")
        if said and said.lower() not in _MODES:
            raise ConfigError(f"WANDB_MODE={said}: no such mode{nearest(said, _MODES)}; valid: {', '.join(_MODES)}")
        return _MODES.get(said.lower()) or ("online" if _has_key() else "offline")
    return {"off": "disabled"}.get(mode, mode)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def short(error: Exception) -> str:
    """The first line of an error, without secrets."""
    lines = str(error).strip().splitlines()
    return redact(f"{type(error).__name__}: {lines[0] if lines else ''}")
