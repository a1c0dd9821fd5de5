"""Adapters for several tasks on one base: a fork, MTLoRA and MTL-LoRA."""

from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path

from torch import Tensor, nn

from harness.config import Config, MtlLoraConfig, MtloraConfig, TaskAdapterConfig, TaskForkConfig
from harness.lora import MtlLoraSpec, MtloraSpec, TaskForkSpec, TaskRouter, TaskSpec, adapt_tasks, export_adapter
from harness.model import Network
from harness.record import Adapter, Lora
from harness.trial.methods.base import Method, same_fields


class TaskMethod(Method):
    """Each row of a batch goes through the adapter of its own task, or of every task where it has an answer of each."""

    def __init__(self, config: Config, lora: TaskAdapterConfig, kind: type[TaskSpec]) -> None:
        self.lora, self.tasks, self.kind = lora, list(config.task.mixed), kind
        self.every = config.task.rows_of_all_tasks

    @cached_property
    def spec(self) -> TaskSpec:
        """The specification, built once. Raises SpecError where it contradicts itself."""
        pairs = None if isinstance(self.lora, MtlLoraConfig) else self.lora.rank_pairs
        return self.kind(**same_fields(self.kind, self.lora) | ({"task_ranks": tuple(pairs)} if pairs else {}))

    def adapt(self, model: Network) -> dict[str, int]:
        route = TaskRouter()
        stages = model.stages if self.every else ()
        ranks = adapt_tasks(model.base, self.spec, model.targets, self.tasks, route, stages=stages, every=self.every)
        if not self.every:
            model.register_forward_pre_hook(partial(_follow, route))
        return ranks

    def record(self, adapter: Adapter) -> Lora:
        return Lora.of(asdict(self.lora))

    def save(self, model: Network, base_address: str, folder: Path) -> None:
        export_adapter(model.base, base_address, folder)


def task_fork(config: Config) -> TaskMethod:
    """A shared update on every target, and one for each task in the last blocks."""
    assert isinstance(config.lora, TaskForkConfig)
    return TaskMethod(config, config.lora, TaskForkSpec)


def mtlora(config: Config) -> TaskMethod:
    """MTLoRA: a shared update on every target, and one for each task in the last block of every stage."""
    assert isinstance(config.lora, MtloraConfig)
    return TaskMethod(config, config.lora, MtloraSpec)


def mtl_lora(config: Config) -> TaskMethod:
    """MTL-LoRA: A and several B in common, and a matrix for each task between them."""
    assert isinstance(config.lora, MtlLoraConfig)
    return TaskMethod(config, config.lora, MtlLoraSpec)


def _follow(route: TaskRouter, _: nn.Module, inputs: tuple[dict[str, Tensor]]) -> None:
    """Whoever calls a network with a batch need not know that its layers ask for the rows' tasks."""
    route.set(inputs[0]["tasks"])
