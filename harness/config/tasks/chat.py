"""The configuration of conversations, in which a model learns to write the assistant's turns."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, Count, Text
from harness.config.tasks.own import (
    Cut,
    OwnDatasetConfig,
    OwnTextsConfig,
    shown_targets,
    template_mistakes,
    time_mistakes,
)
from harness.config.tasks.seq2seq import WritingTaskConfig

_GIVEN = (
    *("messages", "conversation", "tools", "documents", "add_generation_prompt", "continue_final_message"),
    *("conversations", "chat_template", "return_assistant_tokens_mask"),
)
"""What a template or the function that renders it gets otherwise, or not at all."""


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ChatTaskConfig(OwnTextsConfig, OwnDatasetConfig, WritingTaskConfig):
    """A user's own conversations: a column of messages, or a prompt and its answer in columns or templates.

    `data` is a file, `dataset` one of the datasets library; one of them is given. `messages`, `source` and `target`
    null: found by their usual names. `system` is a template of what stands before conversations without a system
    prompt. `template` is a file of a chat template, null: the tokenizer's own, else the plain one;
    `template_arguments` are what it is given beside the messages, by name.

    Lengths are in tokens. `longer` cut: of a conversation that is too long the first turns are left out, and an
    exchange that is too long by itself is cut at its end.
    """

    builder = "harness.task.chat:read_chat"
    predictor = "harness.trial.predict_chats:write_answers"
    path_kind = "file"

    reader: Literal["chat"]
    messages: Text | None
    source: Text | None
    target: Text | None
    group: Text | None
    system: Text | None
    template: Text | None
    train_on: Literal["assistant", "last", "all"]
    other_roles: Literal["refuse", "leave_out", "pass"]
    longer: Literal["cut", "refuse"]
    max_length: Annotated[int, Strict(), Field(ge=4)]
    max_new_tokens: Count
    template_arguments: dict[Text, Any] | None = None
    cut: Cut = "hashed"
    time: Text | None = None
    time_format: Text | None = None

    @property
    def paths(self) -> Mapping[str, str | None]:
        return {**super().paths, "template": self.template}

    @property
    def holds_chats(self) -> bool:
        return True

    @property
    def scored_tokens(self) -> str:
        return self.train_on

    def mistakes(self, model: ModelConfig) -> list[str]:
        mistakes = [*self._columns(), *self.answer_mistakes()]
        mistakes += time_mistakes(self.time, self.time_format, self.group)
        if not model.one_sequence:
            rule = f"task={self.name} needs a causal language model, which reads and writes one sequence"
            return [*mistakes, f"model={model.name}: it has an encoder and a decoder; {rule}"]
        if model.longest is not None and self.max_length + self.max_new_tokens > model.longest:
            lengths = f"task.max_length={self.max_length} and task.max_new_tokens={self.max_new_tokens}"
            mistakes.append(
                f"{lengths}: model={model.name} has {model.longest} positions for both; together as many, or less"
            )
        return mistakes

    def shown(self, target: str) -> list[str]:
        """Return why a conversation would reveal its target; a system prompt without a column is a text."""
        system = self.system if self.system is not None and "{" in self.system else None
        return shown_targets(target, {"source": self.source, "system": system})

    def _columns(self) -> list[str]:
        """Return errors for columns that are named twice, or of which one half is missing."""
        templates = {"messages": self.messages, "source": self.source, "target": self.target, "system": self.system}
        mistakes = [*self.source_mistakes(), *template_mistakes(templates)]
        mistakes += [] if self.target is None else self.shown(self.target)
        mistakes += [
            f"task.template_arguments.{name}: of the harness, which gives it to every template itself; leave it out"
            for name in self.template_arguments or {}
            if name in _GIVEN
        ]
        if self.messages is not None and self.source is not None:
            mistakes.append(f"task.messages={self.messages} task.source={self.source}: one of them; the other is null")
        if (self.source is None) != (self.target is None):
            mistakes.append("task.source and task.target: both of them, or none")
        return mistakes
