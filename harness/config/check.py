"""From a plain tree to a typed configuration, with every mistake named."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.config.arm_checks import (
    confirmed_otherwise,
    mode_mistakes,
    order_mistakes,
    pack_mistakes,
    reference_mistakes,
    sweep_space_mistakes,
    unused,
)
from harness.config.device_checks import device_mistake, spread_mistakes
from harness.config.methods import PRUNERS, SAMPLERS, method_mistakes
from harness.config.models import ModelConfig
from harness.config.packed_sequences import packed_sequence_mistakes
from harness.config.schema import ROWS_ALONE, SHAPES_ALONE, Config, SweepConfig, Usual
from harness.config.schema_errors import schema_mistake, shown
from harness.config.space import flattened
from harness.config.tasks import TaskConfig, readers_for
from harness.config.tasks.base import ANSWER_MEASURES, TEXT_MEASURES, WHOLE_SPLIT
from harness.config.tree import ConfigError, apply_overrides, leaves, nearest, to_dict

_ADAPTER: TypeAdapter[Config] = TypeAdapter(Config)
_KEYS = frozenset(field.name for field in dataclasses.fields(Config))


def check(tree: Mapping[str, Any]) -> Config:
    """The typed configuration of a resolved tree.

    Raises ConfigError with every mistake: an unknown key, a wrong type, a value outside its rule, two keys at odds.
    """
    tree = _with_official_measures(_with_dotted_keys(tree))
    try:
        config = _ADAPTER.validate_python(_with_arguments(tree))
    except ValidationError as error:
        firsts: dict[str, str] = {}  # one for each value: a value that may be of two kinds is wrong as both
        for item in error.errors():
            said = schema_mistake(tree, item)
            firsts.setdefault(said.rpartition(": ")[0] or said, said)
        raise ConfigError(*firsts.values()) from None
    mistakes = [
        *_asked_mistakes(config),
        *config.tracking.mistakes(),
        *_kind_mistakes(config.task, config.model, config),
        *_objective_mistakes(config),
        *_weight_mistakes(config),
        *(config.model.probe_mistakes(config.probe) if config.probe is not None else ()),
        *_lora_mistakes(config),
        *_sweep_mistakes(config, tree),
        *spread_mistakes(config),
        *_quantization_mistakes(config),
        *pack_mistakes(config),
        *_precision_mistakes(config),
        *packed_sequence_mistakes(config),
    ]
    if mistakes:
        raise ConfigError(*mistakes)
    return config


def _with_dotted_keys(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Nested keys of the sweep's spaces and of what confirms, as the command line adds them, become dotted ones."""
    if not isinstance(sweep := tree.get("sweep"), Mapping):
        return tree
    places = {name: sweep[name] for name in ("scientific", "nuisance") if isinstance(sweep.get(name), Mapping)}
    found = {**sweep, **{name: flattened(space) for name, space in places.items()}}
    if isinstance(baselines := sweep.get("baselines"), Mapping):
        found["baselines"] = {name: _with_dotted_space(arm) for name, arm in baselines.items()}
    if isinstance(confirm := sweep.get("confirm"), Mapping) and isinstance(values := confirm.get("set"), Mapping):
        found["confirm"] = {**confirm, "set": _dotted(values)}
    return {**tree, "sweep": found}


def _with_official_measures(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill in the official measures of the task's data set, unless measures are given, beside the objective.

    Its official objective is one of them where another was chosen; accuracy alone is scored of any classes.
    """
    task, trainer = tree.get("task"), tree.get("trainer")
    if not isinstance(task, Mapping) or not isinstance(trainer, Mapping) or trainer.get("measures"):
        return tree
    official = [name for name in (task.get("objective"), *(task.get("measures") or ())) if name is not None]
    if official in ([], ["accuracy"]):
        return tree
    beside = [name for name in official if name != trainer.get("objective")]
    return {**tree, "trainer": {**trainer, "measures": beside}}


def _dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted keys; of a key that is dotted already a mapping is the value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= {key: value} if "." in str(key) or value == {} else leaves({key: value})
    return found


def _with_dotted_space(arm: Any) -> Any:
    if isinstance(arm, Mapping) and isinstance(space := arm.get("nuisance"), Mapping):
        return {**arm, "nuisance": flattened(space)}
    return arm


def _with_arguments(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The node that is named as a command's module, `claims` of studies.claims:command, goes in as its `arguments`."""
    found = dict(tree)
    module, is_command, _ = str(found.get("run")).partition(":")
    node = module.rpartition(".")[2]
    if is_command and node in found and node not in _KEYS:
        found["arguments"] = found.pop(node)
    return found


def _asked_mistakes(config: Config) -> list[str]:
    """Return errors for settings of another command than the one that runs, which would ignore them."""
    confirming: dict[str, Any] = {"top": config.top, "seeds": config.seeds, "margin": config.margin}
    confirming |= {"orders": config.orders, "reference": config.reference}
    mistakes = [
        f"{key}={shown(value)}: of run=confirm; what a study begins with is sweep.confirm.{key}"
        for key, value in confirming.items()
        if value is not None and config.run != "confirm"
    ]
    others: dict[str, Any] = {"trial": config.trial, "input": config.input, "output": config.output}
    others |= {"format": config.format, "push": config.push, "port": config.port}
    others |= {"adapter": config.adapter, "split": config.split}
    others |= {"method": config.method, "parameters": config.parameters, "steps": config.steps}
    mistakes += [
        f"{key}={value}: of run={' and run='.join(_TAKEN_BY[key])}"
        for key, value in others.items()
        if value is not None and config.run not in _TAKEN_BY[key]
    ]
    return mistakes


_TAKEN_BY = {
    "trial": ("repeat", "export", "predict", "attribute", "evaluate", "allocate"),
    "input": ("predict", "attribute"),
    "output": ("export", "predict", "attribute", "evaluate", "allocate"),
    "adapter": ("evaluate",),
    "split": ("evaluate",),
    "format": ("export",),
    "push": ("export",),
    "port": ("watch",),
    "method": ("allocate",),
    "parameters": ("allocate",),
    "steps": ("allocate",),
}


_EXAMPLES: Mapping[str | None, str] = {
    "vision": ", as model=efficientnet_lite0",
    "speech": ", as model=lstm_speech",
    "recognition": ", as model=whisper_base",
    "text": ", as model=minilm",
    "generator": ", as model=gpt2",
}


def _kind_mistakes(task: TaskConfig, model: ModelConfig, config: Config) -> list[str]:
    """Return why a task, or one of its tasks, and the model do not fit; a guest is checked when it is imported."""
    if None not in (task.model_kind, model.takes) and task.model_kind != model.takes:
        readers = ", ".join(readers_for(model.kind))
        return [
            f"model={model.name}: a {model.kind} model, for tasks read by {readers}; task={task.name} needs a "
            f"{task.model_kind} model{_EXAMPLES.get(task.model_kind, '')}"
        ]
    if mistake := device_mistake(config):
        return [mistake]
    if task.replayed_rows is not None and (config.trainer.accumulate > 1 or config.trainer.batch_tokens is not None):
        return [
            "task.learn=replay: each batch is joined by rows of earlier tasks, and is not parted; trainer.accumulate=1 "
            "and trainer.batch_tokens=null"
        ]
    if config.trainer.batch_tokens is not None and not task.reads_texts:
        return [f"trainer.batch_tokens={config.trainer.batch_tokens}: task={task.name} is not of texts; set it to null"]
    if task.rows_of_all_tasks and config.trainer.accumulate > 1:
        return [
            f"trainer.accumulate={config.trainer.accumulate}: of task={task.name} a loss may be weighted by its whole "
            "batch, and does not add up over parts of it: trainer.accumulate=1"
        ]
    if task.parts:
        own = (mistake for part in task.parts.values() for mistake in _kind_mistakes(part, model, config))
        return [*task.mistakes(model), *own]
    counted = model.described_by_files and config.run in SHAPES_ALONE  # where lengths are no matter
    adapted = [] if config.run in ROWS_ALONE else model.adapter_mistakes(config.lora)
    return model.mistakes() or [*adapted, *([] if counted else task.mistakes(model))]


def _objective_mistakes(config: Config) -> list[str]:
    """Return errors for an objective, or a measure scored beside it, that is not measured."""
    task, objective, possible = config.task, config.trainer.objective, config.task.objectives
    if task.parts and config.trainer.score_train:
        return [f"trainer.score_train=true: task={task.name} is several tasks; trainer.score_train=false"]
    usual = config.run in SHAPES_ALONE and objective in typing.get_args(Usual)
    asked = {} if usual else {f"trainer.objective={objective}": objective}
    asked |= {f"trainer.measures={shown(config.trainer.measures)}: {name}": name for name in config.trainer.measures}
    mistakes = [_not_measured(config, where, name, possible) for where, name in asked.items()]
    return [mistake for mistake in mistakes if mistake]


def _not_measured(config: Config, where: str, name: str, possible: tuple[str, ...]) -> str:
    """Return why a score cannot be computed; empty if it can, or if that depends on the data."""
    task = config.task
    if name in ANSWER_MEASURES and task.written_rows is not None and name not in possible:
        return f"{where}: task.answer is null, and no answers are taken out of texts; such as task.answer=number"
    if ":" not in name and name not in (possible or [name]):
        valid = " | ".join(possible)
        return f"{where}: task={task.name} has none; trainer.objective={valid}{nearest(name, possible)}"
    if name in TEXT_MEASURES and task.written_rows == 0:
        return f"{where}: of texts that are written, and task.generate_rows=0 has none written; give it rows"
    own = ":" in name
    if own and (task.parts or task.rows_of_all_tasks):
        return f"{where}: task={task.name} is several tasks, and a measure is of one; trainer.objective=score"
    if own and task.marks_answers:
        return f"{where}: task={task.name} answers with spans of texts, and a measure is of classes or numbers"
    if own and task.known_outputs == 0:
        return f"{where}: task={task.name} answers with texts, and a measure is of classes or numbers"
    written = name in TEXT_MEASURES and task.written_rows is not None
    adds_up = task.tags_tokens or task.marks_answers  # spans are counted on each device
    whole = written or (name in WHOLE_SPLIT and not adds_up)
    if config.trainer.devices > 1 and (own or whole):
        return f"trainer.devices={config.trainer.devices}: {where} needs all rows in one process: one device"
    return ""


def _weight_mistakes(config: Config) -> list[str]:
    """Return why classes cannot be weighted, as far as that is known without the data."""
    task, asked = config.task, config.trainer.class_weights
    if asked is None:
        return []
    if config.trainer.devices > 1:
        rule = f"they are weighed in one process, and there are {config.trainer.devices}; trainer.devices=1"
        return [f"trainer.class_weights={shown(asked)}: {rule}"]
    many = bool(task.parts) or task.rows_of_all_tasks
    if many or task.known_outputs in (0, 1) or task.several_labels or task.marks_answers:
        rule = f"of one task whose rows have a class each; task={task.name}: null"
        return [f"trainer.class_weights={shown(asked)}: {rule}"]
    return []


def _lora_mistakes(config: Config) -> list[str]:
    own = config.lora.mistakes(config.task.name, bool(config.task.mixed))
    return [*config.task.adapter_mistakes(config.lora), *own]


def _quantization_mistakes(config: Config) -> list[str]:
    """Return errors for settings that do not support a base whose weights are held in few bits."""
    if config.model.quantized is None:
        return []
    where = f"model.quantization={config.model.quantized}"
    mistakes = config.lora.quantization_mistakes(where)
    if config.trainer.sharded:
        mistakes.append(f"{where}: its bits are whole on each device; trainer.strategy=ddp")
    return mistakes


def _precision_mistakes(config: Config) -> list[str]:
    """Return errors if the fastest precision cannot be chosen once for all arms, or features not be reused."""
    trainer = config.trainer
    if trainer.reuse_features and trainer.devices > 1:
        return [f"trainer.reuse_features=true: on one device, and there are {trainer.devices}; set it to false"]
    if trainer.reuse_features and config.task.in_turn:
        return [f"trainer.reuse_features=true: task={config.task.name} is learned one after another; set it to false"]
    asked = leaves(to_dict(config.sweep)) if config.sweep is not None else {}
    if any("trainer.precision" in key and "fastest" in str(value) for key, value in asked.items()):
        rule = "it is settled once for all arms; in an arm bf16-mixed or 32-true"
        return [f"sweep: trainer.precision=fastest: {rule}"]
    if mistake := _half_mistake(config.model.base_dtype, trainer.precision):
        return [mistake]
    return []


def _half_mistake(dtype: str, precision: str) -> str:
    """Return why a base of 16 bits and a precision are incompatible; empty if they fit, or if that depends on the
    device.
    """
    if dtype == "float16" and precision not in ("auto", "16-mixed"):
        rule = (
            "gradients of float16 vanish unless the loss is scaled; trainer.precision=16-mixed, or model.dtype=bfloat16"
        )
        return f"trainer.precision={precision}: model.dtype=float16, whose {rule}"
    if dtype == "bfloat16" and precision == "16-mixed":
        return (
            "trainer.precision=16-mixed: model.dtype=bfloat16 computes in bfloat16; bf16-mixed, or model.dtype=float16"
        )
    return ""


def _sweep_mistakes(config: Config, tree: Mapping[str, Any]) -> list[str]:
    sweep = config.sweep
    if sweep is None:
        return ["run=study: sweep is empty; give one, as in sweep=rank_alpha_lr"] if config.run == "study" else []
    mistakes = [*sweep_space_mistakes(sweep), *mode_mistakes(sweep)]
    mistakes += _confirmation_mistakes(sweep, config.task)
    mistakes += method_mistakes("sweep.sampler", sweep.sampler, SAMPLERS)
    mistakes += method_mistakes("sweep.pruner", sweep.pruner, PRUNERS)
    for key in (*sweep.scientific, *sweep.nuisance, *(sweep.confirm.set if sweep.confirm else ())):
        try:
            apply_overrides(tree, {key: None})
        except ConfigError as error:
            mistakes.append(f"sweep: {error}")
    mistakes += [*unused(sweep), *confirmed_otherwise(sweep), *order_mistakes(sweep, config.task)]
    both = sorted(set(sweep.scientific) & set(sweep.nuisance))
    mistakes += [f"sweep.across: {key} is not scientific" for key in sweep.across or () if key not in sweep.scientific]
    mistakes += [f"sweep: {key} is both scientific and nuisance" for key in both]
    return mistakes or [*reference_mistakes(sweep)]  # which asks for the arms: there are none of a sweep that is wrong


def _confirmation_mistakes(sweep: SweepConfig, task: TaskConfig) -> list[str]:
    if task.parts and not sweep.test:
        return [f"sweep.test={shown(sweep.test)}: task={task.name} is several tasks, each trial is scored on test"]
    return []
