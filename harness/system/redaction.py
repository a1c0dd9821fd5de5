"""Redaction: removes secrets from every text before it is written, printed or sent."""

import json
import os
import re
from typing import Any

# Names of variables whose values are secrets; of an address only the password in it is.
_SECRET = re.compile(r"(API_?KEY|TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIALS?)$|^PGPASSWORD$", re.IGNORECASE)
_ADDRESS = re.compile(r"(?<=://)([^\s:/@]*):([^\s@]+)@")
_PARAMETER = re.compile(r"([?&]password=)[^&\s]+", re.IGNORECASE)
_SHORTEST = 6  # characters; a shorter value is no secret, and occurs in ordinary words
_REPLACEMENT = "***"


def redact(text: str) -> str:
    """The text with every secret of the environment, and every password in an address, replaced by ***."""
    return _without(text, _secrets())


def redact_tree(tree: Any) -> Any:
    """The same for every text in plain containers, keys included."""
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
            text = text.replace(form, _REPLACEMENT)
    return _PARAMETER.sub(rf"\1{_REPLACEMENT}", _ADDRESS.sub(rf"\1:{_REPLACEMENT}@", text))


def _secrets() -> list[str]:
    """The longest first, so that a secret which contains another is replaced as a whole."""
    found = {value for name, value in os.environ.items() if _SECRET.search(name)}
    for value in os.environ.values():
        found |= {match[2] for match in _ADDRESS.finditer(value)}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
