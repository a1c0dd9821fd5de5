"""Transformers' own classifiers as networks of ours: of texts, and what those of images and recordings share.

Shapes: B examples, L tokens, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.config import ConfigError
from harness.model.base import Network, TransformersForm
from harness.model.hf_heads import inner_name, names_of, order_of, output_layers
from harness.model.hf_loading import reload
from harness.model.hf_tokens import copy_tokenizer
from harness.model.roles import targets_of


class HfClassifier(Network):
    """A model of transformers with transformers' own classification head: `base` and `head` are its parts.

    What is trained here is, name by name, what the same class of transformers computes.
    """

    def __init__(
        self, whole: PreTrainedModel, *, stored_head: bool = False, targets: dict[str, str] | None = None
    ) -> None:
        self._inner = inner_name(whole)
        base = whole.get_submodule(self._inner)
        heads = {name: module for name, module in whole.named_children() if name != self._inner}
        super().__init__(base, nn.ModuleDict(heads), targets if targets is not None else targets_of(base))
        self.stored_head = stored_head
        self._whole = [whole]  # in a list, so that its parts are registered once

    @property
    def whole(self) -> PreTrainedModel:
        """The model of transformers, with whatever `base` has become of it."""
        (whole,) = self._whole
        if getattr(whole, self._inner) is not self.base:  # PEFT wraps it
            setattr(whole, self._inner, self.base)
        return whole

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C) of token `ids` (B, L) and their `mask` (B, L), 1 on real tokens."""
        logits: Tensor = self.whole(
            input_ids=batch["ids"], attention_mask=batch["mask"], **token_types(self.whole, batch)
        ).logits
        return logits

    def checkpoint_activations(self) -> None:
        checkpoint_layers(self.base)

    auto_class: str = "AutoModelForSequenceClassification"
    task_type: str | None = "SEQ_CLS"

    def transformers_form(self) -> TransformersForm:
        heads = tuple(name for name, part in self.head.named_children() if next(part.parameters(), None) is not None)
        return TransformersForm(self.whole, self.auto_class, self.task_type, heads)

    def load_whole(self, folder: Path) -> None:
        reload(self.whole, folder)

    def take_classes(self, classes: Sequence[str]) -> None:
        made = self.whole.config
        if self.stored_head and classes:
            order = torch.tensor(order_of(classes, names_of(made)))
            with torch.no_grad():
                for layer in output_layers(self.head, len(classes)):
                    for tensor in layer.parameters():
                        tensor.copy_(tensor[order.to(tensor.device)])
        if classes:
            made.id2label = dict(enumerate(classes))
            made.label2id = {name: number for number, name in enumerate(classes)}

    def save_whole(self, tokenizer: Path | None, folder: Path) -> bool:
        """Write a folder that transformers loads, and `path:` too."""
        self.whole.save_pretrained(folder)
        if tokenizer is not None:
            copy_tokenizer(tokenizer, folder)
        return True


class HfTagger(HfClassifier):
    """A model of transformers with transformers' own head for tokens: logits (B, L, C)."""

    auto_class = "AutoModelForTokenClassification"
    task_type = "TOKEN_CLS"


class HfAnswerFinder(HfClassifier):
    """A model of transformers with transformers' own head for extractive question answering."""

    auto_class = "AutoModelForQuestionAnswering"
    task_type = "QUESTION_ANS"

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, L, 2) of each token: that the answer begins there, and that it ends there."""
        found = self.whole(input_ids=batch["ids"], attention_mask=batch["mask"], **token_types(self.whole, batch))
        return torch.stack([found.start_logits, found.end_logits], -1)

    @property
    @torch.no_grad()
    def first_token_sees_all(self) -> bool:
        """Asked of two texts that differ in their last token, each by itself: in one batch rows may differ in a bit."""
        device, training = next(self.parameters()).device, self.training
        last = self.whole.config.get_text_config().vocab_size - 1
        self.eval()
        first = []
        for end in (last, last - 1):
            ids = torch.tensor([[last, last, end]], device=device)
            first.append(self({"ids": ids, "mask": torch.ones_like(ids), "types": torch.zeros_like(ids)})[0, 0])
        self.train(training)
        return not torch.equal(*first)


def checkpoint_layers(base: nn.Module) -> None:
    """Compute the layers' activations again in the backward pass. Raises ConfigError where the architecture cannot."""
    assert isinstance(base, PreTrainedModel)
    if not base.supports_gradient_checkpointing:
        kind = base.config.model_type
        raise ConfigError(f"trainer.activation_checkpointing=true: transformers has none for {kind}; set it to false")
    # Renamed in transformers 5.2x, where the former name warns.
    enable = getattr(base, "activation_checkpointing_enable", base.gradient_checkpointing_enable)
    enable({"use_reentrant": False})


def token_types(base: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return which of two sentences each token is in, for a base trained with token types; else nothing."""
    told = "types" in batch and getattr(base.config, "type_vocab_size", 0) > 1
    return {"token_type_ids": batch["types"]} if told else {}
