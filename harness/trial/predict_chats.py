"""Answers to the conversations of a file, by a trial that was trained on conversations."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from harness.config import ChatTaskConfig, ConfigError, Tokens, with_breaks
from harness.devices import resolve_device
from harness.model import model_tokens
from harness.task.chat import template_of
from harness.task.chat_inputs import encode_prompts
from harness.task.chat_template import ChatTemplate
from harness.task.intake.asked import asked_lines, asked_table, refuse_gaps
from harness.task.intake.chats import ROLES, Message
from harness.task.own_chats import asked_conversations
from harness.training import generate_texts
from harness.trial.predict import answer_columns, tell_unread, with_answers, write_table
from harness.trial.trained import Trained, load_trained


def write_answers(trained: Trained, source: Path, target: Path) -> None:
    """A CSV file with the last turn of each conversation of `source`, and the answer to it.

    Raises ConfigError for what cannot be read or answered.
    """
    chats = read_chats(chat_config(trained), source)
    answers = answer(trained, chats)
    rows = [
        [messages[-1]["content"], *row] for messages, row in zip(chats, with_answers(trained, answers), strict=True)
    ]
    write_table(target, ["item", *answer_columns(trained)], rows)


def read_chats(config: ChatTaskConfig, path: Path) -> list[list[Message]]:
    """The conversations of a file, as the task reads them; a line of a .txt is a turn of the user.

    Where the assistant speaks last, that is what is to be answered anew. Raises ConfigError where there is none.
    """
    where = f"input={path}"
    if path.suffix.lower() == ".txt":
        rows = _lines(config, where, path)
    else:
        table = asked_table(path, encoding=config.encoding, separator=config.separator, columns=config.columns)
        rows = asked_conversations(config, where, table)
    chats = {
        row: messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages
        for row, messages in rows.items()
    }
    gaps = {row: _gap_in(messages) for row, messages in chats.items()}
    refuse_gaps(path, {row: gap for row, gap in gaps.items() if gap})
    if not chats:
        raise ConfigError(f"{where}: no conversations in it")
    return list(chats.values())


def _gap_in(asked: Sequence[Message]) -> str | None:
    if not any(message["role"] == "user" for message in asked):
        return "no turn of the user"
    said = [message for message in asked if message["role"] in ROLES and not message.get("tool_calls")]
    return None if all(message["content"].strip() for message in said) else "a turn without text"


def _lines(config: ChatTaskConfig, where: str, path: Path) -> dict[object, list[Message]]:
    if config.system is not None and "{" in config.system:
        raise ConfigError(f"{where}: a .txt has no columns, which task.system={config.system} names")
    system = [{"role": "system", "content": with_breaks(config.system)}] if config.system else []
    lines = asked_lines(path, config.encoding)
    return {number: [*system, {"role": "user", "content": line}] for number, line in lines.items()}


def answer(trained: Trained, chats: Sequence[Sequence[Message]]) -> list[str]:
    """The answer to each. Raises ConfigError where the chat template is not the one of the trial."""
    config, (template, tokens) = chat_config(trained), trained_template(trained)
    assert tokens.end is not None
    inputs = encode_prompts(chats, template, pad=tokens.pad, end=tokens.end, max_length=config.max_length)
    tell_unread(inputs, tokens)
    device = resolve_device(trained.config.trainer.accelerator, 1)
    network = load_trained(trained).to(device)
    return generate_texts(network, inputs, len(chats), max_new_tokens=config.max_new_tokens, device=device)


def trained_template(trained: Trained) -> tuple[ChatTemplate, Tokens]:
    """The chat template of a trial and what its base says of texts. Raises ConfigError where it is another one now."""
    config, tokens = chat_config(trained), model_tokens(trained.config.model)
    if tokens is None or tokens.tokenizer is None:
        raise ConfigError(f"study={trained.entry.study}: task={config.name}: its tokenizer was learned")
    template = template_of(config, tokens)
    known = trained.entry.provenance.inputs.get("template", "").partition(" ")[2]
    if template.sha256 != known:
        where = f"task.template={config.template}" if config.template else "task.template=null: the tokenizer's"
        raise ConfigError(f"{where}: another chat template now than that of trial {trained.entry.trial}; restore it")
    return template, tokens


def chat_config(trained: Trained) -> ChatTaskConfig:
    """The configuration of its task, which is of conversations."""
    return cast(ChatTaskConfig, trained.config.task)
