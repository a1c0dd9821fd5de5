"""A user's own folders of recordings: splits and classes by their names, every file heard, copies found by samples."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np

from harness.config import AudioFolderConfig, ConfigError
from harness.system.paths import listed
from harness.task.frames import SpeechSplit
from harness.task.intake.cuts import drawn, stratified
from harness.task.intake.duplicates import repeats, settled
from harness.task.intake.findings import DataFindings
from harness.task.intake.folders import (
    class_folders,
    files_in,
    is_hidden,
    odd_classes,
    refuse_broken,
    require_folder,
    split_folders,
    told_apart,
)
from harness.task.intake.labels import settle_alike, suspicious
from harness.task.intake.one_class import told_as_one
from harness.task.intake.recordings import OTHERS, UNREAD, WAV, DecodedAudio, read_recording
from harness.task.intake.scored import with_head
from harness.task.intake.speakers import brought, copies, drawn_by_speaker, near_copies, refuse_shared
from harness.task.intake.table import not_read, tables_beside
from harness.task.intake.unlabelled import often_none, unlabelled_rows
from harness.task.intake.untrained import untrained
from harness.task.speech import SpeechTask, speech_task

_KINDS = (*WAV, *OTHERS)
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}


@dataclasses.dataclass(frozen=True)
class _Recording:
    """A file under its folder, what was heard, the digest of that, its class, and who speaks, where that is known."""

    name: str
    heard: DecodedAudio
    digest: str
    label: str
    speaker: str = ""


_Splits = dict[str, list[_Recording]]


def read_audio_folder(config: AudioFolderConfig) -> SpeechTask:
    """Read a folder of recordings. Raises ConfigError for what is ambiguous, and for files that cannot be read."""
    if config.data is None:
        raise ConfigError("task.data: missing; give a folder of class-named folders of recordings")
    root, where = Path(config.data).expanduser(), f"task.data={config.data}"
    require_folder(root, "task.data", config.name)
    given, broken, passed_over = _heard(config, root)
    if config.gaps == "refuse":
        refuse_broken("task.data", broken, root, "; task.gaps=leave_out leaves them out")
    left = {"unreadable": [str(path.relative_to(root)) for path in broken]} if broken else {}
    given, listing = _by_lists(root, given)
    given = _named_alike(config, where, given)
    given = _without_unlabelled(config, where, given, left)
    given, lost = _without_contradictions(config, where, given, left)
    splits, told = _once(config, _cut(config, given), left)
    if config.leaks == "refuse":
        refuse_shared(where, splits)
    classes = tuple(sorted(with_head(recording.label for recording in splits["train"])))
    _check_classes(config, where, splits, classes)
    number = {label: index for index, label in enumerate(classes)}
    made = {split: _split(part, number, config.sample_rate) for split, part in splits.items()}
    task = speech_task(config.name, config.data, classes, made)
    every = [recording for part in splits.values() for recording in part]
    names = [recording.label for recording in every]
    told += often_none(names, policy=config.labels.unlabelled, classes=config.classes)
    told += near_copies(splits, config.sample_rate)
    told += not_read(tables_beside(root), "audio_table")
    facts = DataFindings(
        left_out=left,
        passed_over=passed_over,
        kept={split: [recording.name for recording in part] for split, part in splits.items()},
        near=copies(splits),
        missing=task.facts.missing,
        suspicious=[
            *suspicious(names),
            *odd_classes(classes, settled=config.labels.unlabelled == "keep" or config.classes == len(classes)),
            *told_as_one(set(names), config.labels.normalise),
            *lost,
            *told,
        ],
        format=listing | brought((each.heard for each in every), config.sample_rate),
    )
    return dataclasses.replace(task, facts=facts)


def _by_lists(root: Path, given: _Splits) -> tuple[_Splits, dict[str, str]]:
    """The splits that lists of files beside the class folders name, as those of Speech Commands, where no folder is a
    split; and what is told of them.
    """
    told = {}
    for split, name in _LISTS.items() if given.keys() == {"train"} else ():
        if not (root / name).is_file():
            continue
        named = {line.strip() for line in (root / name).read_text("utf-8", errors="replace").splitlines()}
        mine = [each for each in given["train"] if each.name in named]
        if len({each.label for each in mine}) == 1:
            told[split] = f"drawn: {len(mine)} recordings that {name} names are of one class"
        elif mine:
            given = given | {split: mine, "train": [each for each in given["train"] if each.name not in named]}
            told[split] = f"{len(mine)} recordings that {name} names"
    return given, told


def _heard(config: AudioFolderConfig, root: Path) -> tuple[_Splits, dict[Path, str], Counter[str]]:
    """The recordings of each split that is given, those that cannot be read, and what else there is by its kind."""
    found: _Splits = {}
    broken: dict[Path, str] = {}
    splits, passed_over = split_folders(root, "task.data")
    for split, place in splits.items():
        loose, _, _ = told_apart(
            [path for path in place.iterdir() if path.is_file() and not is_hidden(path)], _KINDS, ()
        )
        if loose:
            rule = "; task=spoken_digits reads LABEL_SPEAKER_INDEX.wav in one folder"
            names = listed(sorted(path.name for path in loose))
            raise ConfigError(f"task.data={place}: recordings beside the class folders: {names}{rule}")
        part = found.setdefault(split, [])
        for inner in class_folders(place, "task.data", config.classes):
            read, unread, rest = told_apart(list(files_in(inner)), _KINDS, UNREAD)
            if not read and not unread:
                raise ConfigError(f"task.data={place}: no recording in {inner.name}")
            broken |= dict.fromkeys(unread, "a kind of recording that is not read; save it as WAV")
            passed_over += rest
            for path in read:
                try:
                    part.append(_recording(config, root, path, inner.name))
                except ValueError as error:
                    broken[path] = str(error)
    return found, broken, passed_over


def _recording(config: AudioFolderConfig, root: Path, path: Path, label: str) -> _Recording:
    """A file as it is heard. Raises ValueError for what is wrong with it."""
    heard = read_recording(path, config.sample_rate, config.channels == "mix")
    speaker = ""
    if config.speaker is not None:
        match = re.search(config.speaker, path.stem)
        if match is None or not match[1]:
            raise ValueError(f"task.speaker={config.speaker} finds nobody in its name")
        speaker = match[1]
    digest = hashlib.sha256(heard.samples.tobytes()).hexdigest()
    return _Recording(path.relative_to(root).as_posix(), heard, digest, label, speaker)


def _named_alike(config: AudioFolderConfig, where: str, splits: _Splits) -> _Splits:
    """One name for each class, in all splits alike."""
    folders: dict[str, str] = {}
    for part in splits.values():
        for recording in part:
            folders.setdefault(recording.name.rpartition(f"{recording.label}/")[0] + recording.label, recording.label)
    places = [f"{folder}/" for folder in folders]
    names = settle_alike(where, list(folders.values()), places, config.labels.normalise, "folders")
    return {
        split: [dataclasses.replace(recording, label=names[recording.label]) for recording in part]
        for split, part in splits.items()
    }


def _without_unlabelled(config: AudioFolderConfig, where: str, splits: _Splits, left: dict[str, list[str]]) -> _Splits:
    """Splits without recordings of a class whose name often means that there is none."""
    every = [recording for part in splits.values() for recording in part]
    labels, names = [(each.label,) for each in every], [each.name for each in every]
    out = unlabelled_rows(where, labels, names, policy=config.labels.unlabelled, classes=config.classes)
    if not out:
        return splits
    left["unlabelled"] = [names[place] for place in out]
    gone = {id(every[place]) for place in out}
    return {split: [each for each in part if id(each) not in gone] for split, part in splits.items()}


def _without_contradictions(
    config: AudioFolderConfig, where: str, splits: _Splits, left: dict[str, list[str]]
) -> tuple[_Splits, list[str]]:
    """Splits that have no recording in two classes, and warnings about classes that are lost."""
    every = [(split, recording) for split, part in splits.items() for recording in part]
    labels: list[Hashable] = [recording.label for _, recording in every]
    names = [recording.name for _, recording in every]
    digests = [recording.digest for _, recording in every]
    policy = config.duplicates
    found, told = settled(where, keys=digests, labels=labels, rows=names, policy=policy, what="recording")
    kept = set(found)
    if len(kept) < len(every):
        left["contradicting"] = [name for place, name in enumerate(names) if place not in kept]
    remaining = [pair for place, pair in enumerate(every) if place in kept]
    return {split: [recording for of, recording in remaining if of == split] for split in splits}, told


def _cut(config: AudioFolderConfig, given: _Splits) -> _Splits:
    """The splits that are not given, cut off training; a speaker, and copies of a recording, stay in one split."""
    shares = {split: share for split, share in config.shares.items() if split not in given}
    whole = given["train"]
    if not shares or not whole:
        return {split: given.get(split, []) for split in ("train", *config.shares)}
    digests: list[Hashable] = [recording.digest for recording in whole]
    if config.speaker is not None:
        parts = drawn_by_speaker(f"task.speaker={config.speaker}", whole, shares, config.split_seed)
    elif config.cut == "drawn":
        parts = drawn(digests, shares, config.split_seed)
    else:
        parts = stratified(digests, [recording.label for recording in whole], shares, config.split_seed)
    made = given | {split: [whole[place] for place in places] for split, places in parts.items()}
    return {split: made[split] for split in ("train", *config.shares)}


def _once(config: AudioFolderConfig, splits: _Splits, left: dict[str, list[str]]) -> tuple[_Splits, list[str]]:
    """Splits without repeated recordings, which are noted in `left`, and warnings about those that stay."""
    heard = {split: [(recording.digest, recording.label) for recording in part] for split, part in splits.items()}
    names = {split: [recording.name for recording in part] for split, part in splits.items()}
    out, told = repeats(heard, names, config.duplicates)
    if repeated := [names[split][place] for split in splits for place in out[split]]:
        left["repeated"] = list(dict.fromkeys(repeated))
    kept = {split: set(range(len(part))) - set(out[split]) for split, part in splits.items()}
    return {split: [part[place] for place in sorted(kept[split])] for split, part in splits.items()}, told


def _check_classes(config: AudioFolderConfig, where: str, splits: _Splits, classes: Sequence[str]) -> None:
    for split, part in splits.items():
        if not part:
            raise ConfigError(f"{where}: the {split} split has no recordings")
        if said := untrained([(recording.name, recording.label) for recording in part], classes, "recordings"):
            raise ConfigError(f"{where}: {split}: {said}")
    if len(classes) < 2:
        raise ConfigError(f"{where}: {len(classes)} class in training ({listed(classes)}); at least 2 are needed")
    if config.classes is not None and config.classes != len(classes):
        raise ConfigError(f"task.classes={config.classes}: {where} has {len(classes)} classes in training")


def _split(part: Sequence[_Recording], number: dict[str, int], rate: int) -> SpeechSplit:
    samples: tuple[np.ndarray, ...] = tuple(recording.heard.samples for recording in part)
    labels = tuple(number[recording.label] for recording in part)
    return SpeechSplit(samples, labels, tuple(recording.speaker for recording in part), rate)
