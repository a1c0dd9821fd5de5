"""Dimensions of a search in the words of Hydra's sweeps: `choice(1, 2)`, `interval(0.1, 1)`, `range(1, 10, 2)`."""

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, QuotedString, RangeSweep
from hydra.errors import HydraException

WORDS = "choice(1, 2), interval(0.1, 1), int(interval(1, 64)), tag(log, interval(0.1, 1)), range(1, 10, 2)"


def from_words(text: str) -> dict[str, Any]:
    """The keys of the range or the choice that a text of Hydra's own grammar means.

    As in Hydra, `range` leaves its end out, and an interval is of floats unless it is cast or tagged as `int`. Raises
    ValueError for any other text.
    """
    try:
        value: Any = OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        value = None
    if (found := _keys(value)) is None:
        raise ValueError(f"not a dimension; valid: {WORDS}")
    return found


def _keys(value: Any) -> dict[str, Any] | None:
    match value:
        case ChoiceSweep(tags=tags, shuffle=False) if not tags:
            return {"choices": _plain(value.list)}
        case IntervalSweep(start=start, end=end, tags=tags) if tags <= {"log", "int"}:
            integer = "int" in tags or (isinstance(start, int) and isinstance(end, int))
            return {"low": start, "high": end, "log": "log" in tags, "integer": integer}
        case RangeSweep(step=step, tags=tags, shuffle=False) if not tags and step and (numbers := list(value.range())):
            integer = all(isinstance(number, int) for number in numbers)
            return {"low": min(numbers), "high": max(numbers), "step": abs(step), "integer": integer}
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    return value.text if isinstance(value, QuotedString) else value
