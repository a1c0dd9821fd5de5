"""The arguments of the claims command: the node `claims` of the configuration."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from harness.config import ConfigError
from harness.config.scalars import CLOSED, Flag, Text

Part = Literal["rank", "cnn", "lstm", "translation", "little", "lr", "continual"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class Arguments:
    """The studies by which claims are judged, by their role, each as the words of the command that runs it.

    `run` false: a study that is not finished is left as it is, and what it would show can't be tested.
    """

    run: Flag
    studies: dict[Part, Annotated[list[Text], Field(min_length=1)]]


_ARGUMENTS: TypeAdapter[Arguments] = TypeAdapter(Arguments)


def read_arguments(given: Mapping[str, Any]) -> Arguments:
    """The arguments, checked. Raises ConfigError with a line for each mistake."""
    if not given:
        raise ConfigError("claims: nothing to judge by; +experiment=claims names the studies")
    try:
        return _ARGUMENTS.validate_python(dict(given))
    except ValidationError as error:
        raise ConfigError(*(_line(item["loc"], item["msg"]) for item in error.errors())) from None


def _line(place: tuple[int | str, ...], rule: str) -> str:
    keys = [str(key) for key in place if key != "[key]"]
    return f"{'.'.join(['claims', *keys])}: {rule[0].lower()}{rule[1:]}"
