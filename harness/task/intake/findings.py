"""Facts about data that were found while reading them, for the record and the log."""

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class DataFindings:
    """`left_out` has the rows, or files, that were not taken, by reason; `kept` those of each split, as they are
    numbered in `files`. `near` counts rows that stand in a split, or in two, up to case, blanks and punctuation;
    `missing` the classes that a split has not; `format` how a file is written, where that is not the usual way.
    """

    left_out: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    kept: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    near: Mapping[str, int] = dataclasses.field(default_factory=dict)
    missing: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    suspicious: Sequence[str] = ()
    format: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def described(self) -> dict[str, object]:
        """Return the record's entry: counts, and what is unusual."""
        told: dict[str, object] = {"left_out": {reason: len(rows) for reason, rows in self.left_out.items() if rows}}
        rest = {
            "passed_over": dict(self.passed_over),
            "near": dict(self.near),
            "missing": {split: list(names) for split, names in self.missing.items()},
            "suspicious": list(self.suspicious),
            "format": dict(self.format),
        }
        return told | {name: value for name, value in rest.items() if value}


NO_FINDINGS = DataFindings()
