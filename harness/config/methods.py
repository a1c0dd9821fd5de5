"""The names of samplers and pruners in a sweep, and how they are written: `gp`, or `{name: tpe, multivariate: true}`.

Their classes and arguments are in harness.search.methods, which needs Optuna.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from harness.config.scalars import Text
from harness.config.tree import nearest

SAMPLERS = ("tpe", "gp", "cmaes", "nsgaii", "nsgaiii", "random", "qmc", "grid", "brute_force")
PRUNERS = (
    *("median", "percentile", "successive_halving", "hyperband", "wilcoxon", "patient", "threshold", "dominance"),
    *("synchronous_halving", "asynchronous_halving", "none"),
)
HALVING = ("synchronous_halving", "asynchronous_halving")
"""Pruners under which trials wait at rungs, and the best of them go on from their checkpoints."""


def _named(value: Any) -> Any:
    """A method by its name alone has no arguments."""
    return {"name": value} if isinstance(value, str) else value


Method = Annotated[dict[Text, Any], BeforeValidator(_named)]
"""A sampler or a pruner: its `name`, and the arguments it is given."""


def method_mistakes(key: str, method: Mapping[str, Any] | None, names: tuple[str, ...]) -> list[str]:
    """A line where a method has no name, or one that neither is known nor is a dotted path."""
    if method is None:
        return []
    valid = f"valid: {', '.join(names)}, or package.module:Name"
    name = method.get("name")
    if not isinstance(name, str):
        return [f"{key}.name: missing; {valid}"]
    if name in names or ":" in name:
        return []
    return [f"{key}={name}: no such {key.rpartition('.')[2]}{nearest(name, names)}; {valid}"]
