"""The life of a trial of one task, or of several at once: fitted once, selected on validation, scored on test."""

import time

from harness import tracking
from harness.artifacts import cut_rows, save_artifacts, write_texts
from harness.config import (
    Config,
)
from harness.inputs import loader, read_inputs
from harness.lora import (
    effective_ranks,
    kept_ranks,
    set_active,
)
from harness.model import build_model
from harness.network import compare_merged
from harness.training import (
    Curve,
    Guard,
    Meters,
    Pulse,
    Watch,
    fit,
    make_trainer,
    plan,
    test,
)
from harness.trial.shared import (
    BEST,
    Facts,
    Place,
    Report,
    adapt_and_count,
    make_module,
    measure,
    moving_ranks,
    nested,
    on_device,
    open_trial,
    probe,
)


def live_single(config: Config, place: Place, report: Report, mirror: tracking.Mirror, facts: Facts) -> None:
    """The life of a trial on one screen; what it learns on the way goes into `facts`."""
    task, device, precision = open_trial(config, facts)
    meters = Meters(device)
    model = build_model(config.model, task.outputs)
    train, validation, held_out = (read_inputs(config, task, split) for split in ("train", "validation", "test"))
    model.to(device)
    probe(config, model, device, facts, "before")
    adapt_and_count(config, model, train, device, precision, facts)

    length = plan(
        -(-len(train) // (config.trainer.batch_size * config.trainer.devices)),
        config.trainer.epochs,
        config.trainer.max_steps,
        config.trainer.evaluations,
    )
    moving, settled = moving_ranks(config, model, length.steps)
    watch = Watch(config.trainer.objective, config.trainer.patience, report, place.folder / BEST, settled)
    module = make_module(config, model, measure(task), length.steps, precision)
    pulse = Pulse()
    curve = Curve(place.folder / "metrics.csv", mirror.log, module.measure.names)
    trainer = make_trainer(
        place.folder,
        length,
        device,
        config.trainer.devices,
        precision,
        config.optimizer.clip,
        [Guard(), meters, pulse, curve, *moving, watch],
    )
    ranks = trainer.global_rank, trainer.world_size
    started = time.perf_counter()
    try:
        fit(trainer, module, loader(config, train, True, *ranks), loader(config, validation, False, *ranks))
    finally:
        facts.time = {**meters.clock.summary(), "train_s": time.perf_counter() - started}
        facts.memory, facts.dead = meters.parts, pulse.dead
        facts.steps = {"planned": length.steps, "made": trainer.global_step, "best": watch.best_step}
        facts.scores = {"val": watch.best} if watch.best else {}
    watch.restore(module)
    probe(config, model, device, facts, "after")
    evaluate = {"val": loader(config, validation, False, *ranks), "test": loader(config, held_out, False, *ranks)}
    for rank in nested(model) if moving else ():
        set_active(model.base, rank)
        facts.scores |= {f"{name}@{rank}": test(trainer, module, batches) for name, batches in evaluate.items()}
    facts.scores["test"] = test(trainer, module, evaluate["test"])
    facts.scores["test"] |= write_texts(config, model, held_out, device, place.folder)
    facts.data |= cut_rows({"train": train, "validation": validation, "test": held_out})
    facts.effective_ranks, facts.kept_ranks = effective_ranks(model.base), kept_ranks(model.base)
    facts.adapter = save_artifacts(config, model, module, place.folder)
    sample = held_out.batch(held_out.sample(config.trainer.batch_size))
    facts.merge = compare_merged(model.to(device), on_device(sample, device))
