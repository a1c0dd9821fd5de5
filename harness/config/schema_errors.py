"""Errors of the schema in words, and the keys that the schema knows."""

import dataclasses
import json
import re
import typing
from collections.abc import Mapping
from typing import Any

from harness.config.registry import GUEST
from harness.config.schema import Config
from harness.config.tree import nearest

STUDY_FROM = """study.from: no such key; sweep.history names it: 'sweep.history="optuna:ADDRESS#NAME"'"""
"""What a study to learn from is told that is named as no key is."""

_WAYS = {
    "address": "; a repository of the hub is hub:owner/name, a folder path:FOLDER",
    "study": "; a name has letters of English, digits, _, . and -",
}
"""By the last part of its key, what is taken where a text has not the form that is expected."""


def schema_mistake(tree: Mapping[str, Any], item: Any) -> str:
    """Describe an error of the schema in one line: the key, its value and the rule."""
    path: list[str] = []
    node: Any = tree
    for part in item["loc"]:  # pydantic names the union's branch too; only real keys lead on
        inside = isinstance(node, Mapping) and part in node
        inside = inside or (isinstance(node, list) and isinstance(part, int) and part < len(node))
        if inside:
            path.append(str(part))
            node = node[part]
        elif item["type"] == "missing" and part == item["loc"][-1]:
            path.append(str(part))
    key = ".".join(path)
    if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        # The group experiment leaves no key behind, so a misspelt one arrives here as a key.
        valid = [*schema_keys(Config), "experiment"]
        if key == "experiment":
            return "experiment: the file of an experiment begins with the line '# @package _global_'"
        if key in valid:  # of another choice
            return f"{key}: no such key{_of_choice(tree, key)}"
        return f"{key}: no such key{nearest(key, valid)}"
    if item["type"] == "missing":
        return f"{key}: missing"
    if key == "study" and isinstance(item["input"], Mapping) and "from" in item["input"]:
        return STUDY_FROM
    if item["type"] == "union_tag_invalid" and (name := item["ctx"]["discriminator"]).endswith("()"):
        valid = [tag for tag in re.findall(r"'([^']*)'", item["ctx"]["expected_tags"]) if tag != GUEST]
        rule = f"no such {name[:-2]}{nearest(item['ctx']['tag'], valid)}; valid: {', '.join(valid)}"
        return f"{key}.{name[:-2]}={shown(item['ctx']['tag'])}: {rule}, or package.module:Name"
    rule = item["msg"][0].lower() + item["msg"][1:]
    if item["type"] == "string_pattern_mismatch":
        rule += _WAYS.get(path[-1], "")
    return f"{key}={shown(item['input'])}: {rule}"


def _of_choice(tree: Mapping[str, Any], key: str) -> str:
    """Return which option of its group lacks the key."""
    group = tree.get(key.partition(".")[0])
    name = group.get("name") if isinstance(group, Mapping) else None
    return f" of {key.partition('.')[0]}={name}" if isinstance(name, str) else ""


def shown(value: Any) -> str:
    """A value as a message has it, as it is written on the command line."""
    return json.dumps(value) if isinstance(value, str | int | float | bool | list | None) else str(value)


def schema_keys(kind: Any, prefix: str = "") -> list[str]:
    """Every dotted key that the schema knows, all branches of its unions included."""
    keys, hints = [], typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        keys.append(f"{prefix}{field.name}")
        for part in _dataclasses_in(hints[field.name]):
            keys += schema_keys(part, f"{prefix}{field.name}.")
    return keys


def _dataclasses_in(hint: Any) -> list[Any]:
    if dataclasses.is_dataclass(hint):
        return [hint]
    if typing.get_origin(hint) is dict:  # the keys of a mapping are the user's, not the schema's
        return []
    return [found for part in typing.get_args(hint) for found in _dataclasses_in(part)]
