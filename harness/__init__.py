"""LoRA experiments: which rank, where in the network, at what cost.

`harness.read("results/NAME").frame()` is a study's trials as a pandas table.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.record import Records

__all__ = ["read"]


def read(folder: str | Path) -> "Records":
    """The records of the study in a folder. Raises FileNotFoundError where it has none."""
    from harness import record  # whoever imports the package for something else need not load it

    path = Path(folder) / record.RECORDS
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a study's folder is results/NAME")
    return record.read(folder)


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("lora-harness")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
