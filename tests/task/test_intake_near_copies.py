"""Copies across splits that are not the same to the bit: pictures, recordings, texts."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from harness.task.build import read_task
from harness.task.intake.duplicates import normalised
from harness.task.intake.near_texts import near_texts
from harness.task.summary import summary
from tests.task.intake_inputs import folder_task, given_task, noun, two_files, wav, word


def scene(seed, size=96):
    """A picture with slopes and edges, unlike those of other seeds."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 200, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((size, size), Image.Resampling.BICUBIC)


def noisy(image):
    return Image.fromarray(
        np.clip(np.asarray(image) + np.random.default_rng(0).integers(-4, 5, (96, 96, 3)), 0, 255).astype(np.uint8)
    )


CHANGED = {
    "JPEG": (".jpg", lambda image: image, {"quality": 75}),
    "poor JPEG": (".jpg", lambda image: image, {"quality": 40}),
    "WebP": (".webp", lambda image: image, {"quality": 80}),
    "half the size": (".png", lambda image: image.resize((48, 48)), {}),
    "twice the size": (".png", lambda image: image.resize((192, 192)), {}),
    "brighter": (".png", lambda image: image.point(lambda level: min(255, level * 6 // 5)), {}),
    "darker": (".png", lambda image: image.point(lambda level: level * 4 // 5), {}),
    "grey": (".png", lambda image: image.convert("L"), {}),
    "256 colours": (".gif", lambda image: image.quantize(256), {}),
    "noise": (".png", noisy, {}),
}


@pytest.mark.parametrize("kind", CHANGED)
@pytest.mark.parametrize("form", ["folder", "table"])
def test_a_picture_saved_anew_in_another_split_is_told(make_task, tmp_path, own_cache, kind, form):
    suffix, change, how = CHANGED[kind]
    places = {}
    for i in range(40):
        places[i] = tmp_path / ("train" if i < 30 else "test") / ("cat" if i % 2 else "dog") / f"{i}.png"
        places[i].parent.mkdir(parents=True, exist_ok=True)
        scene(i).save(places[i])
    copy = tmp_path / "test" / "cat" / f"copy{suffix}"
    change(scene(3)).save(copy, **how)
    if form == "folder":
        task = read_task(folder_task(make_task, tmp_path))
    else:
        rows = [
            {"image": str(path.relative_to(tmp_path)), "label": path.parent.name} for path in [*places.values(), copy]
        ]
        base = make_task("task=image_table", "task.data=x", "task.image_size=32")
        task = read_task(dataclasses.replace(base, **two_files(tmp_path, rows[:30], rows[30:])))
    (line,) = task.findings().suspicious
    assert re.match(
        r"1 of 11 test pictures look like those of \w+, if not to the bit \(\S*copy\S+ and \S*3\.png\)", line
    )
    assert f"to be looked at: {line}" in summary(task, None)


TURNED = {
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "a quarter": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "along the other diagonal": lambda image: image.transpose(Image.Transpose.TRANSVERSE),
}


@pytest.mark.parametrize("kind", TURNED)
@pytest.mark.parametrize("copies", [1, 5])
def test_mirrored_and_turned_pictures_in_another_split_are_told_where_they_are_some(
    make_task, tmp_path, own_cache, kind, copies
):
    for i in range(40):
        split = "train" if i < 25 else "validation" if i < 30 else "test"
        path = tmp_path / split / ("cat" if i % 2 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        (TURNED[kind](scene(i - 30)) if 30 <= i < 30 + copies else scene(i)).save(path)
    told = read_task(folder_task(make_task, tmp_path)).findings().suspicious
    said = (
        "5 of 10 test pictures, mirrored or turned, look like those of train, if not to the bit (cat/31.png and cat/1.p"
    )
    assert [line[: len(said)] for line in told] == ([said] if copies == 5 else [])


def test_pictures_of_nothing_and_other_pictures_are_not_told(make_task, tmp_path, own_cache):
    for i in range(60):
        path = tmp_path / ("train" if i < 40 else "test") / ("cat" if i % 2 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        (scene(i) if i % 3 else Image.new("RGB", (40, 40), (i, i, 9 + i))).save(path)
    assert read_task(folder_task(make_task, tmp_path)).findings().suspicious == []


SOUNDS = {
    "quieter": lambda heard: heard // 3,
    "louder": lambda heard: heard * 2,
    "silence before": lambda heard: np.concatenate([np.zeros(800, np.int16), heard]),
    "silence around": lambda heard: np.concatenate([np.zeros(333, np.int16), heard, np.zeros(2000, np.int16)]),
    "moved": lambda heard: np.concatenate([heard[60:], np.zeros(60, np.int16)]),
    "noise": lambda heard: heard + np.random.default_rng(1).integers(-30, 31, len(heard)).astype(np.int16),
    "upside down": lambda heard: -heard,
}


@pytest.mark.parametrize("kind", SOUNDS)
@pytest.mark.parametrize("form", ["folder", "transcripts", "table"])
def test_a_recording_made_louder_or_moved_in_another_split_is_told(make_task, tmp_path, own_cache, kind, form):
    places = {
        i: tmp_path / ("train" if i < 30 else "test") / ("yes" if i % 2 else "no") / f"{i}.wav" for i in range(40)
    }
    copy = tmp_path / "test" / "yes" / "copy.wav"
    for path, heard in [*((path, word(i)) for i, path in places.items()), (copy, SOUNDS[kind](word(3)))]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(heard))
    if form == "folder":
        task = read_task(dataclasses.replace(make_task("task=audio_folder", f"task.data={tmp_path}"), sample_rate=8000))
    else:
        rows = [
            {"path": str(path.relative_to(tmp_path)), "text": f"so said {i}", "label": path.parent.name}
            for i, path in enumerate([*places.values(), copy])
        ]
        paths = two_files(tmp_path, rows[:30], rows[30:])
        base = make_task("task=transcripts" if form == "transcripts" else "task=audio_table", "task.data=x")
        task = read_task(dataclasses.replace(base, **paths, sample_rate=8000))
    (line,) = task.findings().suspicious
    assert re.match(
        r"1 of 11 test recordings sound like those of \w+, if not to the bit \(\S*copy\.wav and \S*/3\.wav\)", line
    )
    assert f"to be looked at: {line}" in summary(task, None)


def test_other_recordings_are_not_told(make_task, tmp_path, own_cache):
    for i in range(60):
        path = tmp_path / ("train" if i < 40 else "test") / ("yes" if i % 2 else "no") / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(word(i)))
    task = read_task(dataclasses.replace(make_task("task=audio_folder", f"task.data={tmp_path}"), sample_rate=8000))
    assert task.findings().suspicious == []


def reworded(i, change):
    """Kinds of rows whose first text has words enough, and `change`d."""
    text = change(f"we went to see the {noun(i)} near town")
    return {
        "texts": {"text": text, "label": "pos" if i % 2 else "neg"},
        "pairs": {"text": text, "other": f"it is {i}", "label": "yes" if i % 2 else "no"},
        "source and target": {"source": text, "target": f"said {i}"},
        "conversations": {
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": f"yes {i}"}]
        },
        "options": {"question": text, "choices": [f"{i}", f"{i + 1}", f"{i + 2}"], "answerKey": i % 3},
        "tags": {"tokens": text.split(), "tags": ["O"] * len(text.split()[1:]) + ["B-PLACE"]},
        "questions": {"question": text, "context": f"tom{i} lives here.", "answers": {"text": [f"tom{i}"]}},
    }


WORDS_MORE = {
    "first": lambda text: f"Well, {text}",
    "last": lambda text: f"{text} today",
    "between": lambda text: text.replace(" the ", " the old "),
    "less": lambda text: text.replace(" near town", " town"),
}


@pytest.mark.parametrize("change", WORDS_MORE)
@pytest.mark.parametrize("kind", reworded(0, str))
def test_texts_of_a_word_more_or_less_in_another_split_are_told(make_task, tmp_path, kind, change):
    train = [reworded(i, str)[kind] for i in range(60)]
    test = [*(reworded(i, str)[kind] for i in range(60, 70)), reworded(7, WORDS_MORE[change])[kind]]
    told = given_task(make_task, tmp_path, kind, train, test).findings().suspicious
    (line,) = (said for said in told if "but for a word" in said)
    assert re.fullmatch(
        r"1 of 11 texts of test are those of (train|validation) but for a word \(rows test 11 and \1 8\)", line
    )


def two_words(text):
    return text.replace(" the ", " the old red ")


def other_word(text):
    return text.replace("town", "home")


def other_order(text):
    return f"town {text.removesuffix(' town')} now"


@pytest.mark.parametrize("change", [two_words, other_word, other_order])
def test_texts_that_differ_in_more_than_a_word_are_not_told(make_task, tmp_path, change):
    train = [reworded(i, str)["texts"] for i in range(60)]
    test = [reworded(i, str if i >= 60 else change)["texts"] for i in (*range(60, 70), 7)]
    assert given_task(make_task, tmp_path, "texts", train, test).findings().suspicious == []


SENTENCE = st.lists(st.sampled_from("abc"), min_size=3, max_size=9).map(" ".join)


@given(earlier=st.lists(SENTENCE, max_size=12), later=st.lists(SENTENCE, max_size=12))
@example(earlier=["a a a a a a"], later=["a a a a a", "a a a a a"])
def test_texts_but_for_a_word_are_those_found_by_looking_at_all(earlier, later):
    def without_one(text):
        words = text.split()
        return {" ".join(words[:at] + words[at + 1 :]) for at in range(len(words))}

    def are_near(one, other):
        long, short = sorted((one, other), key=lambda text: -len(text.split()))
        return len(short.split()) >= 5 and short in without_one(long)

    told = near_texts({"train": earlier, "test": later}, {"train": range(12), "test": range(12)})
    wanted = sum(any(are_near(text, other) for other in earlier) for text in later)
    counts = [line.partition(" texts")[0] for line in told if "but for a word" in line]
    assert counts == ([f"{wanted} of {len(later)}"] if wanted else [])


AROUND = {
    "an address behind": lambda text: f"{text} https://t.co/ab12",
    "a name before": lambda text: f"RT @bob: {text}",
    "both": lambda text: f"FW: re: {text} -- sent from my phone",
    "cut": lambda text: text[:-6],
    "tags": lambda text: f"<p class='a'>{text}</p>",
    "no accents": lambda text: text.replace("é", "e"),
    "other letters": lambda text: text.replace("a", "\u0430"),
}


@pytest.mark.parametrize("kind", AROUND)
@pytest.mark.parametrize("swapped", [False, True])
def test_texts_with_something_around_them_are_told(make_task, tmp_path, kind, swapped):
    plain = [f"the café of {reworded(i, str)['texts']['text']}" for i in range(60)]
    held = [AROUND[kind](text) for text in plain[:20]] + [
        f"else {reworded(i, str)['texts']['text']}" for i in range(60, 70)
    ]
    train, test = (held, plain) if swapped else (plain, held)
    told = near_texts(
        {"train": list(map(normalised, train)), "test": list(map(normalised, test))},
        {"train": range(60), "test": range(60)},
    )
    how = (
        "but for tags, accents or" if kind in ("tags", "no accents", "other letters") else "with words before or behind"
    )
    assert told[0].startswith(f"20 of {len(test)} texts of test are those of train {how}")
    assert "0 and 0" in told[0]


ALPHABET = "abcdefghijklmnopqrst"
RUNS = st.tuples(st.integers(0, 12), st.integers(3, 16)).map(lambda run: " ".join(ALPHABET[run[0] :][: run[1]]))


@given(earlier=st.lists(RUNS, unique=True, max_size=12), later=st.lists(RUNS, unique=True, min_size=4, max_size=12))
def test_texts_with_words_around_are_those_found_by_looking_at_all(earlier, later):
    def is_around(long, short):
        words, inner = long.split(), short.split()
        more = len(words) - len(inner)
        inside = any(words[at : at + len(inner)] == inner for at in range(1, more + 1))
        begins = more > 0 and long.startswith(short) and len(long) <= 2 * len(short)
        return len(inner) >= 6 and (begins or (inside and more <= 8 and 2 * more <= len(inner)))

    def is_told(text):
        near = [other for other in earlier if abs(len(text) - len(other)) == 2 and (text in other or other in text)]
        return (
            text not in earlier
            and not any(min(len(text), len(other)) >= 9 for other in near)
            and any(is_around(text, o) or is_around(o, text) for o in earlier)
        )

    told = near_texts({"train": earlier, "test": later}, {"train": range(12), "test": range(12)})
    counts = [line.partition(" texts")[0] for line in told if "with words before" in line]
    wanted = sum(map(is_told, later))
    assert counts == ([f"{wanted} of {len(later)}"] if wanted >= 3 else [])
