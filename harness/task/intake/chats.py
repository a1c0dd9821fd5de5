"""Conversations out of the cells of a table: lists of messages in the two usual forms, and what keeps one out."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config import ConfigError
from harness.task.intake.files import unwritable
from harness.task.intake.labels import is_gap
from harness.task.intake.tokens import items_of

Message = Mapping[str, Any]
"""`role` and `content`, and what else a template may read of it."""

ROLES = ("system", "user", "assistant")
AS_TEXT = "texts as 'Human: … Assistant: …' with blank lines between turns, or '### Human: …### Assistant: …',"
SPEAKS_FIRST = "nothing before the assistant's first turn"
_NAMES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}
_SIGNS = (re.compile(r"(?:^|\n\n)(Human|Assistant): ?"), re.compile(r"\s*### (Human|Assistant): ?"))
"""What turns begin with that stand in one text, as those of Anthropic's HH and of Guanaco."""
_KNOWN = ("role", "from", "content", "value")


def messages_of(cell: object, where: str, column: str) -> list[Message]:
    """The messages of a cell, `{role, content}` or `{from, value}`, roles by their usual names; of an empty cell none.
    A system prompt without text is none, either.

    A list may stand as text, as may turns in a text that begins with Human: or ### Human:. What else a message has, and
    is not null, stays. Raises ConfigError, with `where`, for what is no message.
    """
    items = _turns(cell) if isinstance(cell, str) else None
    if items is None:
        items = items_of(cell, where, column, f"; {AS_TEXT} are read, too")
    if len(items) > 1 and all(isinstance(item, str) for item in items):
        rule = f"""'task.source="{{{column}[0]}}"' 'task.target="{{{column}[1]}}"' read two of them"""
        raise ConfigError(f"{where}: {column} is a list of texts, which says of none whose it is; {rule}")
    messages = [_message(item, f"{where}: {column}: message {n}") for n, item in enumerate(items, 1)]
    return [each for each in messages if each["role"] != "system" or each["content"].strip()]


def _turns(text: str) -> list[object] | None:
    """The turns of a text that begins with one; None of others."""
    for sign in _SIGNS:
        if sign.match(text):
            _, *parts = sign.split(text)
            return [{"role": who, "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]
    return None


def _message(item: object, where: str) -> Message:
    if not isinstance(item, Mapping):
        raise ConfigError(f"{where} is {type(item).__name__} {str(item)[:40]!r}; expected {{role, content}}")
    role, content = (item.get(name, item.get(other)) for name, other in (("role", "from"), ("content", "value")))
    if not isinstance(role, str) or is_gap(role):
        rule = f"names: {', '.join(map(str, item)) or 'none'}; expected {{role, content}} or {{from, value}}"
        raise ConfigError(f"{where} has no role; {rule}")
    more = {str(name): value for name, value in item.items() if name not in _KNOWN and value is not None}
    text = "" if is_gap(content) else _of_parts(content)
    if not isinstance(text, str):
        raise ConfigError(f"{where}: its content is {type(text).__name__} {str(text)[:40]!r}; only texts are read")
    if (weight := more.pop("weight", 1)) not in (0, 1):
        raise ConfigError(f"{where}: its weight is {str(weight)[:20]!r}; 1, or 0 where it is not trained on")
    if weight == 0:
        more["weight"] = 0
    if said := unwritable(text):
        raise ConfigError(f"{where}: {said}")
    return {"role": _role(role), "content": text, **more}


def _of_parts(content: object) -> object:
    """The text of a list of parts that are all texts, as in `{type: text, text: …}`; others as they are."""
    if not isinstance(content, list | tuple) or not content:
        return content
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in content]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else content


def _role(name: str) -> str:
    """A role by its usual name, in small letters; others as they are."""
    small = name.strip().lower()
    return _NAMES.get(small, small if small in ROLES else name)


def leaves_out(message: Message) -> bool:
    """Return whether a turn is excluded from training: its weight is 0, as in files for fine-tuning at OpenAI."""
    return message.get("weight") == 0


def other_roles(messages: Sequence[Message]) -> list[str]:
    """The roles that are none of the three, and calls of tools."""
    found = [message["role"] for message in messages if message["role"] not in ROLES]
    return [*found, *("tool_calls" for message in messages if message.get("tool_calls"))]


def gap_of(messages: Sequence[Message], *, last: bool = False) -> str | None:
    """Return why nothing can be learned from a conversation, or from its `last` answer alone; None if something can."""
    answers = [message for message in messages if message["role"] == "assistant"]
    if all(map(leaves_out, answers)):
        return "no turn of the assistant" + (" but of weight 0" if answers else "")
    if last and leaves_out(answers[-1]):
        return "a last turn of the assistant of weight 0"
    if messages[0]["role"] == "assistant":
        return SPEAKS_FIRST
    said = [message for message in messages if message["role"] in ROLES and not message.get("tool_calls")]
    empty = next((message["role"] for message in said if not message["content"].strip()), None)
    return None if empty is None else f"a turn of the {empty} without text"


def until_last_answer(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation up to the assistant's last turn; nothing is learned from what follows it."""
    last = max(place for place, message in enumerate(messages) if message["role"] == "assistant")
    return tuple(messages[: last + 1])


def as_text(messages: Sequence[Message]) -> str:
    """Messages as text, by which conversations are told apart."""
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
