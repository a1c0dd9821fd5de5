"""The position of a trial in its study. No torch is imported."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.record import Phase, Record

if TYPE_CHECKING:
    from harness.training import Pack

CHECKPOINTS = "checkpoint"
BEST = "best.safetensors"
"""The weights of the best evaluation so far, while a trial runs."""

Report = Callable[[int, dict[str, float]], bool]
"""Called with the step and the validation scores after each evaluation; true means: end this trial."""


@dataclass(frozen=True)
class TrialContext:
    """A trial's position in its study: the study, number, arm, the folder of its files and the values from the search.

    `test` says whether its best weights are scored on the test split, `compares` whether the merged network is compared
    with the adapter beside its layers, and their latencies are measured. One that `halts` is saved where it is pruned,
    and may go on. In a `pack` it may train with others; `pack_size` says how many trials its worker trained at most
    while it had this one. `watch` is given what returns the record so far. `command` is what its record says that it
    was trained by; None: the command of this process.
    """

    study: str
    number: int
    arm: str
    folder: Path
    point: dict[str, Any] = field(default_factory=dict)
    phase: Phase = "search"
    test: bool = True
    compares: bool = True
    halts: bool = False
    pack: "Pack | None" = None
    pack_size: Callable[[], int] = lambda: 1
    watch: Callable[[Callable[[], Record]], None] = lambda so_far: None
    command: str | None = None
