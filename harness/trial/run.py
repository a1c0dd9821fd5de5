"""Runs one trial from its configuration to its record; a trial that fails has a record too."""

import logging
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from harness.config import Config, ConfigError, fingerprint, to_dict, to_yaml
from harness.devices import resolve_device, resolve_precision
from harness.lora import InitialisationError, named_updates
from harness.model import Network, build_model
from harness.record import (
    Adapter,
    Base,
    Data,
    Draft,
    Lora,
    Optimizer,
    OutOfMemory,
    Provenance,
    Record,
    Seeds,
    State,
    fail_if_not_finite,
    ran_out_of_memory,
)
from harness.system import assets
from harness.system.out_of_memory import DiskFull, failure_reason, is_disk_full
from harness.system.processes import this_command
from harness.system.redaction import redact
from harness.system.signals import Interrupted
from harness.system.study_files import CONFIG, SPLIT_ROWS
from harness.task import SPLITS, Inputs, Task, build_task
from harness.task.class_weights import weighted
from harness.task.summary import short, write_rows
from harness.training import Diverged, Pruned, ResourceMeter, broadcast_object, final_barrier
from harness.training.accounting import is_out_of_memory
from harness.trial import tracking
from harness.trial.adapt import add_task_weights, count_parameters, method_of, spec_errors
from harness.trial.constants import constant_scores
from harness.trial.context import BEST, CHECKPOINTS, Report, TrialContext
from harness.trial.continual.run import train_and_evaluate_continual
from harness.trial.fingerprints import environment_of, identity
from harness.trial.inputs import arranged, base_identity, loader, readings, tokens_for, training_collate
from harness.trial.methods import Method
from harness.trial.out_of_memory import what_ran_out
from harness.trial.packed_sequences import check_packs_sequences
from harness.trial.passes import feed, first_batch, step_bytes, step_flops
from harness.trial.provenance import hardware, source, versions
from harness.trial.running import RunningTrial, note_arithmetic, note_probe_loss
from harness.trial.single import train_and_evaluate

_LOG = logging.getLogger(__name__)

Accept = Callable[[Record], bool]


@dataclass
class _End:
    """The end of a trial."""

    state: State = "complete"
    reason: str = ""


def run_trial(
    config: Config,
    context: TrialContext,
    report: Report,
    accept: Accept = lambda _: True,
    method: Method | None = None,
) -> Record:
    """Train, select on validation, score on test. The record says how it ended: complete, pruned, or fail and why.

    `report` is called with the validation scores after each evaluation and returns whether to prune. `accept` writes
    the record, before the tracker's run is finished and the checkpoints are removed, and returns whether it counts.
    `method` is that of the configuration, where the caller has built it already. Raises ConfigError for a configuration
    that cannot run at all, Interrupted when a stop was asked for, and DiskFull.
    """
    draft, started = Draft(_asked(config, context)), time.perf_counter()
    mirror = _announce(config, context)
    with _until_it_ends(config, context, draft, mirror) as end:
        device, precision = _prepare_process(config)
        task = _read_task(config, context.folder, draft)
        meter = ResourceMeter(device, context.pack_size)
        method = method or method_of(config)
        model = _built(config, task, keep_floats=method.reads_floats)
        _note_arithmetic(config, precision, model, draft)
        splits, calibration = _read(config, task)
        _note_readings(config, task, splits, draft)
        _note_constants(config, task, splits, draft)
        spread = config.trainer.sharded and config.trainer.devices > 1
        home = torch.device("cpu") if spread else device  # no device may hold all of a model that is spread
        _place(config, model, calibration, home)
        note_probe_loss(config, model, home, draft, when="before")
        add_task_weights(model, config)
        with spec_errors():
            ranks = method.adapt(model)
            rows = loader(calibration, config.trainer.batch_size, config.seed, training=True)
            show = partial(feed, model, rows, task.losses, device=home, precision=precision, count=method.calibration)
            _note_adapter(model, method.initialise(model, show) or ranks, draft)
        _note_costs(config, model, task, train=calibration, home=home, precision=precision, meter=meter, draft=draft)
        context.watch(lambda: replace(draft.record, memory=meter.parts))
        trial = RunningTrial(
            config=config,
            context=context,
            task=task,
            model=model,
            method=method,
            splits=splits,
            device=device,
            home=home,
            spread=spread,
            precision=precision,
            meter=meter,
            draft=draft,
            mirror=mirror,
            report=report,
        )
        if task.continual is not None:
            train_and_evaluate_continual(trial, task.continual)
        else:
            train_and_evaluate(trial)
    draft.record = replace(draft.record, time=replace(draft.record.time, total_s=time.perf_counter() - started))
    return _recorded(config, context, draft, end=end, mirror=mirror, accept=accept)


def _place(config: Config, model: Network, train: Inputs, home: torch.device) -> None:
    """Move the network to its device, and try there whether it takes packed rows, if asked. Raises ConfigError."""
    model.to(home)
    if config.trainer.pack_sequences:
        check_packs_sequences(config.model.name, model, train, home)


def _read_task(config: Config, folder: Path, draft: Draft) -> Task:
    """The task; its description is logged, noted, and written beside the study, or in the trial if it differs."""
    task = build_task(config.task)
    _identify(config, task, draft)
    _LOG.info("data: %s", short(task))
    write_rows(task, folder.parent.parent / SPLIT_ROWS, folder / SPLIT_ROWS)
    return task


def _built(config: Config, task: Task, *, keep_floats: bool) -> Network:
    """The network with its pretrained weights, as the task and the trainer would have it."""
    model = build_model(config.model, task.outputs, keep_floats=keep_floats)
    without = sum(not question.answers for question in task.asked("train"))
    if without and not model.first_token_sees_all:
        raise ConfigError(
            f"model={config.model.name}: its first token, which stands for no answer, sees none of the others, and "
            f"{without} training questions of task={config.task.name} have no answer; an encoder, or rows with answers"
        )
    if not config.task.parts:
        model.take_classes(task.classes)
    if config.trainer.activation_checkpointing:
        model.checkpoint_activations()
    return model


def _note_adapter(model: Network, ranks: dict[str, int], draft: Draft) -> None:
    scales = {name: update.scale for name, update in named_updates(model.base)}
    draft.record = replace(draft.record, adapter=Adapter(ranks=ranks, scales=scales))


def _note_arithmetic(config: Config, precision: str, model: Network, draft: Draft) -> None:
    """Note how a step is computed, and why where that was measured."""
    how = {"precision": precision} | ({"attention": model.attention_kind} if model.attention_kind else {})
    how |= {"base": config.model.base_dtype} if model.compute_dtype is not None else {}
    how |= model.otherwise
    measured = config.trainer.settled or {}
    how |= {name: measured[name] for name in ("why", "step_ms") if name in measured}
    note_arithmetic(draft, how)


def _recorded(
    config: Config, context: TrialContext, draft: Draft, *, end: _End, mirror: tracking.Mirror, accept: Accept
) -> Record:
    """The record, written down by `accept`; the tracker hears of it only then."""
    record = fail_if_not_finite(_ended(config, draft.record, end.state, end.reason))
    halted = context.halts and record.state == "pruned"
    counts = accept(record) or halted
    mirror.finish(record if counts else None, failed=end.state == "fail" or not counts)
    if not halted and (counts or not ran_out_of_memory(record)):  # else it may go on, or be tried where it has more
        shutil.rmtree(context.folder / CHECKPOINTS, ignore_errors=True)  # last: until then a kill costs no training
    return record


def _announce(config: Config, context: TrialContext) -> tracking.Mirror:
    """Tell the trial's other processes what to run, write its configuration, and open its run in the tracker."""
    tree = to_dict(config)
    broadcast_object(
        {
            "config": tree,
            "number": context.number,
            "arm": context.arm,
            "test": context.test,
            "compares": context.compares,
            "halts": context.halts,
        }
    )
    (context.folder / CONFIG).write_text(to_yaml(tree))
    run = tracking.Run(
        study=context.study,
        trial=context.number,
        arm=context.arm,
        phase=context.phase,
        config=tree,
        folder=context.folder.parent.parent,
    )
    return tracking.open_run(config.tracking, run)


@contextmanager
def _until_it_ends(config: Config, context: TrialContext, draft: Draft, mirror: tracking.Mirror) -> Iterator[_End]:
    """Around all that a trial does: an end that belongs to the trial is noted, one that does not is raised."""
    end = _End()
    try:
        yield end
    except Pruned as stop:
        end.state, end.reason = "pruned", str(stop)
    except Diverged as stop:
        end.state, end.reason = "fail", f"diverged: {stop}"
    except InitialisationError as stop:
        end.state, end.reason = "fail", f"start: {stop}"
    except (ConfigError, assets.AssetError, Interrupted):
        mirror.finish(None, failed=True)
        raise
    except Exception as error:
        if is_disk_full(error):
            mirror.finish(None, failed=True)
            raise DiskFull(f"a disk that is full: {type(error).__name__}: {error}") from error
        end.state, end.reason = "fail", _failed(error, config, draft)
        # A defect in one trial must not end a study of hundreds; its traceback stays in the trial's folder.
        (context.folder / "error.log").write_text(redact(traceback.format_exc()))
    finally:
        (context.folder / BEST).unlink(missing_ok=True)
        final_barrier()


def _failed(error: Exception, config: Config, draft: Draft) -> str:
    """Return why a trial failed unexpectedly; the facts known when memory ran out go into `draft`."""
    if not is_out_of_memory(error):
        return f"error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    found = what_ran_out(error, resolve_device(config.trainer.accelerator, config.trainer.devices))
    draft.record = replace(draft.record, out_of_memory=OutOfMemory.read(found))
    return failure_reason(found)


def _prepare_process(config: Config) -> tuple[torch.device, str]:
    """Settle device, precision, threads and seeds; returns the first two."""
    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    precision = resolve_precision(config.trainer.precision, device, config.model.base_dtype)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    torch.backends.cudnn.allow_tf32 = precision != "32-true"  # convolutions of a GPU would have 10 bits by default
    L.seed_everything(config.seed, verbose=False)
    return device, precision


def _identify(config: Config, task: Task, draft: Draft) -> None:
    """Note what can be known before training: data, base, the digests of both, the fingerprint."""
    inputs = identity(config)
    draft.record = replace(
        draft.record,
        data=Data.of(task.describe()),
        base=Base(**base_identity(config)),
        provenance=Provenance(inputs=inputs),
        fingerprint=fingerprint(config, inputs),
    )


def _note_constants(config: Config, task: Task, splits: Mapping[str, Any], draft: Draft) -> None:
    """Note what is scored without having learned anything."""
    inputs = splits if task.continual is None else {}
    if found := constant_scores(task, config.trainer, inputs):
        data = draft.record.data
        draft.record = replace(draft.record, data=replace(data, details=data.details | {"constants": found}))


def _read(config: Config, task: Task) -> tuple[dict[str, Any], Inputs]:
    """The splits, and the training rows that are looked at before training."""
    tokens = tokens_for(config, task)
    if config.task.in_turn:
        by_task = {split: task.inputs_by_task(split, tokens) for split in SPLITS}
        return by_task, next(iter(by_task["train"].values()))
    whole = {split: task.inputs(split, tokens) for split in SPLITS}
    if config.trainer.class_weights is not None:
        whole["train"] = weighted(whole["train"], task, config.trainer.class_weights)
    whole["train"] = arranged(config, whole["train"])
    return whole, whole["train"]


def _note_readings(config: Config, task: Task, splits: Mapping[str, Any], draft: Draft) -> None:
    """Note, and say, how many tokens the model does not know, and which rows it cannot tell apart."""
    for name, reading in readings(config, task, splits).items():
        for said in reading.told:
            _LOG.warning("data: %s", f"{name}: {said}" if name else said)
        data = draft.record.data
        details = (data.tasks[name] if name else data).details | reading.described()
        draft.record = replace(
            draft.record,
            data=replace(data, tasks=data.tasks | {name: replace(data.tasks[name], details=details)})
            if name
            else replace(data, details=details),
        )


def _note_costs(
    config: Config,
    model: Network,
    task: Task,
    *,
    train: Inputs,
    home: torch.device,
    precision: str,
    meter: ResourceMeter,
    draft: Draft,
) -> None:
    """Note parameters, the operations of a step and, where memory is not measured well, the bytes of its tensors."""
    draft.record = replace(draft.record, parameters=count_parameters(model))
    batch = first_batch(train, config.trainer.batch_size, home)
    flops = step_flops(model, batch, task.losses, device=home, precision=precision)
    draft.record = replace(draft.record, flops=flops)
    if meter.memory.device.type == "cpu":
        settings = config.trainer
        collate = training_collate(train, accumulate=settings.accumulate, tokens=settings.batch_tokens)
        with isolate_rng(include_cuda=False):  # what is drawn in training stays the same
            step = collate(train.sample(settings.rows_of_step))
            meter.step_bytes = step_bytes(model, step, task.losses, device=home, precision=precision)


def lost_record(config: Config, context: TrialContext, reason: str) -> Record:
    """The record of a trial that nobody finished."""
    draft = Draft(_asked(config, context))
    _identify(config, build_task(config.task), draft)
    return _ended(config, draft.record, "fail", reason)


def _asked(config: Config, context: TrialContext) -> Record:
    """The record of a trial with nothing but what was asked for."""
    settings = asdict(config.optimizer) | {"batch_size": config.trainer.rows_of_step * config.trainer.devices}
    return Record(
        study=context.study,
        trial=context.number,
        arm=context.arm,
        phase=context.phase,
        point=context.point,
        objective=config.trainer.objective,
        state="fail",
        lora=Lora(name=config.lora.name),
        optimizer=Optimizer(**settings),
        task=config.task.name,
        model=config.model.name,
        seeds=Seeds(trial=config.seed, split=config.task.split_seed),
        command=context.command or this_command(),
    )


def _ended(config: Config, record: Record, state: State, reason: str) -> Record:
    """The record of a trial that has ended, with where it ran and how its base was adapted in the end."""
    machine = hardware() | {"threads": torch.get_num_threads()}
    where = replace(
        record.provenance,
        versions=versions(),
        source=source(),
        hardware=machine,
        environment=environment_of(config),
    )
    lora = method_of(config).record(record.adapter)
    return replace(record, state=state, reason=reason, lora=lora, provenance=where)
