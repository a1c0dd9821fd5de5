"""Configurations as plain trees: overlays by dotted key, near names, YAML; and the error of a user's mistake."""

import copy
import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from harness.system.redaction import redact_tree

Tree = dict[str, Any]

OF_COMMANDS = (
    *("top", "seeds", "margin", "trial", "input", "output", "format", "port", "method", "parameters", "steps"),
    *("adapter", "split", "push", "orders", "reference"),
)
"""Keys of a configuration that say what a command does with a study, and belong to no trial."""


class ConfigError(Exception):
    """A mistake of the user's, one line each: key, value, rule and, where there is one, the nearest valid name."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))


def to_dict(config: Any) -> Tree:
    """A configuration object as a plain tree: what is written to files and hashed."""
    tree: Tree = dataclasses.asdict(config)
    return tree


def to_yaml(tree: Mapping[str, Any]) -> str:
    """A tree as YAML, its keys in the order of the schema."""
    text: str = yaml.safe_dump(redact_tree(dict(tree)), sort_keys=False, allow_unicode=True)
    return text


def apply_overrides(tree: Mapping[str, Any], values: Mapping[str, Any]) -> Tree:
    """A copy of `tree` in which every dotted key of `values` is set; a key that is not there is an error."""
    result = copy.deepcopy(dict(tree))
    for key, value in values.items():
        *path, last = key.split(".")
        node: Any = result
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise ConfigError(f"{key}: no such key{nearest(key, dotted_keys(tree))}")
        node[last] = value
    return result


def dotted_keys(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every key of a tree, inner nodes too, written with dots."""
    keys = []
    for key, value in tree.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            keys += dotted_keys(value, f"{prefix}{key}.")
    return keys


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Tree:
    """The values of a tree by their dotted keys; a list is a value."""
    found: Tree = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where no valid name is near."""
    found = difflib.get_close_matches(name, [other for other in valid if other != name], n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
