"""Data sets of the datasets library are read as it saves them, classes by their names, and refused in a line."""

import json
import sys
import types

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.config import ConfigError
from harness.system.assets import Unreachable
from harness.task.build import read_task

FEATURES = {
    "sentence": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["no", "yes"], "_type": "ClassLabel"},
}


def rows(count, start=0, label=lambda i: i % 2):
    numbers = range(start, start + count)
    return pa.table({"sentence": [f"sentence number {i}" for i in numbers], "label": [label(i) for i in numbers]})


def save_split(folder, table, shards=2):
    """As Dataset.save_to_disk writes it: streams of Arrow, and what they are in two files of JSON."""
    folder.mkdir(parents=True)
    files = []
    for number in range(shards):
        begin, end = (table.num_rows * part // shards for part in (number, number + 1))
        files.append({"filename": f"data-{number:05}-of-{shards:05}.arrow"})
        with pa.ipc.new_stream(str(folder / files[-1]["filename"]), table.schema) as sink:
            sink.write_table(table.slice(begin, end - begin))
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_split": folder.name}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def save(folder, **splits):
    for name, table in splits.items():
        save_split(folder / name, table)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return folder


@pytest.fixture
def read(compose_plain):
    def go(dataset, *words):
        return read_task(compose_plain("task=hf", f"task.dataset={dataset}", "task.text=sentence", *words).task)

    return go


def test_saved_splits_are_kept_with_the_names_of_their_classes(read, tmp_path):
    task = read(save(tmp_path / "d", train=rows(40), validation=rows(10, 40), test=rows(12, 50)))
    assert task.classes == ("no", "yes")
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 40, "validation": 10, "test": 12}
    assert task.splits["test"].texts == tuple(f"sentence number {i}" for i in range(50, 62))
    assert [task.classes[label] for label in task.splits["test"].labels] == ["no", "yes"] * 6


def test_one_saved_split_is_cut(read, tmp_path):
    save_split(tmp_path / "d", rows(60))
    assert sum(map(len, read(tmp_path / "d").splits.values())) == 60


def test_a_test_split_whose_labels_are_withheld_is_cut_from_the_others_and_told(read, tmp_path):
    data = save(
        tmp_path / "d", train=rows(60), validation=rows(10, 60), test=rows(9, 90, lambda i: -1), extra=rows(5, 200)
    )
    task = read(data)
    assert not {f"sentence number {i}" for i in range(90, 99)} & set(task.splits["test"].texts)
    assert len(task.splits["validation"]) == 10
    assert task.describe()["suspicious"] == [
        "the labels of test are withheld; it was cut from the others",
        "the split extra is none of train, validation and test, and was passed over",
    ]


def test_a_clone_of_a_repository_is_read_by_the_names_of_its_files(read, tmp_path):
    (tmp_path / "d/data").mkdir(parents=True)
    for name, table in (
        ("train-00000-of-00002", rows(20)),
        ("train-00001-of-00002", rows(20, 20)),
        ("dev", rows(8, 60)),
    ):
        pq.write_table(table, tmp_path / f"d/data/{name}.parquet")
    task = read(tmp_path / "d")
    assert len(task.splits["validation"]) == 8
    assert len(task.splits["train"]) + len(task.splits["test"]) == 40


def test_lists_of_classes_have_their_names(read, tmp_path):
    """As of several labels a row; a list in an older file has the kind of its items in brackets."""
    names = {"names": ["joy", "fear", "none"], "_type": "ClassLabel"}
    lists = [[0, 2] if i % 4 else [] for i in range(60)]
    for kind in ({"feature": names, "_type": "List"}, {"feature": names, "_type": "Sequence"}, [names]):
        table = pa.table({"sentence": [f"sentence number {i}" for i in range(60)], "label": lists})
        folder = tmp_path / str(hash(str(kind)))
        save_split(folder, table)
        (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES | {"label": kind}}))
        task = read(folder, "task.answer=labels", "trainer.objective=f1_micro")
        assert task.classes == ("joy", "none")
        assert {label for split in task.splits.values() for label in split.labels} == {(), (0, 1)}


def test_a_clone_has_the_names_that_its_files_note(read, tmp_path):
    (tmp_path / "d").mkdir()
    noted = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    pq.write_table(rows(60).replace_schema_metadata(noted), tmp_path / "d/train.parquet")
    assert read(tmp_path / "d").classes == ("no", "yes")
    pq.write_table(rows(60), tmp_path / "d/train.parquet")
    assert read(tmp_path / "d").classes == ("0", "1")


@pytest.mark.parametrize(
    ("dataset", "words", "line"),
    [
        ("{tmp}", [], "neither saved by save_to_disk"),
        ("{saved}", ["task.text=text"], "task.text=text: .*no such column.*columns: sentence, label"),
        ("{tests}", [], "no train split; splits: test"),
        ("owner/name", [], "no such folder; of the hub it is owner/name@revision"),
        ("nowhere", [], "no such folder"),
        ("null", [], "task.dataset: missing"),
        ("{saved}", ["task.answer=number", "trainer.objective=rmse"], "is no number"),
    ],
)
def test_what_is_no_data_set_is_refused_in_a_line(read, tmp_path, dataset, words, line):
    save(tmp_path / "saved", train=rows(40))
    save(tmp_path / "tests", test=rows(40), other=rows(4, 60))
    (tmp_path / "none").mkdir()
    places = {"tmp": tmp_path / "none", "saved": tmp_path / "saved", "tests": tmp_path / "tests"}
    with pytest.raises(ConfigError, match=line):
        read(dataset.format(**places), *words)


class _Split:
    """What the library gives for a split."""

    def __init__(self, table):
        self.table, self.features = table, types.SimpleNamespace(to_dict=lambda: FEATURES)

    def with_format(self, name):
        assert name == "arrow"
        return self

    def __getitem__(self, whole):
        return self.table


def test_the_hub_is_asked_for_a_pinned_revision_by_the_library(read, monkeypatch):
    asked = []

    def load_dataset(name, subset, revision):
        asked.append((name, subset, revision))
        if name == "owner/gone":
            raise ConnectionError("cannot reach the hub")
        if name == "owner/script":
            raise RuntimeError("Dataset scripts are no longer supported, but found script.py")
        return {"train": _Split(rows(40)), "validation": _Split(rows(10, 40)), "test": _Split(rows(10, 50))}

    library = types.SimpleNamespace(load_dataset=load_dataset, __spec__=types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "datasets", library)
    task = read("owner/name@abc123", "task.subset=mrpc")
    assert asked == [("owner/name", "mrpc", "abc123")]
    assert task.classes == ("no", "yes")
    with pytest.raises(Unreachable, match="owner/gone@abc: cannot reach the hub"):
        read("owner/gone@abc")
    with pytest.raises(ConfigError, match="owner/script@abc: Dataset scripts are no longer supported"):
        read("owner/script@abc")


@pytest.mark.parametrize("known", [True, False])
def test_a_hub_whose_name_is_unknown_is_not_asked_again_and_again(known, read, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    offline = []

    def named(host, port):
        if not known:
            raise OSError("Name or service not known")
        return [host]

    def load_dataset(name, subset, revision):
        offline.append(constants.HF_HUB_OFFLINE)
        raise ConnectionError("cannot reach the hub")

    monkeypatch.setattr("harness.task.intake.datasets.socket.getaddrinfo", named)
    monkeypatch.setattr("harness.task.intake.datasets.getproxies", dict)
    library = types.SimpleNamespace(load_dataset=load_dataset, __spec__=types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "datasets", library)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(Unreachable, match=r"task\.dataset=FOLDER reads what save_to_disk wrote"):
        read("owner/gone@abc")
    assert offline == [not known]
    assert constants.HF_HUB_OFFLINE is False
