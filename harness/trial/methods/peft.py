"""Any method of PEFT, as a peer of our own."""

from pathlib import Path

from harness.config import Config, PeftConfig
from harness.lora.peft_methods import adapt_peft, save_peft
from harness.model import Network
from harness.record import Adapter, Lora
from harness.trial.methods.base import Method


class Peft(Method):
    """PEFT wraps the base; the method's arguments are its own."""

    def __init__(self, config: Config) -> None:
        assert isinstance(config.lora, PeftConfig)
        self.lora = config.lora

    def adapt(self, model: Network) -> dict[str, int]:
        lora = self.lora
        model.base = adapt_peft(model.base, lora.method, lora.arguments or {}, lora.targets, model.targets)
        return {}

    def record(self, adapter: Adapter) -> Lora:
        settings = {"name": self.lora.name, "method": self.lora.method, "targets": list(self.lora.targets)}
        return Lora.of(settings | (self.lora.arguments or {}))

    def save(self, model: Network, base_address: str, folder: Path) -> None:
        save_peft(model.base, folder)
