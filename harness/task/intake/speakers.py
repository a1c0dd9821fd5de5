"""Recordings in splits: drawn by who speaks, shared by none of them, and how they were brought to one form."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.cuts import SplitRows, drawn, joined
from harness.task.intake.duplicates import near_counts, shared_keys
from harness.task.intake.nearly import near_recordings
from harness.task.intake.recordings import DecodedAudio


class Spoken(Protocol):
    """A recording by its name, what was heard, the digest of that, and who speaks, where that is known."""

    @property
    def name(self) -> str: ...

    @property
    def heard(self) -> DecodedAudio: ...

    @property
    def digest(self) -> str: ...

    @property
    def speaker(self) -> str: ...


R = TypeVar("R", bound=Spoken)


def drawn_by_speaker(where: str, recordings: Sequence[R], shares: Mapping[str, float], seed: int) -> SplitRows:
    """Speakers at random; copies of a recording, whoever speaks, stay in one split.

    Raises ConfigError, with `where`, for too few of them.
    """
    groups = joined([each.digest for each in recordings], [each.speaker for each in recordings])
    parts = drawn(groups, shares, seed)
    if not all(len(places) for places in parts.values()):
        speakers = list(dict.fromkeys(each.speaker for each in recordings))
        said = ", ".join(f"task.{split}_share={share}" for split, share in shares.items())
        rule = f"{len(speakers)} speakers ({listed(speakers)}), {len(set(groups))} that share no recording"
        raise ConfigError(f"{where}: {rule}; too few for {said} and some to train on")
    return parts


def refuse_shared(where: str, splits: Mapping[str, Sequence[R]]) -> None:
    """Raise ConfigError where a recording, or a speaker, is in two splits."""
    kinds: dict[str, Mapping[str, Sequence[Hashable]]] = {
        "recordings": {split: [each.digest for each in part] for split, part in splits.items()},
        "recordings by speakers": {split: [each.speaker for each in part] for split, part in splits.items()},
    }
    for kind, keys in kinds.items():
        for names, places in shared_keys(keys).items():
            first, _, second = names.partition(" and ")
            if there := [splits[second][place].name for place in places if keys[second][place]]:
                rule = "task.leaks=allow takes them all the same"
                raise ConfigError(
                    f"{where}: {len(there)} {kind} of {second} stand in {first} too ({listed(there)}); {rule}"
                )


def copies(splits: Mapping[str, Sequence[R]]) -> dict[str, int]:
    """Count the recordings of each split that are copies of others, if there are any."""
    return near_counts({split: [each.digest for each in part] for split, part in splits.items()})


def near_copies(splits: Mapping[str, Sequence[R]], rate: int) -> list[str]:
    """Return warnings about recordings at a `rate` that sound like one of an earlier split."""
    heard = {split: [(each.name, each.digest, each.heard.samples) for each in part] for split, part in splits.items()}
    return near_recordings(heard, rate)


def brought(recordings: Iterable[DecodedAudio], rate: int) -> dict[str, str]:
    """Count the recordings that had another rate, had several channels, or were clipped."""
    found: Counter[str] = Counter()
    for heard in recordings:
        found.update([f"of {heard.rate} samples a second"] if heard.rate != rate else [])
        found.update([f"of {heard.channels} channels"] if heard.channels > 1 else [])
        found.update(["clipped at full scale"] if heard.clipped else [])
    return {kind: f"{count} recordings" for kind, count in found.items()}
