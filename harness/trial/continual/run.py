"""The life of a trial over a sequence of tasks: one is learned after another, and after each all of them are scored."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.config import Config, ContinualTaskConfig
from harness.lora import effective_ranks, overlap
from harness.model import Network, build_model
from harness.task import ContinualTask, OneOfTasks
from harness.training import Checkpoints, Pruned, ResourceMeter
from harness.trial import tracking
from harness.trial.adapt import compare_merged
from harness.trial.artifacts import save_trained, saved_files
from harness.trial.continual.evaluation import ContinualEvaluation
from harness.trial.continual.forgetting import summary
from harness.trial.continual.learning import ContinualTraining, Splits, TaskSnapshots
from harness.trial.continual.progress import ContinualCheckpoint
from harness.trial.inputs import read_inputs
from harness.trial.single import CHECKPOINTS, Facts, Report, TrialContext, adapt_and_count, on_device, open_trial, probe


def train_and_evaluate_continual(
    config: Config, place: TrialContext, report: Report, mirror: tracking.Mirror, facts: Facts
) -> None:
    """The life of a trial on one screen; `report` hears the mean validation scores of all tasks after each of them."""
    task, device, precision = open_trial(config, facts)
    assert isinstance(task, ContinualTask)
    assert isinstance(config.task, ContinualTaskConfig)
    meters = ResourceMeter(device)
    model = build_model(config.model, task.outputs).to(device)
    splits = _splits(config, task)
    probe(config, model, device, facts, "before")
    adapt_and_count(config, model, next(iter(splits["train"].values())), device, precision, facts)
    state = TaskSnapshots(model, apart=config.task.learn == "separate")
    exam = ContinualEvaluation(config, model, task, splits, state, device, precision, place.folder)
    names = list(task.parts)
    facts.sequence = {"tasks": names, "learn": config.task.learn, "heads": config.task.heads}
    facts.steps = {"planned": 0, "made": 0, "best": 0}
    checkpoints = Checkpoints(place.folder / CHECKPOINTS, facts.fingerprint)
    lessons = ContinualTraining(
        config, model, task, splits, place, facts, mirror, meters, device, precision, checkpoints
    )
    progress = ContinualCheckpoint(checkpoints, model, state, exam, lessons)
    started = time.perf_counter()
    try:
        under_way = progress.take_up(report)
        for number in range(progress.learned, len(names) + 1):
            if len(exam.rows["val"]) == number:
                with progress.holding(number):
                    scores = exam.sit(learned=number)
                progress.reported.append(facts.steps["made"])
                if number and report(facts.steps["made"], scores) and number < len(names):
                    raise Pruned(f"below the median of its arm after {names[number - 1]}")
            if number < len(names):
                progress.note(number)
                state.begin()
                lessons.give(number, under_way, progress.beside)
                state.end()
                under_way = {}
    finally:
        facts.time = {**meters.clock.summary(), "train_s": time.perf_counter() - started}
        facts.memory, facts.dead = meters.parts, lessons.dead
        facts.scores = {split: dict(rows[-1]) for split, rows in exam.rows.items() if rows}
        facts.sequence |= exam.matrices()
    probe(config, model, device, facts, "after")
    facts.sequence |= asdict(summary(facts.sequence["test"])) | {"overlap": float(overlap(model.base).detach())}
    facts.sequence["kept"] = state.parameters()
    facts.effective_ranks = effective_ranks(model.base)
    facts.adapter = _save(config, model, names, state, place.folder)
    exam.save(place.folder / "predictions.csv")
    last = splits["test"][names[-1]]
    facts.merge = compare_merged(
        model.to(device), on_device(last.batch(last.sample(config.trainer.batch_size)), device)
    )


def _splits(config: Config, task: ContinualTask) -> Splits:
    """Every split of every task, its batches numbered."""
    assert isinstance(config.task, ContinualTaskConfig)
    alone = {name: replace(config, task=part) for name, part in config.task.chosen.items()}
    return {
        split: {
            name: OneOfTasks(read_inputs(alone[name], part, split), number)
            for number, (name, part) in enumerate(task.parts.items())
        }
        for split in ("train", "validation", "test")
    }


def _save(config: Config, model: Network, names: list[str], state: TaskSnapshots, folder: Path) -> dict[str, Any]:
    """The adapter and the head as they are in the end, or, learned apart, those of each task in a folder of its own."""
    target = folder / "adapter"
    target.mkdir(exist_ok=True)
    if not state.apart:
        save_trained(config, model, target)
    for number, name in enumerate(names if state.apart else ()):
        state.show(number)
        (target / name).mkdir()
        save_trained(config, model, target / name)
    return saved_files(folder)
