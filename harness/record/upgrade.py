"""Reads the records of earlier layouts.

Version 0, which names no version, had dictionaries in place of sections: lora, params, groups, data, hardware and
sequence held what now is in several. Numbers are taken over as they are.
"""

from collections.abc import Mapping
from typing import Any

from harness.record.fields import split

_SAME = (
    *("study", "trial", "arm", "point", "objective", "state", "reason", "fingerprint", "task", "model", "optimizer"),
    *("time", "scores", "steps", "seeds", "base", "command", "flops", "merge", "dead", "probe", "attempt", "reports"),
)
_OF_LAYERS = ("ranks", "scales", "effective_ranks", "kept_ranks")
_LORA = ("name", "variant", "rank", "alpha", "scale", "targets")
_DATA = ("name", "source", "sha256", "rows", "sd", "shared", "speakers", "cut")
_MATRICES = ("tasks", "learn", "heads", "val", "test")
_OUT_OF_MEMORY = ("asked", "reached", "limit", "of")
_MACHINE = ("cpu", "cores", "gpu", "platform", "threads")


def upgraded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A record of version 0 in the sections of version 1."""
    lora, memory = tree["lora"], tree["memory"]
    sequence, hardware = tree.get("sequence", {}), tree["hardware"]
    method, settings = split({name: value for name, value in lora.items() if name not in _OF_LAYERS}, _LORA)
    ended, held = split(memory, _OUT_OF_MEMORY)
    matrices, figures = split(sequence, _MATRICES)
    machine, inputs = split(hardware, _MACHINE)
    provenance = {"versions": tree["versions"], "source": tree["source"], "hardware": machine, "inputs": inputs}
    return {name: tree[name] for name in _SAME if name in tree} | {
        "lora": method | {"settings": settings},
        "parameters": tree["params"] | {"groups": tree.get("groups", {})},
        "memory": held,
        "out_of_memory": ended,
        "continual": matrices,
        "continual_summary": figures,
        "adapter": tree["adapter"] | {name: lora[name] for name in _OF_LAYERS if name in lora},
        "data": _data(tree["data"]),
        "provenance": provenance | {"environment": tree.get("environment", {})},
    }


def _data(described: Mapping[str, Any]) -> dict[str, Any]:
    own, details = split({name: value for name, value in described.items() if name != "tasks"}, _DATA)
    tasks = {name: _data(part) for name, part in described.get("tasks", {}).items()}
    return own | {"details": details, "tasks": tasks}
