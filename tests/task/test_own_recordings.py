"""Folders of recordings: splits and classes by their names, what is ambiguous refused, copies and speakers together."""

import shutil
import wave
from types import SimpleNamespace

import numpy as np
import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.intake.folders import refuse_broken
from harness.task.intake.recordings import decode_audio
from harness.task.summary import summary
from tests.conftest import WORDS, write_wav


@pytest.fixture
def folders(tones, tmp_path):
    """The tones in a folder for each word."""
    root = tmp_path / "words"
    for path in sorted(tones.iterdir()):
        word, rest = path.name.split("_", 1)
        (root / word).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / word / rest)
    return root


@pytest.fixture
def read(folders, compose_plain):
    def go(*words, root=folders):
        return read_task(compose_plain("task=audio_folder", f"task.data={root}", "model=lstm_speech", *words).task)

    return go


def sound_of(path):
    with wave.open(str(path), "rb") as sound:
        return sound.readframes(sound.getnframes())


def test_a_folder_that_is_marked_as_no_class_is_left_out_or_kept_by_a_key(read, folders):
    shutil.copytree(folders / min(WORDS), folders / "_background_noise_")
    for number, path in enumerate(sorted((folders / "_background_noise_").iterdir())):
        write_wav(path, np.random.default_rng(number).normal(0, 900, 4000), rate=16_000)
    rule = "task.labels.unlabelled=leave_out leaves it out, keep takes it"
    line = f"the folder _background_noise_ is taken for a class; {rule}"
    assert line in read().findings().suspicious
    assert line not in read("task.labels.unlabelled=keep").findings().suspicious
    left = read("task.labels.unlabelled=leave_out")
    assert set(left.classes) == set(WORDS)
    assert {name.split("/")[0] for name in left.findings().left_out["unlabelled"]} == {"_background_noise_"}


def test_lists_beside_the_class_folders_are_the_splits(read, folders):
    lists = {"validation": [], "test": []}
    for word in WORDS:
        files = [f"{word}/{path.name}" for path in sorted((folders / word).iterdir())]
        lists["validation"].append(files[0])
        lists["test"] += files[1:3]
    (folders / "validation_list.txt").write_text("\n".join(lists["validation"]) + "\n")
    (folders / "testing_list.txt").write_text("\n".join(lists["test"]) + "\n")
    found = read().findings()
    assert {split: sorted(found.kept[split]) for split in lists} == {k: sorted(v) for k, v in lists.items()}
    assert not set(found.kept["train"]) & {*lists["validation"], *lists["test"]}
    assert found.format["test"] == f"{len(lists['test'])} recordings that testing_list.txt names"


def moved(folders, root, share):
    """The folders as splits: of each word the first so many in validation and in test."""
    for word in WORDS:
        files = sorted((folders / word).iterdir())
        for place, path in enumerate(files):
            split = "Val" if place < share else "testing" if place < 2 * share else "train"
            (root / split / word).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / split / word / path.name)
    return root


def test_every_recording_is_in_one_split_under_its_folders_name(read, folders):
    task = read()
    assert task.classes == tuple(sorted(WORDS))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 51, "validation": 6, "test": 15}
    for split, part in task.splits.items():
        assert {task.classes[label] for label in part.labels} == set(WORDS)
        for name, samples, label in zip(task.findings().kept[split], part.samples, part.labels, strict=True):
            assert samples.tobytes() == sound_of(folders / name)
            assert name.startswith(f"{task.classes[label]}/")
    said = "\n".join(summary(task, None))
    assert "speakers" not in said
    assert "always answering" in said
    assert read("task.split_seed=0").sha256 == task.sha256 != read("task.split_seed=1").sha256


def test_a_speaker_is_in_one_split(read):
    task = read("task.speaker='^([a-z]+)_'", "task.validation_share=0.25", "task.test_share=0.25")
    speakers = task.describe()["speakers"]
    assert sorted(name for part in speakers.values() for name in part) == ["ann", "bo", "cy", "di"]
    with pytest.raises(ConfigError, match=r"task\.speaker=\^\[a-z\]: it needs a group"):
        read("task.speaker='^[a-z]'")
    with pytest.raises(ConfigError, match=r"task\.speaker=\(: no regular expression"):
        read("task.speaker='('")
    with pytest.raises(
        ConfigError, match=r"72 files cannot be read .*task\.speaker=\^\(\\d\+\) finds nobody in its name"
    ):
        read("task.speaker='^(\\d+)'")


SPEAKER = "task.speaker='^([a-z]+)_'"


def test_few_speakers_are_in_every_split(read, folders):
    speakers = read(SPEAKER).describe()["speakers"]
    assert {split: len(names) for split, names in speakers.items()} == {"train": 2, "validation": 1, "test": 1}
    for path in [*folders.rglob("ann_*"), *folders.rglob("bo_*")]:
        path.unlink()
    with pytest.raises(
        ConfigError, match=r"2 speakers \(cy, di\).*; too few for task\.validation_share=0\.1, task\.test"
    ):
        read(SPEAKER)


def test_speakers_of_one_recording_stay_together(read, folders):
    for other in ("bo", "cy", "di"):
        copy = folders / "left" / f"{other}_copy.wav"
        shutil.copy(folders / "left" / "ann_0.wav", copy)
        speakers = read(SPEAKER).describe()["speakers"]
        assert [part for part in map(set, speakers.values()) if "ann" in part and other in part], other
        copy.unlink()


def test_split_folders_are_splits(read, folders, tmp_path):
    root = moved(folders, tmp_path / "split", 4)
    task = read(root=root)
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 48, "validation": 12, "test": 12}
    assert all(name.startswith("Val/") for name in task.findings().kept["validation"])
    shutil.rmtree(root / "testing")
    assert {name: len(split) for name, split in read(root=root).splits.items()}["validation"] == 12


def spoil_copy(root):
    shutil.copy(root / "left" / "ann_0.wav", root / "right" / "copy.wav")


def spoil_rate(root):
    write_wav(root / "left" / "fast.wav", (1000 * np.sin(np.arange(8000))), rate=16000, channels=2)


def spoil_place(root):
    shutil.copy(root / "left" / "ann_0.wav", root / "a.wav")


def spoil_file(root, name="x.wav"):
    (root / "left" / name).write_text("x")


WRONG = {
    "two classes": (spoil_copy, [], r"the same recording with different labels, 1 times \(rows left/ann_0\.wav and"),
    "alike": (lambda root: (root / "left").rename(root / "Right"), [], "labels that differ in blanks, case"),
    "channels": (spoil_rate, [], r"left/fast\.wav: 2 channels; expected one, or task\.channels=mix"),
    "empty": (lambda root: (root / "none").mkdir(), [], "no recording in none"),
    "loose": (
        lambda root: shutil.copy(root / "left/ann_0.wav", root / "a.wav"),
        [],
        "recordings beside the class folders: a.wav",
    ),
    "broken": (
        lambda root: (root / "left/x.wav").write_text("x"),
        [],
        r"left/x\.wav: not a readable WAV .*task\.gaps=leave_out",
    ),
    "unread": (
        lambda root: (root / "left/x.m4a").write_text("x"),
        [],
        r"left/x\.m4a: a kind of recording that is not read",
    ),
    "folds": (
        lambda root: [path.rename(root / f"fold{i}") for i, path in enumerate(sorted(root.iterdir()))],
        [],
        "fold0, fold1, fold2 are names of splits or folds; .*task.classes=3 takes them",
    ),
    "classes": (lambda root: None, ["task.classes=4"], r"task\.classes=4: .* has 3 classes"),
    "one class": (lambda root: [shutil.rmtree(root / name) for name in ("left", "right")], [], "1 class in training"),
    "no folder": (shutil.rmtree, [], "no such folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(case, read, folders):
    spoil, words, said = WRONG[case]
    spoil(folders)
    with pytest.raises(ConfigError, match=said) as error:
        read(*words)
    assert len(error.value.args) == 1


SETTLED = {
    "two classes": (spoil_copy, ["task.duplicates=first"], {"contradicting": ["right/copy.wav"]}, 72),
    "neither": (spoil_copy, ["task.duplicates=leave_out"], {"contradicting": ["left/ann_0.wav", "right/copy.wav"]}, 71),
    "broken": (
        lambda root: (root / "left/x.wav").write_text("x"),
        ["task.gaps=leave_out"],
        {"unreadable": ["left/x.wav"]},
        72,
    ),
    "mixed": (spoil_rate, ["task.channels=mix"], {}, 73),
}


@pytest.mark.parametrize("case", SETTLED)
def test_a_key_settles_it(case, read, folders):
    spoil, words, left, count = SETTLED[case]
    spoil(folders)
    task = read(*words)
    assert dict(task.findings().left_out) == left
    assert sum(map(len, task.splits.values())) == count
    if case == "mixed":
        told = "\n".join(summary(task, None))
        assert "of 16000 samples a second 1 recordings" in told
        assert "of 2 channels 1 recordings" in told


def test_a_table_beside_class_folders_is_told(read, folders):
    (folders / "metadata.csv").write_text("file_name,label\n")
    said = "metadata.csv is not read: classes are folders; task=audio_table reads a table"
    assert said in read().facts.suspicious


def test_copies_are_left_out_and_named_unless_they_are_kept(read, folders):
    for word in WORDS:
        for number in range(10):
            shutil.copy(folders / word / "ann_0.wav", folders / word / f"copy_{number}.wav")
    found = read().findings()
    copies = {f"{word}/copy_{number}.wav" for word in WORDS for number in range(10)}
    firsts = {f"{word}/ann_0.wav" for word in WORDS}
    assert set(found.left_out["repeated"]) == copies
    assert firsts <= {name for names in found.kept.values() for name in names}
    assert not found.near
    places = [(name, split) for split, names in found.kept.items() for name in names]
    for word in WORDS:
        alike = {split for name, split in places if name.startswith((f"{word}/copy_", f"{word}/ann_0"))}
        assert len(alike) == 1, word


def test_a_recording_in_two_splits_is_refused(read, folders, tmp_path):
    root = moved(folders, tmp_path / "split", 4)
    shutil.copy(root / "train" / "left" / "di_5.wav", root / "Val" / "left" / "again.wav")
    with pytest.raises(ConfigError, match=r"1 recordings of validation stand in train too \(Val/left/again\.wav\)"):
        read(root=root)
    assert read("task.leaks=allow", root=root).findings().near == {"train and validation": 1}
    (root / "Val" / "left" / "again.wav").unlink()
    with pytest.raises(ConfigError, match=r"recordings by speakers of test stand in train"):
        read("task.speaker='^([a-z]+)_'", root=root)


def test_a_class_of_minus_one_that_is_settled_is_not_told(read, folders):
    (folders / "left").rename(folders / "-1")
    assert not any("often means" in line for line in read("task.labels.unlabelled=keep").findings().suspicious)


def test_the_words_reader_names_this_one(folders, compose_plain):
    config = compose_plain("task=spoken_digits", f"task.data={folders}", "model=lstm_speech").task
    with pytest.raises(ConfigError, match=r"there are in left, right, stop; task=audio_folder reads a folder for each"):
        read_task(config)


def test_other_kinds_name_the_extra(read, folders, monkeypatch):
    nothing = SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: None))
    monkeypatch.setattr("harness.task.intake.recordings.importlib", nothing)
    (folders / "left" / "x.flac").write_bytes(b"fLaC")
    with pytest.raises(ConfigError, match=r"left/x\.flac: not a WAV file; others need the extra audio: pip install"):
        read()


def test_flac_is_the_same_sound(read, folders):
    soundfile = pytest.importorskip("soundfile")
    whole = read()
    for path in sorted(folders.rglob("*.wav")):
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path.with_suffix(".flac"), samples, rate, subtype="PCM_16")
        path.unlink()
    assert read().sha256 == whole.sha256


def test_a_trial_learns_the_words(folders, tiny_voice_encoder, compose_plain, tmp_path, own_cache):
    from harness.trial import TrialContext
    from harness.trial.run import run_trial

    encoder = ["model.hidden=12", "model.layers=2", f"model.weights.address=path:{tiny_voice_encoder}"]
    words = [
        *encoder,
        "model.weights.sha256=null",
        "lora.targets=[lstm]",
        "trainer.max_steps=3",
        "trainer.evaluations=1",
    ]
    (tmp_path / "t").mkdir()
    config = compose_plain("task=audio_folder", f"task.data={folders}", "model=lstm_speech", *words)
    made = run_trial(config, TrialContext("s", 0, "arm", tmp_path / "t"), lambda *_: False)
    assert (made.state, made.reason) == ("complete", "")
    assert (tmp_path / "t" / "answers.csv").read_text().count("stop/") == 5


def test_files_that_cannot_be_read_are_named_by_reason(tmp_path):
    broken = {tmp_path / name: reason for name, reason in (("a", "x"), ("b", "y"), ("c", "x"))}
    with pytest.raises(ConfigError, match=r"3 files cannot be read \(a, c: x, b: y\)"):
        refuse_broken("task.data", broken, tmp_path)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"fLaC", "FLAC"),
        (b"OggS", "OGG"),
        (b"ID3", "MP3"),
        (b"\xff\xfb", "MP3"),
        (b"NIST_1A", "NIST SPHERE"),
        (b"\0\0\0 ftyp", "MP4"),
    ],
)
def test_another_kind_of_recording_under_the_name_of_wav_is_told(head, kind):
    with pytest.raises(ValueError, match=rf"not a readable WAV file \(it is {kind} by its content\)"):
        decode_audio(head + bytes(range(1, 60)), None, 8000, False, is_wav=True)
