"""Classes stand under the names that the datasets library noted in a file, whatever their order in each file."""

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import wavfile

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.intake.features import noted_features
from harness.task.intake.table import load_table

NAMES = ["bad", "fair", "good"]
TAGS = ["O", "B-THING", "I-THING"]
LISTS = (lambda inner: {"feature": inner, "_type": "List"}, lambda inner: {"feature": inner, "_type": "Sequence"})


def write(path, columns, features):
    """A file as the library writes it: Parquet, or a stream or a file of Arrow, its features in the schema."""
    noted = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table(columns).replace_schema_metadata(noted)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return str(path)
    with (pa.ipc.new_stream if "stream" in path.name else pa.ipc.new_file)(str(path), table.schema) as sink:
        sink.write_table(table)
    return str(path)


def classes_of(names):
    return {"names": names, "_type": "ClassLabel"}


def numbered(wanted, names):
    return [numbered(each, names) if isinstance(each, list) else names.index(each) for each in wanted]


def png(seed):
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(held, "PNG")
    return {"bytes": held.getvalue(), "path": f"{seed}.png"}


def wav(seed):
    held = io.BytesIO()
    wavfile.write(held, 8000, np.random.default_rng(seed).normal(0, 3000, 2000 + seed).astype(np.int16))
    return {"bytes": held.getvalue(), "path": f"{seed}.wav"}


def words_of(seed):
    return ["see", f"thing{seed}", f"part{seed * 7}", "there"]


KINDS = {
    "texts": ("task=text_csv", "text", lambda i: f"sentence {i} of number{i * 7}", "label", NAMES),
    "images": ("task=image_table", "image", png, "label", NAMES),
    "recordings": ("task=audio_table", "audio", wav, "label", NAMES),
    "sets": ("task=text_csv", "text", lambda i: f"sentence {i} of number{i * 7}", "label", NAMES),
    "tags": ("task=token_labels", "tokens", words_of, "tags", TAGS),
}
OPTIONS = {
    "images": ["model=efficientnet_lite0", "lora.targets=[conv]", "task.image_size=32"],
    "recordings": ["model=lstm_speech", "lora.targets=[lstm]", "task.sample_rate=8000"],
    "sets": ["task.answer=labels", "trainer.objective=f1_micro"],
}


def truth(kind, row):
    if kind == "tags":
        return ["O", "B-THING", "I-THING", "O"] if row % 2 else ["O", "B-THING", "O", "O"]
    if kind == "sets":
        return [NAMES[row % 3]] if row % 2 else sorted({NAMES[row % 3], NAMES[0]})
    return NAMES[row % 3]


@pytest.mark.parametrize("form", ["parquet", "file.arrow", "stream.arrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_names_decide_where_files_number_classes_in_different_orders(compose_plain, own_cache, tmp_path, kind, form):
    word, column, make, answer, names = KINDS[kind]
    listed = kind in ("sets", "tags")
    paths = {}
    for split, rows, order in (("data", range(60), names), ("test", range(60, 84), names[::-1])):
        wanted = [truth(kind, row) for row in rows]
        columns = {column: [make(row) for row in rows], answer: numbered(wanted, order)}
        kind_of = LISTS[split == "test"](classes_of(order)) if listed else classes_of(order)
        paths[split] = write(tmp_path / f"{split}.{form}", columns, {answer: kind_of})
    task = read_task(replace(compose_plain(word, "task.data=x", *OPTIONS.get(kind, [])).task, **paths))
    assert set(task.classes) == set(names)
    found = [task.tagged("test")[place][1] for place in range(24)] if kind == "tags" else task.label_sets("test")
    if not listed:
        found = [task.classes[label] for label in task.labels("test")]
    assert list(map(list, found) if listed else found) == [truth(kind, row) for row in range(60, 84)]


def test_names_are_found_in_structs_and_lists_of_any_depth(tmp_path):
    kinds = {
        "deep": {"feature": {"feature": classes_of(["a", "b"]), "_type": "List"}, "_type": "LargeList"},
        "old": [classes_of(["a", "b"])],
        "struct": {"one": classes_of(["a", "b"]), "other": {"dtype": "int64", "_type": "Value"}},
        "turned": {"feature": {"one": classes_of(["a", "b"])}, "_type": "Sequence"},
        "plain": {"dtype": "int64", "_type": "Value"},
    }
    cells = {
        "deep": [[[0, 1], []], None],
        "old": [[1, None], [0]],
        "struct": [{"one": 1, "other": 1}, {"one": None, "other": 0}],
        "turned": [{"one": [0, 1]}, {"one": []}],
        "plain": [1, 0],
    }
    frame = load_table(tmp_path / write(tmp_path / "a.parquet", cells, kinds), "task.data").frame
    assert {name: list(frame[name]) for name in frame.columns} == {
        "deep": [[["a", "b"], []], None],
        "old": [["b", None], ["a"]],
        "struct": [{"one": "b", "other": 1}, {"one": None, "other": 0}],
        "turned": [{"one": ["a", "b"]}, {"one": []}],
        "plain": [1, 0],
    }


def text_task(compose_plain, **keys):
    return replace(compose_plain("task=text_csv", "task.data=x").task, **keys)


def test_a_number_without_a_name_is_refused_with_its_rows(compose_plain, tmp_path):
    columns = {"text": [f"sentence {i}" for i in range(9)], "label": [0, 1, 7, 0, 1, 2, 0, 1, 0]}
    data = write(tmp_path / "a.parquet", columns, {"label": classes_of(["no", "yes"])})
    with pytest.raises(ConfigError, match=r"a\.parquet: label: 7 is none of its 2 classes, 0 to 1 \(rows 3, 6\)"):
        read_task(text_task(compose_plain, data=data))


def test_a_held_out_file_whose_labels_are_withheld_is_refused_with_its_key(compose_plain, tmp_path):
    paths = {}
    for split, begin, labels in (("data", 0, [0, 1] * 20), ("test", 60, [-1] * 9)):
        columns = {"text": [f"sentence {begin + i} of {i * 7}" for i in range(len(labels))], "label": labels}
        paths[split] = write(tmp_path / f"{split}.parquet", columns, {"label": classes_of(["no", "yes"])})
    with pytest.raises(ConfigError, match=r"all 9 rows have no labels, as where labels are withheld; task\.test=null"):
        read_task(text_task(compose_plain, **paths))


def test_names_of_tags_that_the_file_names_otherwise_are_refused(compose_plain, tmp_path):
    columns = {"tokens": [words_of(i) for i in range(20)], "tags": [[0, 1, 2, 0]] * 20}
    data = write(tmp_path / "a.parquet", columns, {"tags": LISTS[0](classes_of(TAGS))})
    config = replace(compose_plain("task=token_labels", "task.data=x").task, data=data)
    assert set(read_task(replace(config, tag_names=TAGS)).classes) == set(TAGS)
    with pytest.raises(ConfigError, match=r"row 1: the tag 'B-THING' is a name, and none of task\.tag_names"):
        read_task(replace(config, tag_names=["O", "B-PER", "I-PER"]))


@pytest.mark.parametrize("noted", [None, {}, {b"pandas": b"{}"}, {b"huggingface": b'{"info": {}}'}])
def test_a_file_that_the_library_did_not_write_has_no_names(noted):
    assert noted_features(noted) == {}
