"""A user's own recordings with transcripts: tables found in their usual layouts, every file heard, splits cut."""

import dataclasses
import hashlib
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from harness.config import ConfigError, TranscriptsConfig, names_in
from harness.system.paths import listed
from harness.task.error_rates import normaliser
from harness.task.intake.asked import asked_lines, asked_table
from harness.task.intake.cuts import drawn
from harness.task.intake.datasets import load_splits
from harness.task.intake.duplicates import normalised, repeats, settled, shared_keys
from harness.task.intake.files import given_files, unwritable
from harness.task.intake.findings import DataFindings
from harness.task.intake.gap_words import Words, without_gap_words
from harness.task.intake.groups import without_group
from harness.task.intake.held import named_or_held, shortened
from harness.task.intake.labels import is_gap
from harness.task.intake.misplaced import where_they_are
from harness.task.intake.recordings import (
    OTHERS,
    WAV,
    WAV_STARTS,
    DecodedAudio,
    decode_audio,
    read_recording,
    recording_at,
)
from harness.task.intake.segments import SEGMENTS, of_parts
from harness.task.intake.speakers import brought, copies, drawn_by_speaker, near_copies, refuse_shared
from harness.task.intake.split_column import by_column, numbered_splits, untimed
from harness.task.intake.table import ARROW, Table, load_table, usual_column
from harness.task.intake.timed import latest_held_out
from harness.task.intake.transcripts import BY_NAMES, tables_in, words_in
from harness.task.intake.unspoken import marks, refuse_names
from harness.task.own_file_tables import cells_of

_AUDIO = ("file_name", "path", "audio", "file", "filename", "audio_path", "audio_filepath", "wav", "recording")
_TEXT = ("transcription", "transcript", "sentence", "text")
_OFTEN = 5  # recordings of each transcript if there are few different ones, as of digits
_SPEAKER = ("client_id", "speaker", "speaker_id")


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A recording by the name of its file, what was heard, the digest of that, what is said, by whom, and in which row
    it stands.
    """

    name: str
    heard: DecodedAudio
    digest: str
    text: str
    speaker: str = ""
    row: str = ""
    time: object = None


Splits = dict[str, list[Utterance]]


def read_own_transcripts(config: TranscriptsConfig) -> tuple[str, Splits, DataFindings]:
    """The three splits, and what was found out. Raises ConfigError for what cannot be learned from."""
    source = str(config.data or config.dataset)
    where = f"task.data={source}" if config.data else f"task.dataset={source}"
    tables, told = _given(config)
    tables = by_column(tables, config.split, config.gaps)
    told += numbered_splits(tables, config.split, [config.speaker or "", config.time or ""])
    told += untimed(tables, config.time)
    left: dict[str, list[str]] = {}
    formats: dict[str, str] = {}
    given: Splits = {}
    words = Words()
    for split, (named, table) in tables.items():
        table = _without_gap_words(config, split, named, table, words)
        speaker = config.speaker or (None if config.time else _usual_speaker(config, table))
        given[split] = _heard(config, split, named, table, speaker=speaker, earlier=given, left=left)
        digests = [each.digest for each in given[split]]
        told += of_parts(SEGMENTS, named, table, digests, settled=config.duplicates != "refuse")
        formats |= {f"{split}.{what}": said for what, said in table.format.items()}
        formats |= {f"{split}.speaker": f"in column {speaker}"} if speaker != config.speaker else {}
    told += words.told
    if words.out:
        left["gaps"] = words.named()
    if config.speaker is None:
        given = _without_the_one(given)
    given = _without_contradictions(config, where, given, left)
    given, repeated = _once(config, given, left)
    cut = _cut(config, where, given, formats, told)
    # In an order of their own: the first rows, which are written down, would else be of one speaker or one word.
    splits = {split: sorted(part, key=lambda each: each.digest) for split, part in cut.items()}
    if config.leaks == "refuse":
        refuse_shared(where, splits)
    for split, part in splits.items():
        if not part:
            raise ConfigError(f"{where}: the {split} split has no recordings")
    every = [each for part in splits.values() for each in part]
    told += _without_speaker(config.speaker or _usual_speaker(config, tables["train"][1]), splits)
    told += [
        *repeated,
        *marks((each.text for each in every), config.normalise),
        *_shared_texts(splits),
        *near_copies(splits, config.sample_rate),
    ]
    facts = DataFindings(
        left_out=left,
        kept={split: [each.name for each in part] for split, part in splits.items()},
        near=copies(splits),
        suspicious=told,
        format=formats | brought((each.heard for each in every), config.sample_rate),
    )
    return source, splits, facts


def _without_gap_words(config: TranscriptsConfig, split: str, where: str, table: Table, found: Words) -> Table:
    policy, gaps, text = config.gap_words, config.gaps, config.text or usual_column(table, "task.text", _TEXT)
    return without_gap_words(where, split, table, [text], policy=policy, gaps=gaps, found=found)


def _given(config: TranscriptsConfig) -> tuple[dict[str, tuple[str, Table]], list[str]]:
    """The table of each split that is given, with what names it; and notes on splits that are none."""
    columns = (config.audio, config.text, config.speaker or config.time)
    named = [each for name in columns if name is not None for each in names_in(name)]
    some = () if None in columns else named  # of an Arrow table no column is read that is not wanted; some are found
    if config.dataset is not None:
        found, told = load_splits(config.dataset, config.subset, some, config.split_names)
        return {split: (f"task.dataset={config.dataset}", table) for split, table in found.items()}, told
    if config.data is None:
        raise ConfigError(
            "task.data: missing; give a table of recordings and transcripts, a folder that holds one, or task.dataset"
        )
    return _tables(config, Path(config.data).expanduser(), named=named, some=some), []


def _tables(
    config: TranscriptsConfig, root: Path, *, named: Sequence[str], some: Sequence[str]
) -> dict[str, tuple[str, Table]]:
    """Read the tables of files: `some` columns of an Arrow table, all of others; `named` ones give the format."""
    found: dict[str, tuple[str, Table]] = {}
    if root.is_dir():
        inside = tables_in(root, config.encoding, config.separator) or {"train": words_in(root, config.said)}
        found = {split: (f"task.data={table.path}", table) for split, table in inside.items()}
    for split, key, path in given_files(None if found else config.data, config.validation, config.test):
        place = Path(path).expanduser()
        wanted = some if place.suffix.lower() in ARROW else named
        table = load_table(
            place, key, wanted, encoding=config.encoding, separator=config.separator, columns=config.columns
        )
        found[split] = (f"{key}={place}", table)
    if config.said is not None and (table := found["train"][1]).format.get("layout") != BY_NAMES:
        raise ConfigError(f"task.said: of recordings named {BY_NAMES}; {table.path} has transcripts of its own")
    return found


def _heard(
    config: TranscriptsConfig,
    split: str,
    where: str,
    table: Table,
    *,
    speaker: str | None,
    earlier: Splits,
    left: dict[str, list[str]],
) -> list[Utterance]:
    """The recordings of a table; those of its rows that cannot be used are noted in `left`, or raise ConfigError."""
    column, files = _files(config, table)
    texts = table.column("task.text", config.text or usual_column(table, "task.text", _TEXT))
    speakers = table.column("task.speaker", speaker) if speaker else [""] * len(files)
    timed = config.time if split == "train" else None  # which alone is cut
    times = table.column("task.time", timed) if timed else [None] * len(files)
    found, wrong = [], dict[str, str]()
    for row, file, text, who, time in zip(table.frame.index, files, texts, speakers, times, strict=True):
        try:
            utterance = _utterance(config, table.path, file, text, who)
            found.append(dataclasses.replace(utterance, row=str(row), time=time))
        except ValueError as error:
            wrong[str(row)] = str(error)
    if wrong and config.gaps == "refuse":
        said = listed(f"row {row}: {reason}" for row, reason in wrong.items())
        rows = f"{len(wrong)} rows" if len(wrong) > 1 else "a row"
        cells = {str(row): cell for row, cell in files.items()}
        rule = where_they_are(
            "task.audio",
            table.path.parent,
            column,
            (*WAV, *OTHERS),
            cells=cells,
            wrong=wrong,
            earlier=[each.name for part in earlier.values() for each in part],
        )
        raise ConfigError(f"{where}: {rows} cannot be used ({said}); {rule}")
    refuse_names(where, str(texts.name), [each.name for each in found], [each.text for each in found])
    if wrong:
        left.setdefault("unusable", []).extend(f"{split} {row}" for row in wrong)
    return found


def _files(config: TranscriptsConfig, table: Table) -> tuple[str, pd.Series]:
    """The column of files, or a template of it, and what each row names."""
    column = config.audio or usual_column(table, "task.audio", _AUDIO)
    return column, cells_of(table, "task.audio", column)


def named_recordings(config: TranscriptsConfig, path: Path) -> list[tuple[str, DecodedAudio]]:
    """The name and the recording of each row of a table, or of a .txt of a file a line, named relative to itself.

    Raises ConfigError, with all that cannot be read.
    """
    named: Iterable[tuple[object, object]]
    if path.suffix.lower() == ".txt":
        named = asked_lines(path, config.encoding).items()
    else:
        table = asked_table(path, encoding=config.encoding, separator=config.separator, columns=config.columns)
        named = _files(config, table)[1].items()
    found, wrong = list[tuple[str, DecodedAudio]](), list[str]()
    for row, each in named:
        try:
            found.append(_recording(config, path, each))
        except ValueError as error:
            wrong.append(f"row {row}: {error}")
    if wrong or not found:
        raise ConfigError(f"input={path}: {listed(wrong) or 'no recordings in it'}")
    return found


def _recording(config: TranscriptsConfig, table: Path, file: object) -> tuple[str, DecodedAudio]:
    """The name of a file that a table names or holds, and what is heard.

    Raises ValueError for what is wrong with it.
    """
    name, content = named_or_held(file)
    rate, mix = config.sample_rate, config.channels == "mix"
    try:
        if content is None:
            heard = read_recording(recording_at(table.parent, name), rate, mix)
        else:
            heard = decode_audio(content, None, rate, mix, is_wav=content[:4] in WAV_STARTS)
    except ValueError as error:
        raise ValueError(f"{shortened(name)}: {error}") from None
    seconds = len(heard.samples) / config.sample_rate
    if config.longest_s is not None and seconds > config.longest_s:
        raise ValueError(f"{shortened(name)}: {seconds:.3g} s; task.longest_s={config.longest_s:g}")
    return name, heard


def _usual_speaker(config: TranscriptsConfig, table: Table) -> str | None:
    """The first column of a usual name that is read as nothing else; None where there is none."""
    there = set(map(str, table.frame.columns)) - {config.audio, config.text}
    return next((name for name in _SPEAKER if name in there), None)


def _without_the_one(given: Splits) -> Splits:
    """Return the recordings without a speaker if one speaks all of them: then no speakers are kept apart."""
    if len({each.speaker for part in given.values() for each in part}) > 1:
        return given
    return {split: [dataclasses.replace(each, speaker="") for each in part] for split, part in given.items()}


def _utterance(config: TranscriptsConfig, table: Path, file: object, text: object, who: object) -> Utterance:
    """A row as it is heard. Raises ValueError for what is wrong with it."""
    name, heard = _recording(config, table, file)
    short = shortened(name)
    if is_gap(text) or not str(text).strip():
        raise ValueError(f"{short} has no transcript")
    if not isinstance(text, str | int | float):
        raise ValueError(f"{short}: its transcript is {type(text).__name__}, no text")
    if problem := unwritable(str(text)):
        raise ValueError(f"{short}: its transcript has {problem}")
    if not normaliser(config.normalise)(str(text)):
        said = shortened(repr(str(text)))
        what = "" if any(map(str.isalnum, str(text))) else " is punctuation alone, and"
        raise ValueError(f"{short}: {said}{what or ':'} task.normalise={config.normalise} leaves nothing of it")
    if config.speaker is not None and (is_gap(who) or not str(who).strip()):
        raise ValueError(f"{short} has no {config.speaker}, which task.speaker names")
    digest = hashlib.sha256(heard.samples.tobytes()).hexdigest()
    return Utterance(name, heard, digest, str(text).strip(), "" if is_gap(who) else str(who).strip())


def _without_contradictions(
    config: TranscriptsConfig, where: str, splits: Splits, left: dict[str, list[str]]
) -> Splits:
    """Splits that have no recording with two transcripts."""
    every = [(split, each) for split, part in splits.items() for each in part]
    rows = [f"{split} {each.row}" if len(splits) > 1 else each.row for split, each in every]
    kept, _ = settled(
        where,
        keys=[each.digest for _, each in every],
        labels=[normalised(each.text) for _, each in every],
        rows=[f"{row} {each.name}" for row, (_, each) in zip(rows, every, strict=True)],
        policy=config.duplicates,
        what="recording",
        named="transcripts",
    )
    if out := set(range(len(every))).difference(kept):
        left["contradicting"] = [rows[place] for place in sorted(out)]
    return {
        split: [each for place, (of, each) in enumerate(every) if of == split and place not in out] for split in splits
    }


def _once(config: TranscriptsConfig, splits: Splits, left: dict[str, list[str]]) -> tuple[Splits, list[str]]:
    """Splits without repeated rows, which are noted in `left`, and warnings about those that stay."""
    heard = {split: [(each.digest, normalised(each.text)) for each in part] for split, part in splits.items()}
    names = {split: [each.name for each in part] for split, part in splits.items()}
    out, told = repeats(heard, names, config.duplicates)
    if repeated := [f"{split} {names[split][place]}" for split in splits for place in out[split]]:
        left["repeated"] = repeated
    gone = {split: set(places) for split, places in out.items()}
    return {
        split: [each for place, each in enumerate(part) if place not in gone[split]] for split, part in splits.items()
    }, told


def _cut(config: TranscriptsConfig, where: str, given: Splits, formats: dict[str, str], told: list[str]) -> Splits:
    """The splits that are not given, cut off training."""
    shares = {split: share for split, share in config.shares.items() if split not in given}
    whole = given["train"]
    if not shares or not whole:
        return {split: given.get(split, []) for split in ("train", *config.shares)}
    if config.time is not None:
        times = {each.row: each.time for each in whole}
        parts, spans, odd = latest_held_out(where, config, times, shares)
        formats |= spans
        told += odd
    elif any(each.speaker for each in whole):
        named = f"task.speaker={config.speaker or 'null, found by its usual name'}"
        parts = drawn_by_speaker(named, whole, shares, config.split_seed)
    else:
        groups: list[Hashable] = [each.digest for each in whole]
        parts = drawn(groups, shares, config.split_seed)
    made = given | {split: [whole[place] for place in places] for split, places in parts.items()}
    return {split: made[split] for split in ("train", *config.shares)}


def _without_speaker(column: str | None, splits: Splits) -> list[str]:
    """Return warnings about recordings without a speaker, if others have one."""
    groups = {split: {each.row: each.speaker for each in part} for split, part in splits.items()}
    known = any(speaker for part in groups.values() for speaker in part.values())
    return without_group(f"task.speaker={column}", groups) if known else []


def _shared_texts(splits: Splits) -> list[str]:
    """Count the transcripts of a split that are in an earlier one, too: the words are then known, the voices may not
    be.
    """
    keys = {split: [normalised(each.text) for each in part] for split, part in splits.items()}
    said, count = {key for part in keys.values() for key in part}, sum(map(len, keys.values()))
    if len(said) * _OFTEN <= count:
        return [f"{len(said)} transcripts are all that is said in {count} recordings, as of digits or commands"]
    return [
        f"{len(places)} transcripts of {names.partition(' and ')[2]} are said in {names.partition(' and ')[0]}, too"
        for names, places in shared_keys(keys).items()
    ]
