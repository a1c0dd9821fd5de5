"""Training and evaluation of a trial that is fitted once: on one task, or on a mixture of several."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from harness.config import TrainerConfig
from harness.lora import effective_ranks, kept_ranks, set_active, shared_parameters, task_similarity
from harness.model import Network
from harness.record import Steps, TaskGradients
from harness.system.study_files import CURVE
from harness.task import Task, read_measure
from harness.task.measures import named_measure
from harness.task.metrics import MeasuredMetrics, Metrics
from harness.training import (
    EVALUATION_PATIENCE_S,
    BestCheckpoint,
    Callback,
    CheckpointCallback,
    Checkpoints,
    DivergenceCheck,
    MetricsCsvLogger,
    PackCallback,
    Plan,
    PruningCallback,
    RankScheduleCallback,
    TaskGradientsCallback,
    Trainer,
    TrialModule,
    UnusedParameterCheck,
    gather_full_model,
    generate_texts,
    make_fabric,
    plan,
    scored_texts,
)
from harness.trial.adapt import compare_merged
from harness.trial.artifacts import cut_rows, save_artifacts, saved_files, write_texts
from harness.trial.context import BEST, CHECKPOINTS
from harness.trial.features import Features
from harness.trial.packed import join_pack, pack_notes
from harness.trial.passes import on_device
from harness.trial.running import RunningTrial, make_module, no_graphs, note_arithmetic

_GRADIENT_ROWS = 64


def train_and_evaluate(trial: RunningTrial) -> None:
    """Fit the adapted model, score its best weights and save them; what is learned on the way goes into the draft."""
    config, draft, folder = trial.config, trial.draft, trial.context.folder
    trained = copy.deepcopy(trial.model) if trial.spread else trial.model
    length = _plan(trial)
    schedule = trial.method.rank_schedule(trained, length.steps, config.seed)
    settled = 0 if schedule is None else schedule.settled
    moving = [] if schedule is None else [RankScheduleCallback(schedule)]
    metrics, written = metrics_of(trial.task, config.trainer), _written(trial, trained)
    module = make_module(trial, trained, metrics, length.steps, written=written)
    best = BestCheckpoint(config.trainer.objective, folder / BEST, settled, config.trainer.patience)
    checkpoints = CheckpointCallback(Checkpoints(folder / CHECKPOINTS, draft.record.fingerprint))
    pruning = PruningCallback(trial.report, settled, checkpoints.halt if trial.context.halts else None)
    unused = UnusedParameterCheck()
    scores = (*module.metrics.names, *(config.trainer.text_measures if written is not None else ()))
    curve = MetricsCsvLogger(folder / CURVE, trial.mirror.log, scores)
    gradients = _task_gradients(trial, trained)
    member = join_pack(trial)
    shared = [] if member is None else [PackCallback(member)]
    watching = [DivergenceCheck(), trial.meter, unused, curve]
    callbacks = [checkpoints, *watching, *moving, *gradients, best, pruning, *shared]
    trainer = _trainer(trial, length, callbacks)
    process = trainer.fabric.global_rank, trainer.fabric.world_size
    _score_base(trial, trained)
    started = time.perf_counter()
    features = Features(trial)
    if config.trainer.reuse_features:
        note_arithmetic(draft, {"features": features.reuse})
    training = trial.training_batches(features.training(length.steps), *process)
    checkpoints.batch_sampler = training.batch_sampler
    try:
        with features.opened():
            trainer.fit(module, training, trial.evaluation_batches(features.evaluation("validation"), *process))
    finally:
        if member is not None:
            member.close()
        spent = replace(trial.meter.clock.summary(), train_s=time.perf_counter() - started)
        made, resumed = trainer.step, checkpoints.resumed_at or None
        steps = Steps(planned=length.steps, made=made, best=best.best_step, resumed=resumed)
        draft.record = replace(draft.record, time=spent, memory=trial.meter.parts, dead=unused.unused, steps=steps)
        size = trial.meter.pack_size
        draft.record = replace(draft.record, notes=_notes(config.trainer, steps, size), pack_size=size)
        if trial.device.type == "cuda":
            note_arithmetic(draft, {"cuda_graphs": no_graphs(trial) or _recorded_steps(module)})
            module.release_graphs()
        for comparison in gradients:
            found = TaskGradients(tasks=list(config.task.mixed), rows=_GRADIENT_ROWS, **comparison.found)
            draft.record = replace(draft.record, task_gradients=found)
        if best.best:
            draft.add_scores("val", best.best)
    best.restore(module)
    with checkpoints.guard(trainer), features.opened():
        _score(trial, trained, trainer, module, features)
    if trial.spread:
        gather_full_model(trained, trial.model)
    _conclude(trial, module)


def _recorded_steps(module: TrialModule) -> str:
    """Describe for how many shapes of batches the steps were graphs, or why for none."""
    graphs = module.graphs
    if graphs is None:
        return "a penalty is added to the loss"
    return graphs.refused or f"of {graphs.recorded} shapes"


def metrics_of(task: Task, settings: TrainerConfig) -> Metrics:
    """The task's, and beside them the measures that are asked for."""
    return metrics_by(task, (settings.objective, *settings.measures))


def metrics_by(task: Task, names: Sequence[str]) -> Metrics:
    """The task's, and beside them the measures of these names that it has not."""
    own = task.metrics()
    measures: dict[str, Callable[[Tensor, Tensor], float]] = {}
    for name in dict.fromkeys(names):
        if ":" in name:
            measures[name] = read_measure(name).score
        elif name not in own.names and (measure := named_measure(name, len(task.classes))) is not None:
            measures[name] = measure
    return MeasuredMetrics(own, measures) if measures else own


def _written(trial: RunningTrial, model: Network) -> Callable[[], dict[str, float]] | None:
    """Return the function that scores generated texts for validation rows, if the trial needs it."""
    asked, generation = trial.config.trainer.text_measures, trial.task.generation_of("validation")
    if not asked or generation is None:
        return None

    def scores() -> dict[str, float]:
        inputs, count = trial.splits["validation"], len(generation.references)
        texts = generate_texts(model, inputs, count, generation.longest, trial.device, patience_s=EVALUATION_PATIENCE_S)
        found = scored_texts(generation, texts, inputs.wanted_texts(generation.references), asked).scores
        return {name: found[name] for name in asked}

    return scores


def _score_base(trial: RunningTrial, model: Network) -> None:
    """Score the base on test rows before any training, if the task asks for it and its head is not fresh."""
    generation = trial.task.generation if trial.context.test and not trial.spread else None
    fresh = bool(model.head.state_dict()) and vars(trial.config.model).get("head") != "stored"
    if generation is None or not generation.of_base or fresh:
        return
    inputs, training = trial.splits["test"], model.training
    key = _base_key(trial)
    if key not in _base_scores:
        references = inputs.wanted_texts(generation.references)
        texts = generate_texts(model, inputs, len(references), generation.longest, trial.device)
        model.train(training)
        _base_scores.clear()
        _base_scores[key] = scored_texts(generation, texts, references).scores
    trial.draft.add_scores("base", _base_scores[key])


_base_scores: dict[str, dict[str, float]] = {}  # the last ones of this process: the same in all trials of a study


def _base_key(trial: RunningTrial) -> str:
    """All that the texts of a base before training follow from."""
    config, inputs = trial.config, trial.draft.record.provenance.inputs
    start = None if config.lora.starts_as_base else config.lora
    return repr((inputs, config.model, config.task, start, trial.precision, str(trial.device)))


def _notes(settings: TrainerConfig, steps: Steps, pack_size: int) -> list[str]:
    """Facts about a training's length and cost that are easily overlooked."""
    notes = []
    if settings.max_steps is not None and steps.planned < settings.max_steps:
        notes.append(
            f"trainer.epochs={settings.epochs:g} ended it after {steps.planned} steps, before trainer.max_steps="
            f"{settings.max_steps}"
        )
    if 0 < steps.best < steps.made:
        notes.append(f"its best weights are of step {steps.best} of {steps.planned}: the learning rate had not decayed")
    return notes + pack_notes(pack_size)


def _task_gradients(trial: RunningTrial, model: Network) -> list[TaskGradientsCallback]:
    """Return the callback that compares the tasks' gradients, if the trial needs it."""
    if not trial.config.task.watches_gradients:
        return []
    train = trial.splits["train"]
    batches = [train.batch(rows) for rows in train.of_every_task(_GRADIENT_ROWS)]
    return [TaskGradientsCallback(batches, shared_parameters(model.base))]


def _plan(trial: RunningTrial) -> Plan:
    settings = trial.config.trainer
    batches = -(-len(trial.splits["train"]) // (settings.rows_of_step * settings.devices))
    return plan(batches, settings.epochs, settings.max_steps, settings.evaluations, round_up=settings.round_up)


def _trainer(trial: RunningTrial, length: Plan, callbacks: Sequence[Callback]) -> Trainer:
    settings = trial.config.trainer
    fabric = make_fabric(
        trial.device,
        trial.precision,
        devices=settings.devices,
        strategy=settings.strategy,
        in_part=trial.config.task.trains_in_part,
    )
    return Trainer(fabric, length, callbacks, trial.config.optimizer.clip)


def _score(trial: RunningTrial, trained: Network, trainer: Trainer, module: TrialModule, features: Features) -> None:
    """The scores of the best weights: on test, on training rows if that is asked for, and at every nested rank.

    Test stays unread if the trial's context requires it.
    """
    config, draft, held_out = trial.config, trial.draft, trial.splits["test"]
    process = trainer.fabric.global_rank, trainer.fabric.world_size
    evaluate = {"val": trial.evaluation_batches(features.evaluation("validation"), *process)}
    if trial.context.test:
        evaluate["test"] = trial.evaluation_batches(features.evaluation("test"), *process)
    for rank in trial.method.nested_ranks(trial.model):
        set_active(trained.base, rank)
        for name, batches in evaluate.items():
            draft.add_scores(f"{name}@{rank}", trainer.test(module, batches))
    if config.trainer.score_train:
        seen = trial.evaluation_batches(trial.splits["train"], *process, rows=len(held_out))
        draft.add_scores("train", trainer.test(module, seen))
    if not trial.context.test:
        return
    scores = trainer.test(module, evaluate["test"])
    draft.add_scores("test", scores)
    asked, folder = config.trainer.text_measures, trial.context.folder
    written = write_texts(
        trial.task.generation,
        trained,
        held_out,
        device=trial.device,
        folder=folder,
        further=asked,
        recordings=trial.task.names("test") if config.task.transcribes else (),
    )
    draft.add_scores("test", scores | written)


def _conclude(trial: RunningTrial, module: TrialModule) -> None:
    """Measure and save the trained network."""
    config, draft, model = trial.config, trial.draft, trial.model
    held_out = trial.splits["test" if trial.context.test else "validation"]
    trial.note_probe_loss_after(trial.home)
    save_artifacts(config, model, trial.method, module, trial.context.folder, predicted=trial.context.test)
    adapter = replace(
        draft.record.adapter,
        effective_ranks=effective_ranks(model.base),
        task_similarity=task_similarity(model.base),
        kept_ranks=[[name, rank] for name, rank in kept_ranks(model.base).items()],
    )
    adapter = saved_files(adapter, trial.context, trial.method.folder)
    draft.record = replace(draft.record, data=replace(draft.record.data, cut=cut_rows(trial.splits)), adapter=adapter)
    if not trial.context.compares:
        return
    sample = held_out.batch(held_out.sample(config.trainer.batch_size))
    draft.record = replace(draft.record, merge=compare_merged(model.to(trial.home), on_device(sample, trial.home)))
