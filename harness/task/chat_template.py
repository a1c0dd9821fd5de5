"""Chat templates: from messages to one text, and which of its characters the assistant has written.

A template is Jinja, rendered in transformers' own sandbox, so that it writes what `apply_chat_template` writes.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from harness.config import ConfigError, Tokens, nearest
from harness.system.paths import listed
from harness.task.intake.chats import Message, leaves_out
from harness.task.tokenizers import FastTokenizer

Span = tuple[int, int]

EXAMPLE: tuple[Message, ...] = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
"""What is found out of a template whatever is said is found out by this."""

_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_GENERATION_MARK = re.compile(r"\{%[-+]?\s*(?:end)?generation\s*[-+]?%\}")
_ALWAYS = ("messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now")
_THINK = "</think>"
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)

_PLAIN = (
    "{%- for message in messages -%}\n"
    "{%- if loop.first -%}BEGIN{%- endif -%}\n"
    "{%- if message['role'] == 'assistant' -%}\n"
    "{{ 'Assistant:' }}{% generation %}{{ ' ' + message['content'] + END }}{% endgeneration %}{{ '\\n\\n' }}\n"
    "{%- else -%}\n"
    "{{ message['role'] | capitalize + ': ' + message['content'] + '\\n\\n' }}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}\n"
)
"""For a base that brings none. The special tokens are written into it, so that it says the same elsewhere."""


_ORIGINS = {
    "tokenizer": "the tokenizer's own",
    "file": "task.template",
    "plain": "the plain one, since the tokenizer has none: System:, User: and Assistant:, parted by blank lines",
}


class TemplateProblem(Exception):
    """The reason why a template cannot format a conversation, or why the assistant's text cannot be located in it."""


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """Jinja, the special tokens by their names in it, and the file of the tokenizer of its text. `origin` is tokenizer,
    file or plain; `arguments` are the user's, by their names in it.
    """

    jinja: str
    origin: str
    names: Mapping[str, str]
    file: Path
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @cached_property
    def tokenizer(self) -> FastTokenizer:
        """Loaded once it is needed: to know which template it is, it is not."""
        return FastTokenizer(self.file)

    @property
    def sha256(self) -> str:
        """The digest of the Jinja text."""
        return hashlib.sha256(self.jinja.encode()).hexdigest()

    @property
    def description(self) -> str:
        """A description of its origin."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return _ORIGINS[self.origin] + (f", with {given}" if given else "")

    @property
    def marks_generation(self) -> bool:
        """True if it marks the assistant's text by {% generation %}."""
        return _GENERATION.search(_COMMENT.sub("", self.jinja)) is not None

    def read_names(self) -> list[str]:
        """The names of its inputs beside the messages and the special tokens."""
        from jinja2 import Environment, TemplateError, meta

        plain = _GENERATION_MARK.sub("", self.jinja)  # a tag of transformers' own
        try:
            found = meta.find_undeclared_variables(
                Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=True).parse(plain)
            )
        except TemplateError:  # the error is raised where a conversation is written
            return []
        return sorted(found - {*self.names, *_ALWAYS})

    def text(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        """The conversation as one text; with `prompt`, up to where the assistant is to write.

        Raises TemplateProblem with what the template says against it.
        """
        return self._rendered(messages, prompt=prompt)[0]

    def spans(self, messages: Sequence[Message], *, last: bool = False) -> tuple[str, list[Span]]:
        """The conversation as one text, and where the assistant has written in it, with what ends each of its turns;
        with `last`, its last turn alone. Turns of weight 0 are not among them.

        They follow from the template's own marks, else from the text that each turn adds. Raises TemplateProblem where
        that is not what the text begins with.
        """
        answers = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        turns = [place for place in answers[-1 if last else 0 :] if not leaves_out(messages[place])]
        if self.marks_generation:
            text, spans = self._rendered(messages, marked=True)
            return text, spans if len(turns) == len(answers) else self._of_turns(messages, spans, answers, turns)
        text = self.text(messages)
        return text, list(self._added(messages, text, turns))

    def _of_turns(
        self, messages: Sequence[Message], spans: list[Span], answers: Sequence[int], turns: Sequence[int]
    ) -> list[Span]:
        """The marks of some answers: there may be several in one, and those before it are told by what precedes it."""
        if len(spans) == len(answers):
            firsts = list(range(len(spans) + 1))
        else:
            firsts = [len(self._rendered(messages[:place], marked=True)[1]) for place in answers] + [len(spans)]
        if any(first >= end for first, end in pairwise(firsts)):
            rule = "task.train_on=last and turns of weight 0 need one in each answer"
            raise TemplateProblem(f"it marks {len(spans)} times what is generated in {len(answers)} answers; {rule}")
        own = [(first, end) for place, (first, end) in zip(answers, pairwise(firsts), strict=True) if place in turns]
        return [span for first, end in own for span in spans[first:end]]

    @cached_property
    def _always_asks(self) -> bool:
        """Return whether every text ends in the prompt of the assistant's turns, as in the first Llama 3 Instruct."""
        try:
            asked, answered, further = (
                self.text(messages) for messages in (EXAMPLE[:1], EXAMPLE, (*EXAMPLE, EXAMPLE[0]))
            )
            alike = answered == self.text(EXAMPLE, prompt=True)
        except TemplateProblem:
            return False
        return alike and answered.startswith(asked) and not further.startswith(answered)

    def check_end(self) -> None:
        """Raises TemplateProblem where what the assistant's turns begin with would be trained as the end of one."""
        if self._always_asks:
            raise TemplateProblem(
                "it writes the prompt of an answer without add_generation_prompt, too, behind the last turn, where it "
                "would be trained on; a file that has it in {% if add_generation_prompt %}"
            )

    def _added(self, messages: Sequence[Message], whole: str, turns: Sequence[int]) -> Iterator[Span]:
        for turn in turns:
            before = self.text(messages[:turn], prompt=True)
            after = self.text(messages[: turn + 1])
            if not after.startswith(before):
                raise TemplateProblem(f"turn {turn + 1} {not_begun(before, after)}")
            self.check_end()
            if not whole.startswith(after):
                thinks = "it drops what earlier turns thought, as Qwen3's and DeepSeek-R1's; " * (_THINK in self.jinja)
                raise TemplateProblem(
                    f"turn {turn + 1} is written otherwise once others follow it: {_unlike(after, whole)}; {thinks}"
                    "task.train_on=last, or one that marks the assistant's text by {% generation %} in task.template"
                )
            yield len(before), self._end(after)

    def _end(self, text: str) -> int:
        """Without the line break that templates write behind the token that ends a turn."""
        stripped = text.rstrip()
        return len(stripped) if self.tokenizer.ends_in_special(stripped) else len(text)

    def _rendered(
        self, messages: Sequence[Message], *, prompt: bool = False, marked: bool = False
    ) -> tuple[str, list[Span]]:
        # Imported where it is needed: cached ids need no template.
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        names: dict[str, Any] = {**self.names, **self.arguments}
        try:
            texts, spans = cast(
                tuple[list[str], list[list[Span]]],
                render_jinja_template(
                    conversations=[list(map(dict, messages))],
                    chat_template=self.jinja,
                    add_generation_prompt=prompt,
                    return_assistant_tokens_mask=marked,
                    **names,
                ),
            )
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise TemplateProblem(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
        return texts[0], spans[0] if marked else []


def not_begun(prompt: str, text: str) -> str:
    """Return the error in a text that does not begin with its generation prompt."""
    return f"does not begin with the prompt that is generated from: {_unlike(prompt, text)}"


def _unlike(expected: str, found: str) -> str:
    place = next((n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), len(found))
    start = max(0, place - 10)
    return f"{expected[start : place + 20]!r}, and then {found[start : place + 20]!r}"


def syntax_problem(jinja: str) -> str | None:
    """Return a template's error that is independent of the conversation; None if there is none."""
    try:
        ChatTemplate(jinja, "file", {}, Path()).text(())
    except TemplateProblem as error:
        return str(error) if str(error).startswith("TemplateSyntaxError") else None
    return None


def chat_template(tokens: Tokens, own: str | None, arguments: Mapping[str, Any] | None = None) -> ChatTemplate:
    """The template `own`, else the one beside the tokenizer, else the plain one; with the user's arguments.

    Raises ConfigError for a tokenizer that is no tokenizer.json, for several templates without a default, and for
    arguments that the template does not read.
    """
    template = _without_arguments(tokens, own)
    if arguments:
        read = template.read_names()
        unread = [
            f"task.template_arguments.{name}: the chat template, {template.description}, reads no such name"
            f"{nearest(name, read)}; it reads {listed(read) or 'none'}"
            for name in arguments
            if name not in read
        ]
        if unread:
            raise ConfigError(*unread)
    return dataclasses.replace(template, arguments=arguments or {})


def _without_arguments(tokens: Tokens, own: str | None) -> ChatTemplate:
    assert tokens.tokenizer is not None
    folder = tokens.tokenizer.parent if tokens.tokenizer.is_file() else tokens.tokenizer
    file = folder / "tokenizer.json" if tokens.tokenizer.is_dir() else tokens.tokenizer
    if not file.is_file():
        raise ConfigError(f"task=chat: {folder} has no tokenizer.json, which conversations are read by")
    config = _json(folder / "tokenizer_config.json")
    names = _special_names(_json(folder / "special_tokens_map.json")) | _special_names(config)
    found = own if own is not None else _beside(folder, config)
    if found is not None:
        return ChatTemplate(found, "tokenizer" if own is None else "file", names, file)
    tokenizer = FastTokenizer(file)
    begin, end = (tokenizer.token(index) for index in (tokens.begin, tokens.end))
    plain = _PLAIN.replace("BEGIN", "{{ " + repr(begin) + " }}" if begin else "").replace("END", repr(end or ""))
    return ChatTemplate(plain, "plain", names, file)


def _beside(folder: Path, config: Mapping[str, Any]) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {each["name"]: each["template"] for each in found}
        if "default" not in named:
            valid = ", ".join(named)
            raise ConfigError(
                f"task.template=null: {folder} has chat templates {valid}, and none is the default; a file"
            )
        found = named["default"]
    return found if isinstance(found, str) else None


def _special_names(config: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name, token in config.items():
        text = token.get("content") if isinstance(token, dict) else token
        if name.endswith("_token") and isinstance(text, str):
            found[name] = text
    return found


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
