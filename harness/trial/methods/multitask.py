"""Adapters for several tasks on one base: MTLoRA and MTL-LoRA."""

from abc import abstractmethod
from dataclasses import asdict
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from harness.config import Config, MtlLoraConfig, MtloraConfig, TaskAdapterConfig
from harness.lora import MtlLoraSpec, MtloraSpec, TaskRouter, adapt_tasks, export_adapter
from harness.model import Network
from harness.record import Adapter, Lora
from harness.trial.methods.base import Method


class TaskAdapters(Method):
    """Each row of a batch goes through the adapter of its own task."""

    def __init__(self, config: Config, lora: TaskAdapterConfig) -> None:
        self.lora, self.tasks = lora, list(config.task.mixed)

    @abstractmethod
    def spec(self) -> MtloraSpec | MtlLoraSpec:
        """The specification. Raises SpecError where it contradicts itself."""

    def adapt(self, model: Network) -> dict[str, int]:
        route = TaskRouter()
        ranks = adapt_tasks(model.base, self.spec(), model.targets, self.tasks, route)
        model.register_forward_pre_hook(partial(_follow, route))
        return ranks

    def record(self, adapter: Adapter) -> Lora:
        return Lora.of(asdict(self.lora))

    def save(self, model: Network, base_address: str, folder: Path) -> None:
        export_adapter(model.base, base_address, folder)


class Mtlora(TaskAdapters):
    """MTLoRA: a shared update on every target, and one for each task in the last blocks."""

    def __init__(self, config: Config) -> None:
        assert isinstance(config.lora, MtloraConfig)
        super().__init__(config, config.lora)
        self.mtlora = config.lora

    def spec(self) -> MtloraSpec:
        lora = self.mtlora
        return MtloraSpec(
            rank=lora.rank,
            task_rank=lora.task_rank,
            scale=lora.scale,
            task_scale=lora.task_scale,
            targets=tuple(lora.targets),
            task_ranks=tuple(lora.task_ranks or ()),
            dropout=lora.dropout,
            blocks=lora.blocks,
            mode=lora.mode,
        )


class MtlLora(TaskAdapters):
    """MTL-LoRA: A and several B in common, and a matrix for each task between them."""

    def __init__(self, config: Config) -> None:
        assert isinstance(config.lora, MtlLoraConfig)
        super().__init__(config, config.lora)
        self.mtl_lora = config.lora

    def spec(self) -> MtlLoraSpec:
        lora = self.mtl_lora
        return MtlLoraSpec(
            rank=lora.rank,
            scale=lora.scale,
            targets=tuple(lora.targets),
            ups=lora.ups,
            temperature=lora.temperature,
            dropout=lora.dropout,
        )


def _follow(route: TaskRouter, _: nn.Module, inputs: tuple[dict[str, Tensor]]) -> None:
    """Whoever calls a network with a batch need not know that its layers ask for the rows' tasks."""
    route.set(inputs[0]["tasks"])
