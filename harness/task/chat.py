"""Conversations in fixed splits, in which a causal language model learns to write the assistant's turns."""

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from harness.config import ChatTaskConfig, ConfigError, Tokens
from harness.task.base import SPLITS
from harness.task.chat_inputs import ChatInputs, ChatSplit, TrainOn, encode_chats
from harness.task.chat_template import ChatTemplate, chat_template, syntax_problem
from harness.task.intake.chats import as_text
from harness.task.intake.cuts import refuse_empty
from harness.task.intake.files import decode, read_bytes
from harness.task.intake.findings import DataFindings
from harness.task.own_chats import read_own_chats
from harness.task.writing import WritingTask

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ChatTask(WritingTask):
    """Three splits of conversations; `jinja` is a chat template of the user's own, None for that of the tokenizer.

    The trained tokens, the length and the template's arguments are as in ChatTaskConfig.
    """

    name: str
    source: str
    splits: dict[str, ChatSplit]
    sha256: str
    jinja: str | None
    template_arguments: Mapping[str, Any]
    train_on: TrainOn
    longer: Literal["cut", "refuse"]
    max_length: int
    longest_answer: int
    generate_rows: int
    answer: str | None
    facts: DataFindings

    def inputs(self, split: str, tokens: Tokens | None) -> ChatInputs:
        assert tokens is not None
        assert tokens.end is not None
        template = chat_template(tokens, self.jinja, self.template_arguments)
        inputs = encode_chats(
            self.splits[split],
            template,
            pad=tokens.pad,
            end=tokens.end,
            train_on=self.train_on,
            longer=self.longer,
            max_length=self.max_length,
        )
        for line in (
            f"the chat template is {template.description}",
            *(f"to be looked at: {warning}" for warning in inputs.warnings),
        ):
            _say_once(self.name, line)
        return inputs

    def input_digests(self, tokens: Tokens) -> dict[str, str]:
        template = chat_template(tokens, self.jinja, self.template_arguments)
        given = json.dumps(template.arguments, sort_keys=True)
        arguments = {"template_arguments": given} if template.arguments else {}
        return {"template": f"{template.origin} {template.sha256}", **arguments}

    def texts(self, split: str) -> Iterable[str]:
        return (as_text(messages) for messages in self.splits[split].conversations)

    def lengths(self, split: str) -> dict[str, list[float]]:
        chats = self.splits[split].conversations
        return {
            "turns of conversations": [len(messages) for messages in chats],
            "words of conversations": [
                sum(len(message["content"].split()) for message in messages) for messages in chats
            ],
        }


@functools.cache
def _say_once(name: str, said: str) -> None:
    _LOG.info("%s: %s", name, said)


def read_chat(config: ChatTaskConfig) -> ChatTask:
    """Read and split a user's conversations. Raises ConfigError for data that cannot be learned from."""
    source, frames, facts = read_own_chats(config)
    refuse_empty(f"task={config.name}", {name: frames[name] for name in SPLITS})
    splits = {}
    for name in SPLITS:
        rows = frames[name]
        splits[name] = ChatSplit(tuple(rows["messages"]), tuple(f"{name} {row}" for row in rows.index))
    digest = hashlib.sha256()
    for name, split in splits.items():
        digest.update(json.dumps([name, split.conversations], sort_keys=True, default=str).encode())
    return ChatTask(
        name=config.name,
        source=source,
        splits=splits,
        sha256=digest.hexdigest(),
        jinja=read_template(config),
        template_arguments=config.template_arguments or {},
        train_on=config.train_on,
        longer=config.longer,
        max_length=config.max_length,
        longest_answer=config.max_new_tokens,
        generate_rows=config.generate_rows,
        answer=config.answer,
        facts=facts,
    )


def read_template(config: ChatTaskConfig) -> str | None:
    """The chat template in a file of the user's own, where one is named. Raises ConfigError where it is none."""
    if config.template is None:
        return None
    where = f"task.template={config.template}"
    try:
        jinja, _ = decode(read_bytes(Path(config.template).expanduser(), "task.template"), None)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if problem := syntax_problem(jinja):
        raise ConfigError(f"{where}: {problem}")
    return jinja


def template_of(config: ChatTaskConfig, tokens: Tokens) -> ChatTemplate:
    """The chat template by which a base reads the task's conversations."""
    return chat_template(tokens, read_template(config), config.template_arguments)
