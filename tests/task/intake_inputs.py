"""Rows, tables and configurations that the tests of the intake are made of."""
# ruff: noqa: E741

import csv
import dataclasses
import io
import json
import struct

import numpy as np
from PIL import Image

from harness.task.build import read_task

WORDS = ["harbour", "lantern", "meadow", "copper", "violin", "thunder", "biscuit", "granite", "orchid", "saddle"]


def sentences(count=60):
    return [(f"the {WORDS[i % 10]} of {WORDS[i // 10]} at {i}", "pos" if i % 2 else "neg") for i in range(count)]


def text_of(rows, mark=",", head=("text", "label"), end="\n", **how):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, lineterminator=end, **how)
    writer.writerows([head, *rows] if head else rows)
    return out.getvalue()


def lines_of(rows):
    return "".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows)


def relabelled(change, every=7):
    return [(text, change(label) if i % every == 0 else label) for i, (text, label) in enumerate(sentences())]


def in_splits(names, count=60):
    """The sentences, with a column that goes through `names` of splits."""
    return [(*row, names[i * len(names) // count]) for i, row in enumerate(sentences(count))]


SPLIT = ("text", "label", "split")
ACCENTED = [(f"{text} déjà vu café", label) for text, label in sentences()]


def swallowed(begin, end, mark=",", rows=None):
    """A table with a quote before one field and after another, in a later row."""
    lines = text_of(rows or sentences(), mark).split("\n")
    lines[begin] = f'"{lines[begin]}'
    lines[end] = lines[end].replace(mark, f'"{mark}')
    return "\n".join(lines)


def config_of(make_task, **changes):
    task = make_task("task=text_csv", "task.data=x")
    labels = {name: changes.pop(name) for name in ("normalise", "unlabelled") if name in changes}
    changes["labels"] = dataclasses.replace(changes.get("labels", task.labels), **labels)
    return dataclasses.replace(task, **changes)


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def texts_of(task):
    return {text for split in task.splits.values() for text in split.texts}


NUMBERED = [(text, f"{i},5" if i % 2 else str(i)) for i, (text, _) in enumerate(sentences())]
TIMED = [{"text": t, "label": l, "when": i} for i, (t, l) in enumerate(sentences())]


def with_odd(rows, **odd):
    """Rows as JSON, the second one odd."""
    return "\n".join(json.dumps(row | odd if place == 1 else row) for place, row in enumerate(rows))


def picture(path, seed, size=(20, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def images_in(root, split=lambda i: "", count=12):
    for number, name in enumerate(("cat", "dog")):
        for i in range(count):
            picture(root / split(i) / name / f"{i}.png", 100 * number + i)
    return root


def folder_task(make_task, root, **changes):
    return config_of(lambda *_: make_task("task=image_folder", "task.image_size=32"), data=str(root), **changes)


def tone(seed, count=4000):
    return np.random.default_rng(seed).integers(-9000, 9000, count).astype(np.int16)


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def wav(samples, *, rate=8000, kind=1, bits=16, channels=1, extensible=False, before=b"", size=None, full=2**15):
    """A WAV file of int16 samples, interleaved, in another sample format."""
    wide = samples.astype(np.int64)
    if kind == 3:
        data = (wide / full).astype("<f4" if bits == 32 else "<f8").tobytes()
    elif bits == 24:
        data = b"".join(int(value << 8).to_bytes(3, "little", signed=True) for value in wide)
    elif bits == 8:
        data = ((wide >> 8) + 128).astype(np.uint8).tobytes()
    else:
        data = (wide << (bits - 16)).astype(f"<i{bits // 8}").tobytes()
    width = bits // 8 * channels
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, rate, rate * width, width, bits)
    if extensible:
        head += struct.pack("<HHIH", 22, bits, 0, kind) + bytes.fromhex("000000001000800000aa00389b71")
    body = chunk(b"fmt ", head) + before + chunk(b"data", data)
    if size is not None:
        body = body.replace(b"data" + struct.pack("<I", len(data)), b"data" + struct.pack("<I", size))
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def pairs(make_task, path, **changes):
    return read_task(dataclasses.replace(make_task("task=seq2seq", "task.data=x"), data=str(path), **changes))


def two(rows, head=("text", "other", "label"), mark=","):
    return text_of(rows, mark, head=head)


def asked(count=60):
    """Rows of which both sentences are needed to tell them apart."""
    return [
        (f"is it {WORDS[i % 10]} {i // 2}", f"it is {WORDS[(i % 2) * 5]}", "yes" if i % 2 else "no")
        for i in range(count)
    ]


def noun(i):
    return f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} {i}"


def labelled(i, change=str):
    return {"text": change(f"the {noun(i)}"), "label": "pos" if i % 2 else "neg"}


def paired(i, change=str):
    return {"text": change(f"is it {noun(i)}"), "other": f"it is {noun(i)}", "label": "yes" if i % 2 else "no"}


def numbered(i, change=str):
    return {"text": change(f"the {noun(i)}"), "label": i / 4}


def several(i, change=str):
    return {"text": change(f"the {noun(i)}"), "label": [["a"], ["a", "b"], ["b"]][i % 3]}


def tagged(i, change=str):
    return {"tokens": [change("see"), *noun(i).split()], "tags": ["O", "B-THING", "I-THING", "O"]}


def translated(i, change=str):
    return {"source": change(f"say {noun(i)}"), "target": f"said {noun(i)}"}


def chatted(i, change=str):
    asked = {"role": "user", "content": change(f"what is {noun(i)}?")}
    return {"messages": [asked, {"role": "assistant", "content": f"a thing, {i}"}]}


def chosen(i, change=str):
    return {"question": change(f"which is {noun(i)}?"), "choices": [f"{i}", f"{i + 1}", f"{i + 2}"], "answerKey": i % 3}


def asked_of(i, change=str):
    text = change(f"who lives in {noun(i)}?")
    return {"question": text, "context": f"in {noun(i)} lives tom{i}.", "answers": {"text": [f"tom{i}"]}}


def pictured(i, change=str):
    return {"image": change(f"{i}.png"), "label": "pos" if i % 2 else "neg"}


def sounded(i, change=str):
    return {"audio": change(f"{i}.wav"), "label": "pos" if i % 2 else "neg"}


KINDS = {
    "texts": ("text_csv", labelled, {}),
    "pairs": ("text_csv", paired, {"text_pair": "other"}),
    "numbers": ("text_csv", numbered, {"answer": "number"}),
    "several labels": ("text_csv", several, {"answer": "labels"}),
    "tags": ("token_labels", tagged, {}),
    "source and target": ("seq2seq", translated, {}),
    "conversations": ("chat", chatted, {}),
    "options": ("choice", chosen, {}),
    "questions": ("extractive_qa", asked_of, {}),
    "images": ("image_table", pictured, {}),
    "recordings": ("audio_table", sounded, {"sample_rate": 8000}),
}


def two_files(folder, train, test):
    """The keys of a training and a test table, with the tables that they name."""
    parts = {"data": train, "test": test}
    return {key: written(folder / f"{key}.jsonl", "\n".join(map(json.dumps, rows))) for key, rows in parts.items()}


def given_task(make_task, folder, kind, train, test, **changes):
    """What is read of rows of a kind, with a test file; of images the pictures are made."""
    name, _, own = KINDS[kind]
    for row in (*train, *test) if name == "image_table" else ():
        picture(folder / row["image"], int(row["image"].partition(".")[0]))
    for row in (*train, *test) if name == "audio_table" else ():
        (folder / row["audio"]).write_bytes(wav(tone(int(row["audio"].partition(".")[0]))))
    paths = two_files(folder, train, test)
    words = ["task.image_size=32"] if name == "image_table" else []
    task = make_task(f"task={name}", "task.data=x", *words)
    return read_task(dataclasses.replace(task, **paths, **own, **changes))


def word(seed, count=6000, rate=8000):
    """A tone that glides, with overtones, between silences: unlike those of other seeds."""
    draw = np.random.default_rng(seed)
    time = np.arange(count) / rate
    pitch = draw.uniform(90, 260) * (
        1 + draw.uniform(-0.2, 0.2) * time + 0.02 * np.sin(2 * np.pi * draw.uniform(3, 9) * time)
    )
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(draw.uniform(0.1, 1) * np.sin(n * phase + draw.uniform(0, 6)) for n in range(1, 12))
    return np.rint(2500 * voice * np.hanning(count)).astype(np.int16)
