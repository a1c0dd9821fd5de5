"""Recordings with transcripts: tables in their usual layouts, rows that cannot be used named, speakers together."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.config import ConfigError, Tokens
from harness.report.chance import chance
from harness.task.build import read_task
from harness.task.own_transcripts import named_recordings
from harness.task.reading import read_by_tokenizer
from harness.task.summary import summary
from tests.conftest import write_wav
from tests.test_record import make

RATE = 16_000


def write_sounds(folder, names, *, rate=RATE):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        samples = np.random.default_rng(number).normal(0, 900, rate // 4 + 40 * number)
        write_wav(folder / name, samples, rate=rate)


@pytest.fixture
def table(tmp_path):
    """Forty recordings of five speakers in a folder beside their table."""
    write_sounds(tmp_path / "sound", [f"{row}.wav" for row in range(40)])
    lines = [f"sound/{row}.wav,This is row {row}!,who{row % 5}" for row in range(40)]
    path = tmp_path / "rows.csv"
    path.write_text("file_name,transcription,client\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def read(compose_plain):
    def go(data, *words):
        more = ["model=whisper_base", "model.language=en", "trainer.objective=wer", *words]
        return read_task(compose_plain("task=transcripts", f"task.data={data}", *more).task)

    return go


def replaced(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def every(task):
    return {
        text: name
        for split in task.transcripts
        for name, text in zip(task.names(split), task.transcripts[split], strict=True)
    }


def test_every_row_is_in_one_split_with_its_own_text(read, table):
    task = read(table)
    assert every(task) == {f"This is row {row}!": f"sound/{row}.wav" for row in range(40)}
    told = task.describe()
    assert told["rows"] == {"train": 28, "validation": 4, "test": 8}
    seconds = [len(samples) for part in task.sounds.values() for samples in part.samples]
    assert sum(seconds) == sum(RATE // 4 + 40 * number for number in range(40))
    assert sum(told["hours"].values()) == pytest.approx(sum(seconds) / RATE / 3600, abs=2e-4)
    assert set(told["alphabet"]) == set("This is row 0123456789!")
    said = "\n".join(summary(task, None))
    assert "compared with task.normalise=plain" in said
    assert "hours" in said
    assert read(table).sha256 == task.sha256 != read(table, "task.split_seed=1").sha256


def test_punctuation_that_the_model_cannot_say_is_counted(read, table, tmp_path):
    """By a vocabulary of letters and digits, of texts that all have an exclamation mark."""
    (tmp_path / "model").mkdir()
    letters = {letter: 3 + number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz0123456789")}
    (tmp_path / "model" / "vocab.json").write_text(json.dumps({"<pad>": 0, "<unk>": 1, "|": 2} | letters))
    tokens = Tokens(tmp_path / "model", 0, sample_rate=RATE, convolutions=((10, 5),))
    task = read(table)
    inputs = {split: task.inputs(split, tokens) for split in task.transcripts}
    assert {split: part.truncated() for split, part in inputs.items()} == {
        split: {"punctuation left out": count} for split, count in (("train", 28), ("validation", 4), ("test", 8))
    }
    (line,) = (line for line in summary(task, inputs) if "punctuation" in line and "texts" in line)
    assert line.split()[-3:] == ["28", "4", "8"]


def test_characters_that_a_fresh_head_learns_and_nobody_compares_are_told(read, table):
    def told(*words, of_training=True):
        return read_by_tokenizer(read(table, *words), {}, Tokens(None, 0, of_training=of_training)).told

    assert [line.partition(" as ")[0] for line in told()] == ["a fresh head learns punctuation (!)"]
    replaced(table, "This", "THIS")
    (line,) = told()
    assert "learns both cases (IiSs) and punctuation (!) as" in line
    assert "task.normalise=plain ignores that" in line
    assert not told(of_training=False)
    assert not told("task.normalise=none")


def test_marks_in_brackets_are_told_where_they_are_compared(read, table):
    replaced(table, "is row 7!", "is row 7 <noise> [laughs]")
    replaced(table, "is row 9!", "is row 9 <noise>")
    replaced(table, "is row 8!", "is 7 < row 8 > 7")
    told = [line for line in read(table).facts.suspicious if "learned and compared as words" in line]
    assert len(told) == 1
    assert told[0].startswith("2 transcripts have <noise>, [laughs], which are learned and")
    assert not any("as words" in line for line in read(table, "task.normalise=english").facts.suspicious)


@pytest.mark.parametrize(
    ("mark", "english"),
    [
        ("(inaudible)", False),
        ("((unclear))", False),
        ("{laugh}", True),
        ("**", True),
        ("♪", True),
        ("|", True),
        ("00:00:01,000", True),
        ("(a film)", None),
        ("at 10:30 we", None),
    ],
)
def test_what_is_written_and_not_said_is_told(mark, english, read, table):
    replaced(table, "This is row 7!", f'"This is {mark} row 7!"')
    for normalise, told in (("plain", english is not None), ("english", english is True)):
        found = read(table, f"task.normalise={normalise}").facts.suspicious
        assert any(f"1 transcripts have {mark}, which" in line for line in found) == told


def test_names_of_recordings_are_no_transcripts(read, table):
    table.write_text(re.sub("This is row (.*)!", r"row\1.wav", table.read_text()))
    with pytest.raises(ConfigError, match=r"transcription has names of recordings \(row0.wav, .*task\.text names"):
        read(table)
    table.write_text(re.sub(r"row(.*)\.wav", r"\1", table.read_text()))  # digits, which the files are named by
    assert len(every(read(table))) == 40


def test_what_always_writing_the_most_frequent_transcript_scores(read, table):
    task = read(table)
    usual = task.describe()["usual_transcript"]
    wrong = {
        split: [usual["text"].split()[-1] != text.split()[-1].strip("!") for text in task.transcripts[split]]
        for split in ("validation", "test")
    }
    assert {split: usual[split] for split in wrong} == {
        split: sum(rows) / 4 / len(rows) for split, rows in wrong.items()
    }
    entry = make(0)
    told = chance(dataclasses.replace(entry, data=dataclasses.replace(entry.data, details=task.describe())))
    assert told.endswith(f"has a test WER of {usual['test']:.4f}. ")
    assert "chrF" not in told


def test_a_speaker_is_in_one_split(read, table):
    task = read(table, "task.speaker=client")
    speakers = {split: set(part.speakers) for split, part in task.sounds.items()}
    assert sum(map(len, speakers.values())) == len(set.union(*speakers.values())) == 5
    assert task.describe()["speakers"] == {split: sorted(who) for split, who in speakers.items()}


@pytest.mark.parametrize("name", ["client_id", "speaker", "speaker_id"])
def test_a_usual_column_of_speakers_is_found(name, read, table):
    replaced(table, "transcription,client", f"transcription,{name}")
    task = read(table)
    assert task.sha256 == read(table, f"task.speaker={name}").sha256
    speakers = [set(part.speakers) for part in task.sounds.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 5
    assert f"found: train.speaker in column {name}" in summary(task, None)
    assert sum(map(len, (set(part.speakers) for part in read(table, "task.speaker=file_name").sounds.values()))) == 40
    test = table.parent / "held_out.csv"
    write_wav(table.parent / "sound" / "new.wav", np.random.default_rng(99).normal(0, 900, 5000), rate=RATE)
    test.write_text(f"file_name,transcription,{name}\nsound/new.wav,This is new!,who1\n")
    with pytest.raises(ConfigError, match=r"1 recordings by speakers of test stand in (train|validation) too"):
        read(table, f"task.test={test}")


def test_one_speaker_of_everything_and_rows_without_one(read, table):
    unnamed = read(table)
    replaced(table, "transcription,client", "transcription,speaker")
    whole = table.read_text()
    table.write_text(re.sub(r"who\d", "she", whole))
    assert read(table).sha256 == unnamed.sha256
    table.write_text(re.sub(r"who[34]", "", whole))
    told = [part.speakers for part in read(table).sounds.values()]
    assert sorted(set().union(*told)) == ["", "who0", "who1", "who2"]
    assert sum(map(len, map(set, (filter(None, who) for who in told)))) == 3
    task = read(table)
    said = [line for line in task.findings().suspicious if "group (task.speaker=" in line or "no group, and" in line]
    assert len(said) == sum("" in part.speakers for part in task.sounds.values())
    assert task.describe()["speakers"] == {n: sorted(set(p.speakers) - {""}) for n, p in task.sounds.items()}
    assert not any("no group" in line for line in read(table, "task.speaker=file_name").findings().suspicious)


def test_columns_of_parquet_are_found_beside_one_that_is_named(read, table):
    frame = pd.read_csv(table).rename(columns={"file_name": "clip"})
    frame.to_parquet(table.with_suffix(".parquet"))
    assert len(every(read(table.with_suffix(".parquet"), "task.audio=clip"))) == 40


def held(table, kind, path):
    """The table as the datasets library writes it: with the bytes of each file."""
    frame = pd.read_csv(table)
    frame["audio"] = [
        {"bytes": (table.parent / name).read_bytes(), "path": name if path else None} for name in frame.pop("file_name")
    ]
    made = pa.Table.from_pandas(frame, preserve_index=False)
    target = table.with_name(f"held.{kind}")
    if kind == "parquet":
        pq.write_table(made, target)
    else:
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, made.schema) as writer:
            writer.write_table(made)
    return target


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_recordings_that_a_table_holds(kind, read, table):
    files = read(table)
    target = held(table, kind, path=True)
    shutil.rmtree(table.parent / "sound")
    task = read(target)
    assert task.sha256 == files.sha256
    assert every(task) == every(files)


def test_recordings_held_without_a_path_are_told_apart(read, table, compose_plain):
    task = read(held(table, "parquet", path=False))
    assert task.sha256 == read(table).sha256
    assert len(set(every(task).values())) == 40
    config = compose_plain("task=transcripts", f"task.data={table}", "model=whisper_base", "trainer.objective=wer").task
    assert len(named_recordings(config, held(table, "parquet", path=False))) == 40


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"array": [0.5] * 9000, "sampling_rate": 16000}, "row 1: a cell of dict names no recording; expected a file"),
        ([0] * 9000, "row 1: a cell of list names no recording"),
        ({"bytes": "UklG" * 9000, "path": "a.wav"}, "row 1: a cell of str names no recording"),
        ("x" * 9000, "row 1: x{80}…: File name too long"),
        ("a\nb.wav", "row 1: a b.wav: no such file"),
    ],
)
def test_cells_that_name_no_recording_are_one_short_line(cell, message, read, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"audio": cell, "text": "said"}) + "\n")
    with pytest.raises(ConfigError, match=message) as error:
        read(path)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 400


def test_other_names_of_columns_and_files_without_a_suffix(read, table):
    replaced(table, "file_name,transcription", "clip,words")
    replaced(table, ".wav,", ",")
    assert len(every(read(table, "task.audio=clip", "task.text=words"))) == 40
    for key, there in (("audio", "file_name"), ("text", "transcription")):
        with pytest.raises(ConfigError, match=rf"task\.{key}: .*rows.csv: no column is named {there}, .*clip, words"):
            read(table, *(f"task.{one}={name}" for one, name in (("audio", "clip"), ("text", "words")) if one != key))
    replaced(table, "clip,words,client", "path,text,sentence")
    with pytest.raises(ConfigError, match=r"task\.text: .*: sentence, text are both usual names; name one"):
        read(table)


def test_segments_of_recordings_are_refused(read, table):
    header, *lines = table.read_text().splitlines()
    mark = "\t" if "\t" in header else ","
    rows = [f"{line}{mark}{begin}{mark}{begin + 1}" for line in lines for begin in (0, 1)]
    table.write_text("\n".join([f"{header}{mark}start{mark}end", *rows]) + "\n")
    with pytest.raises(ConfigError, match=r"columns start and end are not read: .* recordings; write each segment"):
        read(table)


def test_common_voice_has_its_splits_and_clips(read, tmp_path):
    write_sounds(tmp_path / "clips", [f"{row}.wav" for row in range(12)])
    for split, rows in {"train": range(8), "dev": range(8, 10), "test": range(10, 12), "validated": range(12)}.items():
        lines = [f"id{row}\t{row}.wav\tSentence {row}.\t2" for row in rows]
        (tmp_path / f"{split}.tsv").write_text("client_id\tpath\tsentence\tup_votes\n" + "\n".join(lines) + "\n")
    task = read(tmp_path, "task.speaker=client_id")
    assert {split: sorted(names) for split, names in task.findings().kept.items()} == {
        "train": [f"{row}.wav" for row in range(8)],
        "validation": ["8.wav", "9.wav"],
        "test": ["10.wav", "11.wav"],
    }
    assert every(task)["Sentence 9."] == "9.wav"


def test_ljspeech_has_no_header_and_quotes_that_are_characters(read, tmp_path):
    write_sounds(tmp_path / "wavs", [f"LJ{row}.wav" for row in range(20)])
    lines = [f'LJ{row}|He said "{row}, or so|He said "number {row}, or so' for row in range(20)]
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    assert every(read(tmp_path))['He said "number 7, or so'] == "LJ7"
    assert every(read(tmp_path, "task.text=as_written"))['He said "7, or so'] == "LJ7"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_audio_folders_of_the_datasets_library(kind, read, tmp_path):
    for split, first in (("train", 0), ("validation", 8), ("test", 10)):
        rows = range(first, first + (8 if split == "train" else 2))
        write_sounds(tmp_path / split, [f"{row}.wav" for row in range(max(rows) + 1)])
        cells = [{"file_name": f"{row}.wav", "transcription": f"row {row}"} for row in rows]
        if kind == "csv":
            lines = ["file_name,transcription", *(f"{cell['file_name']},{cell['transcription']}" for cell in cells)]
        else:
            lines = list(map(json.dumps, cells))
        (tmp_path / split / f"metadata.{kind}").write_text("\n".join(lines) + "\n")
    task = read(tmp_path)
    assert task.describe()["rows"] == {"train": 8, "validation": 2, "test": 2}
    assert set(task.transcripts["test"]) == {"row 10", "row 11"}


def test_recordings_whose_names_say_what_is_said(read, tones):
    task = read(tones, "task.said={left: links, right: rechts, stop: halt}")
    assert set("".join(task.transcripts["train"])) == set("linksrechtshalt")
    assert not set(task.sounds["train"].speakers) & set(task.sounds["test"].speakers)
    assert every(read(tones)).keys() == {"left", "right", "stop"}
    with pytest.raises(ConfigError, match=r"task\.said: right, stop of task\.data=.* are not in it"):
        read(tones, "task.said={left: links}")


@pytest.mark.parametrize(
    ("folder", "template"), [("clips/of", "clips/of/{file_name}"), (None, "sound/*/{file_name}.wav")]
)
def test_templates_and_patterns_of_folders_find_recordings(folder, template, read, table):
    whole, sounds = read(table), table.parent / "sound"
    for path in sorted(sounds.iterdir()):
        inner = sounds / path.stem[-1] if folder is None else table.parent / folder
        inner.mkdir(parents=True, exist_ok=True)
        path.rename(inner / path.name)
    replaced(table, "sound/", "")
    if folder is None:
        replaced(table, ".wav,", ",")
    with pytest.raises(ConfigError, match=r"40 rows cannot be used .*: no such file") as refused:
        read(table)
    assert str(refused.value).endswith(f"""; 'task.audio="{template}"' finds them""")
    assert read(table, f"task.audio='{template}'").sha256 == whole.sha256


def test_the_template_that_is_named_finds_the_recordings_of_the_splits_before_too(read, table):
    lines = table.read_text().replace("sound/", "").splitlines(keepends=True)
    for split, mine in (("a", lines[1:31]), ("b", lines[31:])):
        (table.parent / split).mkdir()
        (table.parent / f"{split}.csv").write_text("".join([lines[0], *mine]))
        for line in mine:
            name = line.partition(",")[0]
            (table.parent / "sound" / name).rename(table.parent / split / name)
    given = f"task.validation={table.parent / 'b.csv'}"
    with pytest.raises(ConfigError, match=r"""'task\.audio="\*/\{file_name\}"' finds them$"""):
        read(table.parent / "a.csv", given, "task.audio='a/{file_name}'")
    assert len(every(read(table.parent / "a.csv", given, "task.audio='*/{file_name}'"))) == 40


def test_said_is_of_recordings_without_a_table(read, table):
    with pytest.raises(
        ConfigError, match=r"task\.said: of recordings named LABEL_SPEAKER_INDEX.wav; .*rows.csv has tra"
    ):
        read(table, "task.said={left: links}")


def test_rows_that_cannot_be_used_are_named_at_once(read, table):
    (table.parent / "sound" / "3.wav").unlink()
    (table.parent / "sound" / "5.wav").write_bytes(b"")
    replaced(table, "This is row 7!", " ")
    replaced(table, "This is row 9!", "?!")
    with pytest.raises(ConfigError) as error:
        read(table, "task.longest_s=0.34")
    (said,) = str(error.value).splitlines()
    for part in (
        "rows cannot be used (row 5: sound/3.wav: no such file, row 7: sound/5.wav: not a readable WAV file",
        "row 9: sound/7.wav has no transcript",
        "row 11: sound/9.wav: '?!' is punctuation alone",
        "row 40: sound/38.wav: 0.345 s; task.longest_s=0.34",
        "task.gaps=leave_out leaves them out",
    ):
        assert part in said
    task = read(table, "task.longest_s=0.34", "task.gaps=leave_out")
    assert task.findings().left_out["unusable"] == [f"train {row}" for row in (5, 7, 9, 11, 39, 40, 41)]
    assert len(every(task)) == 33


def test_transcripts_that_are_words_for_a_gap_are_refused_or_told(read, table):
    replaced(table, "This is row 7!", "nan")
    replaced(table, "This is row 9!", "None")
    with pytest.raises(
        ConfigError, match=r"programs write for a gap, 'nan' in 1 rows of transcription \(9\); task.gaps"
    ):
        read(table)
    task = read(table, "task.gaps=leave_out")
    assert task.findings().left_out["gaps"] == ["train 9"]
    assert any("'None' in 1 rows of transcription (11); task.gap_words" in said for said in task.findings().suspicious)
    assert len(every(read(table, "task.gap_words=leave_out"))) == 38
    assert len(every(read(table, "task.gap_words=keep"))) == 40


def test_texts_of_which_a_normaliser_leaves_nothing_are_named(read, table):
    replaced(table, "This is row 7!", "Um [noise]")
    with pytest.raises(ConfigError, match=r"row 9: sound/7.wav: 'Um \[noise\]': task.normalise=english leaves nothing"):
        read(table, "task.normalise=english")
    assert read(table).describe()["normalise"] == "plain"


def test_a_recording_twice_is_one_and_with_another_text_an_error(read, table):
    shutil.copy(table.parent / "sound" / "1.wav", table.parent / "sound" / "2.wav")
    said = r"same recording with different transcripts, 1 times \(rows 3 sound/1.wav and 4 sound/2.wav\); task.duplic"
    with pytest.raises(ConfigError, match=said):
        read(table)
    for policy, left, count in (("first", ["4"], 39), ("leave_out", ["3", "4"], 38), ("keep", None, 40)):
        settled = read(table, f"task.duplicates={policy}")
        assert settled.findings().left_out.get("contradicting") == left
        assert len(every(settled)) == count
    replaced(table, "row 2!", "ROW 1")
    task = read(table)
    assert task.findings().left_out["repeated"] == ["train sound/2.wav"]
    assert len(every(task)) == 39


def test_splits_that_share_a_recording_or_a_speaker_are_refused(read, table):
    shutil.copy(table.parent / "sound" / "1.wav", table.parent / "sound" / "copy.wav")
    test = table.parent / "held_out.csv"
    test.write_text("file_name,transcription,client\nsound/copy.wav,This is row 1!,new\n")
    with pytest.raises(ConfigError, match=r"1 recordings of test stand in (train|validation) too \(sound/copy.wav\)"):
        read(table, f"task.test={test}")
    assert read(table, f"task.test={test}", "task.leaks=allow").describe()["rows"]["test"] == 1
    write_wav(table.parent / "sound" / "copy.wav", np.random.default_rng(99).normal(0, 900, 5000), rate=RATE)
    replaced(test, "new", "who1")
    with pytest.raises(ConfigError, match=r"1 recordings by speakers of test stand in (train|validation) too"):
        read(table, f"task.test={test}", "task.speaker=client")


def test_a_few_words_that_are_said_again_and_again_are_told_once(read, table):
    lines = [f"sound/{row}.wav,word {row % 4}" for row in range(40)]
    table.write_text("file_name,transcription\n" + "\n".join(lines) + "\n")
    (said,) = [line for line in read(table).describe()["suspicious"] if "said" in line]
    assert said == "4 transcripts are all that is said in 40 recordings, as of digits or commands"


def as_librispeech(root, split, who, number):
    folder = root / {"train": "train-clean-100", "test": "test-clean"}[split] / who / "7"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{who}-7.trans.txt", "a") as file:
        file.write(f"{who}-7-{number} WORDS OF {number}\n")
    return folder / f"{who}-7-{number}.wav"


def as_timit(root, split, who, number):
    folder = root / split.upper() / "DR1" / who
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"SX{number}.TXT").write_text(f"0 4000 WORDS OF {number}\n")
    (folder / f"SX{number}.PHN").write_text("0 4000 w\n")
    return folder / f"SX{number}.WAV"


def as_vctk(root, split, who, number):
    for kind in ("txt", "wav48"):
        (root / kind / who).mkdir(parents=True, exist_ok=True)
    (root / "txt" / who / f"{who}_{number}.txt").write_text(f"WORDS OF {number}\n")
    return root / "wav48" / who / f"{who}_{number}.wav"


@pytest.mark.parametrize("layout", [as_librispeech, as_timit, as_vctk])
def test_texts_beside_recordings_are_what_is_said(layout, read, tmp_path):
    places = {}
    for number in range(36):
        place = layout(tmp_path / "d", "test" if number % 6 == 5 else "train", f"p{number % 6}", number)
        write_wav(place, np.random.default_rng(number).normal(0, 900, 5000), rate=RATE)
        places[f"WORDS OF {number}"] = place.relative_to(tmp_path / "d").as_posix()
    task = read(tmp_path / "d")
    assert every(task) == places
    who = {split: {int(text.split()[-1]) % 6 for text in said} for split, said in task.transcripts.items()}
    assert sorted(each for part in who.values() for each in part) == [0, 1, 2, 3, 4, 5]
    if layout is not as_vctk:
        assert who["test"] == {5}
    for path in (tmp_path / "d").rglob("*9.*"):
        path.unlink() if path.suffix.lower() == ".txt" else None
    if layout is not as_librispeech:
        with pytest.raises(ConfigError, match=r"rows? cannot be used \(row \d+: .*9\.\w+ has no transcript"):
            read(tmp_path / "d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "rows.csv").unlink(),
            r"task\.data=.*: no table in it \(train.tsv, .*\), and recordings in its folders alone",
        ),
        (lambda root: (root / "rows.csv").rename(root / "dev.csv"), r"dev.csv, and no table of training"),
        (
            lambda root: (
                shutil.copy(root / "rows.csv", root / "train.csv")
                and shutil.copy(root / "rows.csv", root / "training.tsv")
            ),
            r"train.csv and training.tsv are both the train split",
        ),
    ],
)
def test_folders_without_a_table_of_training_are_one_line(change, message, read, table):
    change(table.parent)
    with pytest.raises(ConfigError, match=message) as error:
        read(table.parent)
    assert len(str(error.value).splitlines()) == 1


def test_what_is_not_there_or_of_another_kind_is_told_early(compose_plain, tmp_path):
    words = ["task=transcripts", "trainer.objective=wer"]
    config = compose_plain(*words, f"task.data={tmp_path}/nowhere.csv", f"task.test={tmp_path}", "model=whisper_base")
    assert config.task.missing_files() == [f"task.data={tmp_path}/nowhere.csv: no such file"]
    with pytest.raises(ConfigError, match=r"model=lstm_speech: a speech model, .*task=transcripts needs a recognition"):
        compose_plain(*words, f"task.data={tmp_path}", "model=lstm_speech")
