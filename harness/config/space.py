"""The dimensions of a search: ranges and choices, each with a condition; how they are written, and what is wrong there.

A space maps dotted keys to dimensions. A point of it has a value for every key whose condition holds.
"""

import dataclasses
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from harness.config.hydra_words import WORDS, from_words
from harness.config.scalars import CLOSED, Flag, Number, Positive, Text
from harness.config.tree import nearest

Point = dict[str, Any]
"""Values by their dotted key."""


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class Range:
    """Numbers between `low` and `high`, both included: drawn evenly, or evenly on a log scale.

    An `integer` range has integers only; with a `step`, only `low` plus whole numbers of steps. `when` as in `Choice`.
    """

    low: Number
    high: Number
    log: Flag = False
    integer: Flag = False
    step: Positive | None = None
    when: dict[Text, Any] | None = None

    has_between: ClassVar[bool] = True
    """Whether what holds for two values holds for those between them."""

    @property
    def kind(self) -> str:
        """The type that dimensions of one key share in all arms, as Optuna requires of one study."""
        return f"{'log ' if self.log else ''}{'integer' if self.integer else 'float'}"

    @property
    def ends(self) -> list[Any]:
        """The values at which a study is checked."""
        return [self.rounded(self.low), self.rounded(self.high)] if self.spacing else [self.low, self.high]

    @property
    def spacing(self) -> float | None:
        """The distance of neighbouring values; None where every number between the bounds is one."""
        return self.step or (1.0 if self.integer else None)

    @property
    def values(self) -> list[Any] | None:
        """All values; None where they are without number."""
        if self.spacing is None:
            return None
        return [self.rounded(self.low + index * self.spacing) for index in range(round(self._last) + 1)]

    @property
    def described(self) -> str:
        """The range in a message."""
        return f"range [{self.low:g}, {self.high:g}]"

    def mistakes(self) -> list[str]:
        """Return the errors in the range; one line at most."""
        shown, whole = f"[{self.low:g}, {self.high:g}]", (self.low, self.high, self.step or 1.0)
        if not math.isfinite(self.low) or not self.low < self.high:
            return [f"{shown}: low must be below high"]
        if self.log and self.low <= 0:
            return [f"{shown}: a log range starts above 0"]
        if self.integer and any(value % 1 for value in whole):
            return [f"{shown}: an integer range has integers as low, high and step"]
        if self.log and self.step is not None:
            return [f"{shown}: log, and a step of {self.step:g}; one of them"]
        if self.step is not None and abs(self._last - round(self._last)) > 1e-6:
            return [f"{shown}: high must be low plus a whole number of steps of {self.step:g}"]
        return []

    def holds(self, value: Any) -> bool:
        """Return whether the range has this value."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (self.spacing is None or self.rounded(value) == value)

    def at(self, fraction: float) -> float:
        """The value at a fraction of 0…1."""
        if self.log:
            reach = 0.5 if self.integer else 0.0  # so that the ends are drawn as often as others, on that scale
            low, high = math.log(self.low - reach), math.log(self.high + reach)
            return self.rounded(math.exp(low + fraction * (high - low)))
        if self.spacing is None:
            return self.rounded(self.low + fraction * (self.high - self.low))
        last = round(self._last)
        return self.rounded(self.low + self.spacing * min(int(fraction * (last + 1)), last))

    def rounded(self, value: float) -> float:
        """The nearest value that tables show and users retype: of three significant digits, an integer, or a step."""
        if self.spacing is None:
            return self._inside(float(f"{value:.3g}"))
        found = self.low + round((self._inside(value) - self.low) / self.spacing) * self.spacing
        return round(found) if self.integer else self._inside(float(f"{found:.12g}"))

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    @property
    def _last(self) -> float:
        """Return how many steps `high` is above `low`."""
        return (self.high - self.low) / (self.spacing or 1.0)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class Choice:
    """One of several values, which may be lists: target sets, names, numbers.

    With `when`, the dimension exists where each key that it names has the value, or one of the list of values: another
    key of the same space, or one that the arm itself sets.
    """

    choices: Annotated[list[Any], Field(min_length=2)]
    when: dict[Text, Any] | None = None

    has_between: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        return self.described

    @property
    def ends(self) -> list[Any]:
        return self.choices

    @property
    def values(self) -> list[Any] | None:
        return self.choices

    @property
    def described(self) -> str:
        return f"choice of {', '.join(map(_shown, self.choices))}"

    def mistakes(self) -> list[str]:
        shown = list(map(_shown, self.choices))
        twice = dict.fromkeys(choice for choice in shown if shown.count(choice) > 1)
        return [f"[{', '.join(shown)}]: {', '.join(twice)} more than once"] if twice else []

    def holds(self, value: Any) -> bool:
        return value in self.choices

    def at(self, fraction: float) -> Any:
        return self.choices[min(int(fraction * len(self.choices)), len(self.choices) - 1)]

    def rounded(self, value: Any) -> Any:
        return value


def _kind_of(value: Any) -> str:
    chosen = isinstance(value, Choice) or (isinstance(value, Mapping) and "choices" in value)
    return "choice" if chosen else "range"


def _read(value: Any) -> Any:
    """A dimension's keys, also of one that is written in the words of Hydra's sweeps."""
    if isinstance(value, Range | Choice | Mapping):
        return value
    try:
        if isinstance(value, str):
            return from_words(value)
        rule = f"not a dimension; valid: {{low: 1, high: 8}}, {{choices: [1, 2]}}, {WORDS}"
    except ValueError as error:
        rule = str(error)
    raise PydanticCustomError("dimension", "{rule}", {"rule": rule})


Dimension = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choice, Tag("choice")],
    Discriminator(_kind_of),
    BeforeValidator(_read),
]
"""A range, or a choice where there is the key `choices`."""


def _is_dimension(value: Any) -> str:
    return "dimension" if isinstance(value, Range | Choice | Mapping | str) else "values"


Values = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("values")] | Annotated[Dimension, Tag("dimension")],
    Discriminator(_is_dimension),
]
"""A list of the values that are compared, or a dimension to be searched."""

Space = Mapping[str, Range | Choice]


def flattened(space: Mapping[str, Any]) -> dict[str, Any]:
    """A space whose keys are dotted: what is nested, as the command line adds it, replaces a dotted key of the file.

    A nested null removes the dotted key.
    """
    inner = {key: value for key, value in space.items() if _is_inner(value)}
    found = {key: value for key, value in space.items() if key not in inner}
    added = {f"{key}.{name}": item for key, value in inner.items() for name, item in flattened(value).items()}
    removed = {key for key, item in added.items() if item is None and key in found}
    return {key: item for key, item in (found | added).items() if key not in removed}


_OF_A_DIMENSION = {"low", "high", "log", "integer", "step", "choices", "when"}


def _is_inner(value: Any) -> bool:
    """Return whether a mapping is no dimension itself but holds dimensions under the rest of their keys."""
    return isinstance(value, Mapping) and bool(value) and not _OF_A_DIMENSION & set(value)


def applied(space: Space, point: Point) -> Point:
    """The point without the keys whose condition does not hold there."""
    kept: Point = {}
    for key in in_order(space):
        if key in point and exists(space[key], kept):
            kept[key] = point[key]
    return {key: kept[key] for key in space if key in kept}


def exists(dimension: Range | Choice, point: Point) -> bool:
    """Return whether the dimension's condition holds if the others have the values of `point`."""
    conditions = (dimension.when or {}).items()
    return all(key in point and point[key] in _wanted(values) for key, values in conditions)


def settled(space: Space, values: Mapping[str, Any]) -> Space:
    """The dimensions that exist where other keys have these values, in their order, without conditions on those."""
    left = {
        key: _without(dimension, values)
        for key, dimension in space.items()
        if all(values[other] in _wanted(wanted) for other, wanted in (dimension.when or {}).items() if other in values)
    }
    reached = in_order(left)
    return {key: dimension for key, dimension in left.items() if key in reached}


def _without(dimension: Range | Choice, known: Collection[str]) -> Range | Choice:
    when = {other: values for other, values in (dimension.when or {}).items() if other not in known}
    return dimension if when == (dimension.when or {}) else dataclasses.replace(dimension, when=when or None)


def in_order(space: Space) -> list[str]:
    """The keys, in their order but that each follows those that its condition names; keys of a circle are left out."""
    found: list[str] = []
    while True:
        waiting = (key for key in space if key not in found and set(space[key].when or ()) <= set(found))
        if (key := next(waiting, None)) is None:
            return found
        found.append(key)


def points(space: Space) -> Iterator[Point]:
    """Every point of a space of finite dimensions, conditional ones included."""

    def beside(point: Point, keys: list[str]) -> Iterator[Point]:
        if not keys:
            yield point
            return
        dimension = space[keys[0]]
        values = (dimension.values or []) if exists(dimension, point) else None
        for more in [{}] if values is None else [{keys[0]: value} for value in values]:
            yield from beside(point | more, keys[1:])

    return beside({}, in_order(space))


def where(space: Space, key: str) -> Point:
    """Values of other keys at which a key exists."""
    needed: Point = {}
    for other, values in (space[key].when or {}).items():
        needed |= where(space, other) | {other: _possible(space[other], values)[0]}
    return needed


def space_mistakes(space: Space, given: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Yield the errors in a space: a line for each, which begins with the key.

    `given` are the values that arms set of other keys.
    """
    for key, dimension in space.items():
        yield from (f"{key}={rule}" for rule in dimension.mistakes())
    unknown = False
    for key, dimension in space.items():
        for other, values in (dimension.when or {}).items():
            valid = [name for name in (*space, *given) if name != key]
            if other in space:
                possible, described = _possible(space[other], values), f"a {space[other].described}"
            else:
                possible = [value for value in _wanted(values) if value in given.get(other, ())]
                described = " or ".join(map(_shown, given.get(other, ())))
            if other not in valid:
                unknown = True
                names = f"; valid: {', '.join(valid)}" if valid else ""
                yield f"{key}.when.{other}: no other dimension of this space{nearest(other, valid) or names}"
            elif not possible:
                yield f"{key}.when.{other}={_shown(values)}: never so; {other} is {described}"
    inner = {key: _without(dimension, given) for key, dimension in space.items()}
    if circle := [key for key in space if key not in in_order(inner) and not unknown]:
        yield f"{circle[0]}.when: a circle; each of {', '.join(circle)} exists only where another of them does"


def _possible(dimension: Range | Choice, values: Any) -> list[Any]:
    return [value for value in _wanted(values) if dimension.holds(value)]


def _wanted(values: Any) -> list[Any]:
    """A condition's values: a list is one of them, too, for a dimension whose values are lists."""
    return [values, *values] if isinstance(values, list) else [values]


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
