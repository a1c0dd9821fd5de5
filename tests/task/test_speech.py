import shutil
import wave

import numpy as np
import pytest

from harness.config import ConfigError
from harness.task import build_task
from tests.conftest import VOICES, WORDS, write_wav

SOUND = (1000 * np.sin(np.arange(800))).astype(np.int16)


@pytest.fixture
def folder(tones, tmp_path):
    """A copy of the recordings that a test may spoil."""
    return shutil.copytree(tones, tmp_path / "recordings")


def sound_of(path):
    with wave.open(str(path), "rb") as sound:
        return sound.readframes(sound.getnframes())


def test_every_recording_is_in_one_split_and_no_voice_in_two(compose_speech, tones):
    task = build_task(compose_speech().task)
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 36, "validation": 18, "test": 18}
    voices = [speaker for split in task.splits.values() for speaker in set(split.speakers)]
    assert sorted(voices) == sorted(VOICES)
    read = sorted(samples.tobytes() for split in task.splits.values() for samples in split.samples)
    assert read == sorted(sound_of(path) for path in tones.iterdir())


def test_rows_keep_sound_word_and_voice_together(compose_speech, tones):
    task = build_task(compose_speech().task)
    assert task.classes == tuple(sorted(WORDS))
    split = task.splits["train"]
    for samples, label, speaker in zip(split.samples, split.labels, split.speakers, strict=True):
        of_this_name = [tones / f"{task.classes[label]}_{speaker}_{index}.wav" for index in range(6)]
        assert samples.tobytes() in [sound_of(path) for path in of_this_name]


def test_named_voices_are_held_out_and_described(compose_speech):
    task = build_task(compose_speech("task.validation_speakers=[di]", "task.test_speakers=[bo,ann]").task)
    told = task.describe()
    assert told["speakers"] == {"train": ["cy"], "validation": ["di"], "test": ["ann", "bo"]}
    assert told["rows"] == {"train": 18, "validation": 18, "test": 36}
    assert told["labels"]["test"] == [12, 12, 12]


def test_a_count_is_drawn_from_the_voices_that_are_not_named(compose_speech):
    for seed in range(5):
        task = build_task(compose_speech("task.test_speakers=[bo]", f"task.split_seed={seed}").task)
        assert "bo" not in {*task.splits["train"].speakers, *task.splits["validation"].speakers}


def test_the_split_is_drawn_by_its_seed_and_the_digest_tells(compose_speech):
    first, again, *others = (
        build_task(compose_speech(f"task.split_seed={seed}", "task.name=x" if n else "task.name=y").task)
        for n, seed in enumerate((0, 0, 1, 2, 3))
    )
    assert again is not first
    assert again.sha256 == first.sha256
    assert len({task.describe()["speakers"]["test"][0] for task in (first, *others)}) > 1
    assert any(task.sha256 != first.sha256 for task in others)


def test_the_repository_of_the_data_set_is_taken_as_it_is(compose_speech, folder):
    (folder.parent / "README.md").write_text("not a recording")
    task = build_task(compose_speech(f"task.data={folder.parent}").task)
    assert sum(len(split) for split in task.splits.values()) == 72


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("left_ann_0.wav", lambda path: write_wav(path, SOUND[:100]), "100 samples, 12.5 ms; 25 ms are the least"),
        ("left_ann_0.wav", lambda path: write_wav(path, SOUND, channels=2), "2 channels; expected one"),
        ("left_ann_0.wav", lambda path: path.write_bytes(b""), "not a readable WAV file"),
        ("left_ann_0.wav", lambda path: path.write_bytes(b"x" * 99), "not a readable WAV file"),
        ("left_ann_0.wav", lambda path: path.write_bytes(path.read_bytes()[:600]), "it ends after 278 of"),
        ("left_ann_0.wav", lambda path: path.write_bytes(path.read_bytes()[:30]), "not a readable WAV file"),
        ("left_ann_0.wav", lambda path: write_wav(path, SOUND[:0]), "no sound in it"),
        ("left_ann_0.wav", lambda path: write_wav(path, 0 * SOUND), "no sound in it"),
        ("left-ann-0.wav", lambda path: write_wav(path, SOUND), "its name is not LABEL_SPEAKER_INDEX.wav"),
        ("left_ann_x.wav", lambda path: write_wav(path, SOUND), "its name is not LABEL_SPEAKER_INDEX.wav"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(compose_speech, folder, name, spoil, reason):
    spoil(folder / name)
    with pytest.raises(ConfigError) as error:
        build_task(compose_speech(f"task.data={folder}").task)
    assert str(error.value).startswith(f"task.data={folder / name}: {reason}")


def test_of_many_bad_files_ten_are_named_and_the_rest_counted(compose_speech, folder):
    for path in folder.glob("left_*"):
        path.write_bytes(b"")
    with pytest.raises(ConfigError) as error:
        build_task(compose_speech(f"task.data={folder}").task)
    lines = str(error.value).splitlines()
    assert len(lines) == 11
    assert lines[-1].startswith(f"task.data={folder}: and 14 files more; task.gaps=leave_out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.data=null"], "task.data: missing; give a folder of recordings"),
        (["task.data=/nowhere"], "task.data=/nowhere: no such folder"),
        (["task.test_speakers=[anne]"], "task.test_speakers: no recording of anne; did you mean ann?"),
        (["task.validation_speakers=[xyz]"], "task.validation_speakers: no recording of xyz; known: ann, bo, cy, di"),
        (["task.validation_speakers=[bo,cy]", "task.test_speakers=[bo]"], "task.test_speakers: bo is in both"),
        (["task.validation_speakers=2", "task.test_speakers=2"], "they leave no speaker of 4 to train on"),
        (["task.classes=10"], "task.classes=10: the training speakers say 3 words"),
    ],
)
def test_splits_that_cannot_be_are_explained(compose_speech, words, message):
    with pytest.raises(ConfigError) as error:
        build_task(compose_speech(*words).task)
    assert message in str(error.value)


def test_a_folder_without_recordings_is_refused(compose_speech, tmp_path):
    with pytest.raises(ConfigError, match=r"no \.wav file in it"):
        build_task(compose_speech(f"task.data={tmp_path}").task)


def test_a_word_that_training_never_hears_is_refused(compose_speech, folder):
    write_wav(folder / "wait_di_0.wav", SOUND)
    with pytest.raises(ConfigError, match=r"wait_di_0.wav of the test split says 'wait', which no training speaker"):
        build_task(compose_speech(f"task.data={folder}", "task.test_speakers=[di]").task)


def test_one_sound_under_two_names_is_refused(compose_speech, folder):
    shutil.copy(folder / "left_ann_0.wav", folder / "left_di_0.wav")
    with pytest.raises(ConfigError, match=r"left_di_0.wav of the test split is in train too"):
        build_task(
            compose_speech(f"task.data={folder}", "task.test_speakers=[di]", "task.validation_speakers=[bo]").task
        )


def test_a_text_model_does_not_take_recordings(compose_plain):
    with pytest.raises(
        ConfigError,
        match=r"model=minilm: a text model, for .*; task=spoken_digits needs a speech model, as model=lstm_speech",
    ):
        compose_plain("task=spoken_digits")
