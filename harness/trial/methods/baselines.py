"""Training without an adapter: all of the base, its biases, its norms, or nothing but the head."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from harness.config import Config
from harness.lora import SpecError
from harness.model import Network
from harness.record import Adapter, Lora
from harness.system.study_files import WEIGHTS
from harness.trial.methods.base import Method

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.RMSNorm)


class Baseline(Method):
    """A part of the base is trained as it is."""

    folder = WEIGHTS
    steady = True

    def __init__(self, config: Config) -> None:
        self.name = config.lora.name

    @abstractmethod
    def trained(self, base: nn.Module) -> Iterator[nn.Parameter]:
        """The parameters of the base that are trained."""

    def adapt(self, model: Network) -> dict[str, int]:
        model.base.requires_grad_(False)
        chosen = list(self.trained(model.base))
        if not chosen and self.name != "head":
            raise SpecError(f"{self.name}: the network has none")
        for tensor in chosen:
            tensor.requires_grad_(True)
        return {}

    def record(self, adapter: Adapter) -> Lora:
        return Lora(name=self.name)

    def save(self, model: Network, base_address: str, folder: Path) -> None:
        if trained := _trained_part(model.base):
            save_file(trained, folder / "base.safetensors")


class Full(Baseline):
    """Full fine-tuning."""

    trains_whole_base = True

    def trained(self, base: nn.Module) -> Iterator[nn.Parameter]:
        return base.parameters()


class Head(Baseline):
    """The base stays as it is."""

    def trained(self, base: nn.Module) -> Iterator[nn.Parameter]:
        return iter(())


class BitFit(Baseline):
    """The biases (Ben Zaken et al., 2022)."""

    def trained(self, base: nn.Module) -> Iterator[nn.Parameter]:
        for key, tensor in base.named_parameters():
            if key.rpartition(".")[2].startswith(("bias", "in_proj_bias")):
                yield tensor


class Norms(Baseline):
    """The scales and shifts of the normalisation layers."""

    def trained(self, base: nn.Module) -> Iterator[nn.Parameter]:
        return (tensor for module in base.modules() if _is_norm(module) for tensor in module.parameters())


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) or type(module).__name__.endswith(("RMSNorm", "LayerNorm"))


def _trained_part(base: nn.Module) -> dict[str, Tensor]:
    """The trained weights, and the buffers of their layers, since a norm's running statistics moved with them."""
    found: dict[str, Tensor] = {name: tensor for name, tensor in base.named_parameters() if tensor.requires_grad}
    for name, layer in base.named_modules():
        if any(tensor.requires_grad for tensor in layer.parameters(recurse=False)):
            found |= {f"{name}.{key}": tensor for key, tensor in layer.named_buffers(recurse=False)}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}
