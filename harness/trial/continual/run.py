"""Training and evaluation of a trial of tasks learned one after another; after each of them all are scored."""

import time
from dataclasses import replace

from harness.lora import effective_ranks, overlap
from harness.record import Continual
from harness.system.study_files import PREDICTIONS
from harness.task import ContinualTask, Inputs
from harness.training import Checkpoints, Pruned
from harness.trial.adapt import compare_merged
from harness.trial.artifacts import save_trained, saved_files
from harness.trial.context import CHECKPOINTS
from harness.trial.continual.checkpoint import ContinualCheckpoint
from harness.trial.continual.evaluation import ContinualEvaluation
from harness.trial.continual.forgetting import summary
from harness.trial.continual.methods import continual_method
from harness.trial.continual.snapshots import TaskSnapshots
from harness.trial.continual.training import ContinualTraining
from harness.trial.packed import pack_notes
from harness.trial.passes import on_device
from harness.trial.running import RunningTrial


def train_and_evaluate_continual(trial: RunningTrial, task: ContinualTask) -> None:
    """Train every task in its turn; `report` hears the mean validation scores of all tasks after each of them."""
    draft = trial.draft
    names = list(task.parts)
    snapshots = TaskSnapshots(trial.model, apart=task.learn == "separate")
    evaluation = ContinualEvaluation(trial, snapshots)
    heads = "shared" if task.shared else "separate"
    continual = Continual(tasks=names, learn=task.learn, heads=heads)
    draft.record = replace(draft.record, continual=continual)
    checkpoints = Checkpoints(trial.context.folder / CHECKPOINTS, draft.record.fingerprint)
    training = ContinualTraining(trial, checkpoints, continual_method(trial, task.learn))
    progress = ContinualCheckpoint(checkpoints, trial.model, snapshots, evaluation, training)
    started = time.perf_counter()
    try:
        _train_and_evaluate_each(trial, names, training, evaluation, snapshots, progress)
    finally:
        draft.record = replace(
            draft.record,
            time=replace(trial.meter.clock.summary(), train_s=time.perf_counter() - started),
            memory=trial.meter.parts,
            dead=training.dead,
            notes=pack_notes(trial.meter.pack_size),
            pack_size=trial.meter.pack_size,
            scores={split: dict(rows[-1]) for split, rows in evaluation.rows.items() if rows},
            continual=replace(continual, val=evaluation.matrix("val"), test=evaluation.matrix("test")),
        )
    _conclude(trial, names, snapshots, evaluation)


def _train_and_evaluate_each(
    trial: RunningTrial,
    names: list[str],
    training: ContinualTraining,
    evaluation: ContinualEvaluation,
    snapshots: TaskSnapshots,
    progress: ContinualCheckpoint,
) -> None:
    """From where the last checkpoint left off: evaluate all tasks, train the next, until none is left."""
    under_way = progress.restore(trial.report)
    for number in range(progress.learned, len(names) + 1):
        if len(evaluation.rows["val"]) == number:
            with progress.guard(number):
                scores = evaluation.evaluate_all_tasks(learned=number)
            made = trial.draft.record.steps.made
            progress.reported.append(made)
            if number and trial.report(made, scores) and number < len(names):
                raise Pruned(f"below the median of its arm after {names[number - 1]}")
        if number < len(names):
            progress.snapshot(number)
            snapshots.begin_task()
            training.train_task(number, under_way, progress.extra)
            snapshots.end_task()
            under_way = {}


def _conclude(trial: RunningTrial, names: list[str], snapshots: TaskSnapshots, evaluation: ContinualEvaluation) -> None:
    """Measure and save the final network."""
    config, draft, model = trial.config, trial.draft, trial.model
    trial.note_probe_loss_after(trial.device)
    shared, kept = float(overlap(model.base).detach()), snapshots.parameters()
    figures = replace(summary(draft.record.continual.test), overlap=shared, kept=kept)
    _save(trial, names, snapshots)
    adapter = replace(draft.record.adapter, effective_ranks=effective_ranks(model.base))
    adapter = saved_files(adapter, trial.context, trial.method.folder)
    draft.record = replace(draft.record, continual_summary=figures, adapter=adapter)
    evaluation.save(trial.context.folder / PREDICTIONS)
    last: Inputs = trial.splits["test"][names[-1]]
    sample = last.batch(last.sample(config.trainer.batch_size))
    merge = compare_merged(model.to(trial.device), on_device(sample, trial.device))
    draft.record = replace(draft.record, merge=merge)


def _save(trial: RunningTrial, names: list[str], snapshots: TaskSnapshots) -> None:
    """Save the final adapter and head, or, where tasks are learned apart, each task's in a folder of its own."""
    config, model, folder = trial.config, trial.model, trial.context.folder
    target = folder / trial.method.folder
    target.mkdir(exist_ok=True)
    if not snapshots.apart:
        save_trained(config, model, trial.method, target)
    for number, name in enumerate(names if snapshots.apart else ()):
        snapshots.show(number)
        (target / name).mkdir()
        save_trained(config, model, trial.method, target / name)
