"""From a configuration to a record: one trial lives, and whatever its end, what is known of it is written down."""

import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from harness.config import (
    Config,
    ConfigError,
    ContinualTaskConfig,
    LoraConfig,
    MtlLoraConfig,
    MtloraConfig,
    PeftConfig,
    fingerprint,
    to_dict,
    to_yaml,
)
from harness.devices import resolve_device
from harness.lora import (
    InitialisationError,
)
from harness.record import Record, State, fail_if_not_finite
from harness.system import assets
from harness.system.redaction import redact
from harness.system.signals import Interrupted
from harness.task import build_task
from harness.training import Diverged, Pruned, broadcast_object, final_barrier
from harness.trial import tracking
from harness.trial.continual.run import train_and_evaluate_continual
from harness.trial.inputs import base_identity
from harness.trial.out_of_memory import DiskFull, in_words, is_disk_full, is_out_of_memory, what_ran_out
from harness.trial.provenance import hardware, source, versions
from harness.trial.single import BEST, CHECKPOINTS, Facts, Report, TrialContext, identity, train_and_evaluate

Accept = Callable[[Record], bool]


def run_trial(config: Config, place: TrialContext, report: Report, accept: Accept = lambda _: True) -> Record:
    """Train, select on validation, score on test. The record says how it ended: complete, pruned, or fail and why.

    `report` hears the validation scores after each evaluation and answers whether to prune. `accept` writes the record
    down, before W&B hears of it and before the checkpoints are removed, and answers whether it counts. Raises
    ConfigError for a configuration that cannot run at all, Interrupted when a stop was asked for, and DiskFull.
    """
    facts, started = Facts(), time.perf_counter()
    config_tree = to_dict(config)
    # What the first of several processes runs the others run too.
    broadcast_object({"config": config_tree, "number": place.number, "arm": place.arm})
    (place.folder / "config.yaml").write_text(to_yaml(config_tree))
    mirror = _mirror(config, config_tree, place)
    state: State = "complete"
    reason = ""
    try:
        live = train_and_evaluate_continual if isinstance(config.task, ContinualTaskConfig) else train_and_evaluate
        live(config, place, report, mirror, facts)
    except Pruned as stop:
        state, reason = "pruned", str(stop)
    except Diverged as stop:
        state, reason = "fail", f"diverged: {stop}"
    except InitialisationError as stop:
        state, reason = "fail", f"start: {stop}"
    except (ConfigError, assets.AssetError, Interrupted):
        mirror.finish({}, failed=True)
        raise
    except Exception as error:
        if is_disk_full(error):
            mirror.finish({}, failed=True)
            raise DiskFull(f"a disk that is full: {type(error).__name__}: {error}") from error
        state, reason = "fail", _failed(error, config, facts)
        # A defect in one trial must not end a study of hundreds; its traceback stays in the trial's folder.
        (place.folder / "error.log").write_text(redact(traceback.format_exc()))
    finally:
        (place.folder / BEST).unlink(missing_ok=True)
        final_barrier()
    facts.time["total_s"] = time.perf_counter() - started
    record = fail_if_not_finite(_record(config, place, facts, state, reason))
    counts = accept(record)
    mirror.finish(asdict(record) if counts else {}, failed=state == "fail" or not counts)
    shutil.rmtree(place.folder / CHECKPOINTS, ignore_errors=True)  # last of all: until then a kill costs no training
    return record


def _failed(error: Exception, config: Config, facts: Facts) -> str:
    """Why a trial failed that did not mean to; what is known of memory that ran out goes into `facts`."""
    if not is_out_of_memory(error):
        return f"error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    found = what_ran_out(error, resolve_device(config.trainer.accelerator, config.trainer.devices))
    facts.memory |= found
    return in_words(found)


def lost_record(config: Config, place: TrialContext, reason: str) -> Record:
    """The record of a trial that nobody finished."""
    found = identity(config)
    facts = Facts(fingerprint=fingerprint(config, found), identity=found, time={"total_s": 0.0})
    facts.data, facts.base = build_task(config.task).describe(), base_identity(config)
    return _record(config, place, facts, "fail", reason)


def _mirror(config: Config, tree: dict[str, Any], place: TrialContext) -> tracking.Mirror:
    settings = config.tracking
    name = f"{place.arm}-{place.number:04d}"
    return tracking.start(
        settings.mode, settings.project, settings.entity, place.study, name, tree, place.folder.parent.parent
    )


def _record(config: Config, place: TrialContext, facts: Facts, state: State, reason: str) -> Record:
    lora: dict[str, Any] = {"name": config.lora.name}
    if isinstance(config.lora, LoraConfig):
        lora = asdict(config.lora)  # with the patterns replaced by what they came to
        scales = set(facts.scales.values())
        scale = scales.pop() if len(scales) == 1 else None
        if config.lora.match is not None and facts.ranks:
            lora["rank"] = max(facts.ranks.values())
        lora |= {"scale": scale, "alpha": config.lora.alpha or (scale and scale * lora["rank"])}
        lora |= {"ranks": facts.ranks, "scales": facts.scales, "effective_ranks": facts.effective_ranks}
        del lora["alphas"]
        if facts.kept_ranks:  # as lora.ranks takes them
            lora["kept_ranks"] = [[name, rank] for name, rank in facts.kept_ranks.items()]
    elif isinstance(config.lora, MtloraConfig | MtlLoraConfig):
        lora = asdict(config.lora) | {"ranks": facts.ranks, "effective_ranks": facts.effective_ranks}
    elif isinstance(config.lora, PeftConfig):
        lora |= {"method": config.lora.method, "targets": list(config.lora.targets), **(config.lora.arguments or {})}
    return Record(
        study=place.study,
        trial=place.number,
        arm=place.arm,
        point=place.point,
        objective=config.trainer.objective,
        state=state,
        reason=reason,
        fingerprint=facts.fingerprint,
        task=config.task.name,
        model=config.model.name,
        lora=lora,
        optimizer=asdict(config.optimizer) | {"batch_size": config.trainer.batch_size * config.trainer.devices},
        params=facts.params,
        memory=facts.memory,
        time=facts.time,
        scores=facts.scores,
        steps=facts.steps,
        seeds={"trial": config.seed, "split": config.task.split_seed},
        versions=versions(),
        source=source(),
        data=facts.data,
        base=facts.base,
        hardware=hardware() | {"threads": torch.get_num_threads()} | facts.identity,
        adapter=facts.adapter,
        command=shlex.join(["python", "-m", "harness", *sys.argv[1:]]),
        flops=facts.flops,
        merge=facts.merge,
        dead=facts.dead,
        groups=facts.groups,
        probe=facts.probe,
        sequence=facts.sequence,
    )
