"""Secrets are taken out of every text before it is written, printed or sent."""

import json
import os
import re
from typing import Any
from urllib.parse import quote, unquote

# Names of variables whose values are secrets; of an address only the password in it is.
_SECRET = re.compile(
    r"((API|ACCESS|PRIVATE|SECRET)_?KEY|TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIALS?)$|^PGPASSWORD$", re.IGNORECASE
)
# Names that sound like one: more than are taken out of texts, where a short value would be found in ordinary words.
_SOUNDS = re.compile(r"KEY|TOKEN|PASS|SECRET|CREDENTIAL|PRIVATE|AUTH(?!OR)|COOKIE|STORAGE|DATABASE|DSN", re.IGNORECASE)
# A password may hold an @ that ought to be percent-encoded: the last one ends it. USER:PASSWORD is how we say the form.
_ADDRESS = re.compile(r"(?<=://)(?!USER:PASSWORD@)([^\s:/@]*):([^\s@]+(?:@[^\s@\"',]+)*)@")
_NOT_YET = r"(?!\*\*\*(?:[\s:;,)]|$))"  # what was taken out stays as it is, with what follows it
# An & in a password ought to be percent-encoded: what follows it may be the rest.
_PARAMETER = re.compile(rf"([?&](?:ssl)?password=){_NOT_YET}([^\s\"']+)", re.IGNORECASE)
_KEYWORD = re.compile(  # libpq's form: password=x or password = 'x y'
    rf"((?<![?&\w])(?:ssl)?password\s*=\s*){_NOT_YET}('(?:[^'\\]|\\.)*(?:'|$)|[^\s'\"]+)", re.IGNORECASE
)
_SHORTEST = 6  # characters; a shorter value is no secret, and would be found in ordinary words
_GONE = "***"
_told: set[str] = set()  # that are in no variable of the environment


def remember(address: str) -> None:
    """Take the passwords of an address for secrets from now on, wherever it came from."""
    _told.update(_passwords(address))


def is_secret(name: str, value: str) -> bool:
    """Return whether a variable of the environment may hold a secret."""
    return _SOUNDS.search(name) is not None or _patterns(value) != value


def redact(text: str) -> str:
    """The text with every secret of the environment, and every password in an address, replaced by ***."""
    return _without(text, _secrets())


def redact_tree(tree: Any) -> Any:
    """Redact every text in plain containers, keys too."""
    return _walk(tree, _secrets())


def _walk(tree: Any, secrets: list[str]) -> Any:
    if isinstance(tree, dict):
        return {_walk(key, secrets): _walk(value, secrets) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_walk(value, secrets) for value in tree)
    return _without(tree, secrets) if isinstance(tree, str) else tree


def _without(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        for form in {secret, json.dumps(secret)[1:-1]}:
            text = text.replace(form, _GONE)
    return _patterns(text)


def _patterns(text: str) -> str:
    text = _ADDRESS.sub(rf"\1:{_GONE}@", text)
    return _KEYWORD.sub(rf"\1{_GONE}", _PARAMETER.sub(rf"\1{_GONE}", text))


def _passwords(value: str) -> set[str]:
    """The passwords in an address or in libpq's keyword form, as they stand there and as they are meant."""
    found = {match[2] for pattern in (_ADDRESS, _PARAMETER, _KEYWORD) for match in pattern.finditer(value)}
    return found | {found_as for raw in found for found_as in (raw.strip("'"), unquote(raw), quote(raw, safe=""))}


def _secrets() -> list[str]:
    """The longest first, so that one which holds another goes as a whole."""
    found = _told | {value for name, value in os.environ.items() if _SECRET.search(name)}
    for value in os.environ.values():
        found |= _passwords(value)
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
