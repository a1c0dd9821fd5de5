"""The interface of all models: a pretrained base, a fresh head, and names for the layers that can be adapted."""

import dataclasses
import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.config import ConfigError, Outputs, TokenClasses
from harness.model.weighting import Weighting
from harness.system.assets import AssetError


class Heads(nn.ModuleDict):
    """A head for each task, by name. A batch is of one task, or says of each row which (`tasks`, numbers in order).

    The heads of the tasks in `of_tokens` read every token of a row, the others one vector of it.
    """

    def __init__(self, heads: Mapping[str, nn.Module], of_tokens: Collection[str] = ()) -> None:
        super().__init__(heads)
        self.of_tokens = frozenset(of_tokens)

    def of(self, features: Tensor, tasks_B: Tensor, tokens: Tensor | None = None) -> Tensor:
        """The outputs of each row's own head, (B, C) of `features` (B, F) or (B, L, C) of `tokens` (B, L, F).

        Rows of several tasks have zeros behind the outputs of their heads; beside rows with an answer for each token, a
        row's one answer stands at its first.
        """
        heads, numbers = list(self.values()), tasks_B.unique().tolist()
        read = [tokens if name in self.of_tokens else features for name in self]
        if len(numbers) == 1:
            outputs: Tensor = heads[numbers[0]](read[numbers[0]])
            return outputs
        places = [(tasks_B == task).nonzero().squeeze(1) for task in numbers]
        answers = [heads[task](read[task][place]) for task, place in zip(numbers, places, strict=True)]
        return torch.cat(_padded(answers))[torch.cat(places).argsort()]


def _padded(answers: Sequence[Tensor]) -> list[Tensor]:
    """Answers (b, C) and (b, L, C) with as many dimensions, and as large ones behind the first."""
    if any(answer.ndim == 3 for answer in answers):
        answers = [answer if answer.ndim == 3 else answer.unsqueeze(1) for answer in answers]
    widest, longest = max(answer.shape[-1] for answer in answers), max(answer.shape[1] for answer in answers)
    ends = [(0, widest - answer.shape[-1], 0, longest - answer.shape[1])[: 2 * answer.ndim - 2] for answer in answers]
    return [F.pad(answer, end) for answer, end in zip(answers, ends, strict=True)]


@dataclasses.dataclass(frozen=True)
class Takes:
    """The kinds of task that a base supports according to its own files, and the images' size if it is fixed."""

    address: str
    model_type: str
    kinds: tuple[str, ...]
    image_size: int | None = None


@dataclasses.dataclass(frozen=True)
class TransformersForm:
    """A network as transformers and PEFT know it.

    `model` has the adapters inside, `heads` are its children that are trained as a whole. `task_type` is PEFT's,
    None where it has no word for the task. With `loose_head` our own head lies beside, which neither of them reads.
    `reads` is what preprocessor_config.json says, of recordings.
    """

    model: nn.Module
    auto_class: str
    task_type: str | None
    heads: tuple[str, ...] = ()
    loose_head: bool = False
    reads: dict[str, Any] | None = None


class Network(nn.Module):
    """A pretrained `base` and a fresh `head`, or a head for each task.

    `targets` maps the names a user gives (query, value, …) to patterns of module names inside `base`. `stages` names
    the last block of each stage, where the heads read the features of all stages.
    """

    stages: tuple[str, ...] = ()
    forward_methods: tuple[str, ...] = ()
    """Methods beside `forward` that read the weights, for which sharded ones must be gathered."""

    def __init__(self, base: nn.Module, head: nn.Module, targets: dict[str, str]) -> None:
        super().__init__()
        self.base, self.head, self.targets = base, head, targets
        self.weighting: Weighting | None = None
        self.otherwise: dict[str, str] = {}
        """What is not done as the base's own configuration has it, by name: for the record."""
        self.compute_dtype: torch.dtype | None = None
        """What matrices are multiplied in, where the base's weights have fewer bits than what is trained."""

    def __call__(self, *inputs: Any) -> Any:
        """Return the output of `forward`, or of the head for a `head_input` (B, F); a quantised base gives float32."""
        known = "head_input" in inputs[0]  # which were computed before
        if self.compute_dtype is None:
            return self.answer(inputs[0]["head_input"], inputs[0]) if known else super().__call__(*inputs)
        with self.mixed():
            outputs: Tensor = self.answer(inputs[0]["head_input"], inputs[0]) if known else super().__call__(*inputs)
        return outputs.float()

    def head_input(self, batch: dict[str, Tensor]) -> Tensor | None:
        """Return the head's input for a batch (B, F); None if it is more than one vector a row."""
        found: list[Tensor] = []

        def answer(features: Tensor, _: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
            found.append(features if tokens is None else tokens)
            return features

        self.answer = answer  # type: ignore[method-assign, assignment]
        try:
            self(batch)
        finally:
            del self.answer
        return found[0] if len(found) == 1 and found[0].ndim == 2 else None

    def mixed(self) -> AbstractContextManager[object]:
        """Inside, matrices are multiplied in `compute_dtype`, whatever their own types."""
        if self.compute_dtype is None:
            return nullcontext()
        return torch.autocast(next(self.parameters()).device.type, dtype=self.compute_dtype)

    @property
    def gives_next_token(self) -> bool:
        """True if its outputs are next-token logits at each token of one sequence."""
        return False

    @property
    def first_token_sees_all(self) -> bool:
        """True if the features of a row's first token depend on the tokens after it."""
        return True

    @property
    def attention_kind(self) -> str:
        """The base's attention implementation: sdpa, eager or another name in transformers; empty if none is known."""
        return str(getattr(getattr(self.base, "config", None), "_attn_implementation", None) or "")

    def use_attention(self, how: str) -> None:
        """Compute attention so from now on. Raises ConfigError where the base cannot."""
        with suppress(ValueError, ImportError, AttributeError):  # what they say is of transformers
            self.base.set_attn_implementation(how)  # type: ignore[operator]
        if self.attention_kind != how:
            raise ConfigError(f"model.attention={how}: {type(self.base).__name__} has none; model.attention=auto")

    def checkpoint_activations(self) -> None:
        """Keep no activations inside layers: they are computed again as gradients need them. Raises ConfigError."""
        raise ConfigError("trainer.activation_checkpointing=true: for bases of transformers and timm; set it to false")

    @abstractmethod
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C), or (B, L, C) where every token has an answer."""

    @property
    def head_names(self) -> list[str]:
        """The tasks that have a head of their own; none where there is one head."""
        return list(self.head) if isinstance(self.head, Heads) else []

    def save_whole(self, tokenizer: Path | None, folder: Path) -> bool:
        """Save the whole base in a format of its own, with its tokenizer; False where it has none."""
        return False

    def load_whole(self, folder: Path) -> None:
        """Take over the weights of what `save_whole` wrote. Raises AssetError where they are not all there."""
        raise AssetError(f"{type(self).__name__}: a whole base has no format of its own")

    def take_classes(self, classes: Sequence[str]) -> None:
        """Note the task's classes by number; a head from a file that has numbers of its own is put into their order.

        Raises ConfigError where such a head is of other classes.
        """

    def transformers_form(self) -> "TransformersForm | None":
        """The model of transformers inside it; None where there is none."""
        return None

    @property
    def reads_tokens(self) -> bool:
        """The head of a task reads every token of a row, beside others that read one vector."""
        return isinstance(self.head, Heads) and bool(self.head.of_tokens)

    def answer(self, features: Tensor, batch: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """Apply the head, or the head of the batch's task, to features (B, F), or to `tokens` (B, L, F)."""
        if isinstance(self.head, Heads):
            return self.head.of(features, batch["tasks"], tokens)
        outputs: Tensor = self.head(features)
        return outputs


def make_head(outputs: Outputs, make: Callable[[int], nn.Module]) -> nn.Module:
    """A head of so many outputs, or one for each task."""
    if isinstance(outputs, int):
        return make(outputs)
    of_tokens = [name for name, count in outputs.items() if isinstance(count, TokenClasses)]
    return Heads({name: make(count) for name, count in outputs.items()}, of_tokens)


def linear(features: int, outputs: int) -> nn.Linear:
    """A fresh linear layer, small."""
    head = nn.Linear(features, outputs)
    if not head.weight.is_meta:  # of no numbers torch would make them by its compiler, which takes a second to import
        nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def check_loaded(base: nn.Module, report: Mapping[str, Any], address: str) -> None:
    """Raise AssetError where transformers' report of loading names tensors that are missing or of another shape.

    So it does for tensors of the file that found no place, where they are of layers past the network's last one.
    """
    absent = [*report["missing_keys"], *report["mismatched_keys"]]
    if absent:
        raise AssetError(f"{address}: no fitting weights for {', '.join(map(str, absent[:3]))}")
    lists = {name: len(module) for name, module in base.named_modules() if isinstance(module, nn.ModuleList)}
    past = set()
    for tensor in report["unexpected_keys"]:
        for layers, count in lists.items():
            match = re.match(rf"(?:.*\.)?({re.escape(layers)}\.(\d+))\.", tensor)
            if match and int(match[2]) >= count:
                past.add(match[1])
    if past:
        raise AssetError(f"{address}: its layers {', '.join(sorted(past))} have no place; set model.shape to its depth")
