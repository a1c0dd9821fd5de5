"""The value types of a configuration, and the address of an asset."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False, defer_build=True)
# Strict scalars: "8", 8.0 and true are not the rank 8.
Count = Annotated[int, Strict(), Field(ge=1)]
Natural = Annotated[int, Strict(), Field(ge=0)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]
"""What numpy's generator, which trials are seeded with too, takes."""
Flag = Annotated[bool, Strict()]
Number = Annotated[float, Strict()]
Positive = Annotated[float, Strict(), Field(gt=0)]
NotNegative = Annotated[float, Strict(), Field(ge=0)]
Share = Annotated[float, Strict(), Field(ge=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]
ClassName = Annotated[Text, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]
"""The name of a class, which may be a number or True."""
Column = ClassName
"""The name of a column, which may be a number."""
Weights = Annotated[dict[ClassName, Positive], Field(min_length=1)]
"""Numbers above 0 by class."""
Listed = Annotated[list[Text], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
"""Texts; one alone is written without brackets."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
_PAGE = re.compile(r"https://(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+?)/?(?:/tree/[\w./-]+)?")


def _no_page(address: str) -> str:
    if page := _PAGE.fullmatch(address):
        raise PydanticCustomError("page", "The page of a repository; write hub:{name}", {"name": page[1]})
    return address


Address = Annotated[str, Field(pattern=r"^(hub|pypi|https|path):.+"), AfterValidator(_no_page)]
HeldOut = Annotated[float, Strict(), Field(gt=0, le=0.4)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class AssetConfig:
    """The origin of a file or folder, and the SHA-256 that verifies it.

    `sha256` is the digest of the whole (a package archive, a file), or one digest for each file of a hub repository;
    null for a hub file means: the digest that the hub declares for the pinned revision.
    """

    address: Address
    sha256: Digest | dict[str, Digest | None] | None
