"""Tables of images: files or what a table holds, every kind of answer, and what an image folder is checked for."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from harness.config import ConfigError
from harness.config.tasks.own import LabelsConfig
from harness.task.asked_files import asked_files
from harness.task.build import read_task
from harness.task.image_table import image_files
from harness.task.images import ImageSplit, Rendering, image_inputs
from harness.task.metrics import LabelSetMetrics, RegressionMetrics
from harness.training.module import mean_loss

LABELS = ["cat", "dog", "bird"]


def pixels(number):
    return np.random.default_rng(number).integers(0, 256, (9 + number % 3, 10, 3), dtype=np.uint8)


def rows_of(count=60):
    return [{"file_name": f"photos/{row}.png", "label": LABELS[row % 3], "size": row / 4} for row in range(count)]


@pytest.fixture
def table(tmp_path):
    (tmp_path / "photos").mkdir()
    for row in range(60):
        Image.fromarray(pixels(row)).save(tmp_path / "photos" / f"{row}.png")
    pd.DataFrame(rows_of()).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


@pytest.fixture
def read(compose_plain, own_cache):
    more = ["model=efficientnet_lite0", "lora.targets=[conv]", "task.image_size=32"]
    base = compose_plain("task=image_table", *more).task
    return lambda path, **keys: read_task(replace(base, data=str(path), **keys))


def every(task):
    return {
        name: label for split in task.splits for name, label in zip(task.names(split), task.labels(split), strict=True)
    }


def test_files_are_named_by_a_template(read, table):
    whole = read(table)
    rows = pd.read_csv(table)
    rows.assign(file_name=[name[7:-4] for name in rows.file_name]).rename(columns={"file_name": "id"}).to_csv(
        table, index=False
    )
    with pytest.raises(ConfigError, match=r"name one of its columns: id, label, size, or a template of its columns"):
        read(table)
    with pytest.raises(ConfigError, match=r"task\.label=kind: .* has no such column.*; columns: id, label, size$"):
        read(table, image="photos/{id}.png", label="kind")
    task = read(table, image="photos/{id}.png")
    assert task.sha256 == whole.sha256
    assert every(task) == every(whole)


RENAMED = {
    "slashes": lambda name: name.replace("/", "\\"),
    "case": lambda name: name.replace(".png", ".PNG"),
    "elsewhere": lambda name: f"C:\\data\\{name}",
}


@pytest.mark.parametrize("change", RENAMED.values(), ids=RENAMED)
def test_files_that_are_there_under_another_name_are_told(change, read, table):
    rows = pd.read_csv(table)
    rows.assign(file_name=list(map(change, rows.file_name))).to_csv(table, index=False)
    with pytest.raises(ConfigError, match=r"60 images cannot be read .*; photos/0\.png is there, which .* may mean"):
        read(table)
    found = r"input=.*: 60 images cannot be read .*; photos/0\.png is there, which .* may mean"
    with pytest.raises(ConfigError, match=found):
        asked_files(
            table, image_files(Rendering()), key="task.image", column=None, encoding=None, separator=None, columns=None
        )


@pytest.mark.parametrize(
    ("move", "change", "template"),
    [
        (".", lambda name: name.removesuffix(".png"), "{file_name}.png"),
        (".", lambda name: name.removeprefix("photos/"), "photos/{file_name}"),
        ("meta", lambda name: name.removeprefix("photos/"), "../photos/{file_name}"),
        ("rows/of", lambda name: f"of/{name}", "../{file_name}"),
    ],
)
def test_a_template_is_named_that_finds_files_in_another_folder(move, change, template, read, table):
    whole, rows = read(table), pd.read_csv(table)
    place = table.parent / move
    place.mkdir(parents=True, exist_ok=True)
    if move == "rows/of":
        (table.parent / "photos").rename(place / "photos")
    rows.assign(file_name=list(map(change, rows.file_name))).to_csv(place / "moved.csv", index=False)
    with pytest.raises(ConfigError, match=r"60 images cannot be read .*; 'task\.image=") as refused:
        read(place / "moved.csv")
    assert str(refused.value).endswith(f"""; 'task.image="{template}"' finds them""")
    assert read(place / "moved.csv", image=template).sha256 == whole.sha256


def _in_two_folders(table, first="part_1/images", second="part_2/images"):
    """The table with its files named without folder, of which every third is in the second of two."""
    rows = pd.read_csv(table)
    rows = rows.assign(file_name=[Path(name).name for name in rows.file_name])
    for place, name in enumerate(rows.file_name):
        inner = table.parent / (second if place % 3 == 0 else first)
        inner.mkdir(parents=True, exist_ok=True)
        (table.parent / "photos" / name).rename(inner / name)
    rows.to_csv(table, index=False)
    return rows


@pytest.mark.parametrize("column", [None, "part_1/images/{file_name}", "nowhere/{file_name}"])
def test_a_pattern_of_folders_is_named_and_finds_the_files_of_both(column, read, table):
    whole = read(table).sha256
    _in_two_folders(table)
    with pytest.raises(ConfigError, match="no such file") as refused:
        read(table, image=column)
    pattern = "part_*/images/{file_name}"
    assert str(refused.value).endswith(f"""; 'task.image="{pattern}"' finds them""")
    assert read(table, image=pattern).sha256 == whole


def test_a_table_that_is_asked_names_its_files_by_the_template_too(table):
    names = [f"part_*/images/{name}" for name in _in_two_folders(table).file_name]
    found = asked_files(
        table,
        image_files(Rendering()),
        key="task.image",
        column="part_*/images/{file_name}",
        encoding=None,
        separator=None,
        columns=None,
    )
    assert [each.name for each in found] == names


def test_of_two_files_that_a_pattern_means_none_is_taken(read, table):
    name = _in_two_folders(table).file_name[0]
    (table.parent / "part_1/images" / name).write_bytes((table.parent / "part_2/images" / name).read_bytes())
    both = rf"2 files are meant: \S*part_1/images/{name}, \S*part_2/images/{name}"
    with pytest.raises(ConfigError, match=rf"1 images cannot be read \(row 2: part_\*/images/{name}: {both}\)"):
        read(table, image="part_*/images/{file_name}")


def test_where_most_files_are_missing_leaving_them_out_is_no_way(read, table):
    rows = pd.read_csv(table)
    rows.assign(file_name=[f"{name}x" for name in rows.file_name]).to_csv(table, index=False)
    with pytest.raises(ConfigError, match=r"""as 'task\.image="FOLDER/\{file_name\}"'$"""):
        read(table)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["Path"], True),
        (["image_id"], True),
        (["image", "image_id"], True),
        (["image_id", "fname"], False),
        (["other"], False),
    ],
)
def test_columns_of_files_have_usual_names_in_any_case_and_rarer_ones(names, found, read, table):
    rows = pd.read_csv(table)
    rows = rows.assign(**dict.fromkeys(names, rows.file_name)).drop(columns="file_name")
    rows.to_csv(table, index=False)
    if found:
        assert len(every(read(table))) == 60
    else:
        with pytest.raises(ConfigError, match=r"task\.image: .*, or a template of its columns, as 'files/\{id\}\.png'"):
            read(table)


@pytest.mark.parametrize("columns", [["pixels"], [f"pixel{n}" for n in range(16)], ["1x1", "1x2", "2x1", "2x2"]])
def test_pixels_in_columns_are_said_not_to_be_read(columns, read, tmp_path):
    pd.DataFrame({"label": ["a", "b"], **{name: ["0 255", "7 9"] for name in columns}}).to_csv(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match=rf"pixels in columns \({columns[0]}.*\) are not read; write the picture"):
        read(tmp_path / "a.csv")


def test_a_first_row_of_files_is_said_to_be_data(read, table):
    pd.read_csv(table).to_csv(table, index=False, header=False)
    with pytest.raises(ConfigError, match=r"if its first row is data, .* in task\.columns=\[image,…\]"):
        read(table)


def test_a_column_of_labels_is_looked_for(read, table):
    pd.read_csv(table).rename(columns={"label": "class", "file_name": "img_path"}).to_csv(table, index=False)
    with pytest.raises(ConfigError, match=r"task\.label=label: .* has no such column; did you mean class\?"):
        read(table)
    assert len(every(read(table, label="class"))) == 60


def test_every_row_is_in_one_split_with_its_own_label_and_pixels(read, table):
    task = read(table)
    assert task.classes == ("bird", "cat", "dog")
    assert {name: task.classes[label] for name, label in every(task).items()} == {
        row["file_name"]: row["label"] for row in rows_of()
    }
    assert {split: len(found) for split, found in task.splits.items()} == {"train": 39, "validation": 9, "test": 12}
    told = task.describe()
    assert told["labels"]["test"] == [4, 4, 4]
    assert told["majority"]["test"] == pytest.approx(1 / 3)
    batch = task.inputs("test", None).batch(range(3))
    for place, name in enumerate(task.names("test")[:3]):
        row = int(name.split("/")[1].split(".")[0])
        Image.fromarray(pixels(row)).save(table.parent / "one.png")
        alone = image_inputs(ImageSplit((table.parent / "one.png",), np.zeros(1, int), (f"one{row}",)), 32)
        assert torch.equal(batch["images"][place], alone.batch([0])["images"][0])
    assert sorted(int(row) for rows in task.findings().kept.values() for row in rows) == list(range(2, 62))
    assert read(table).sha256 == task.sha256 != read(table, split_seed=1).sha256


def held(rows, folder, kind="PNG", path=True):
    """A Parquet table that holds the images, as the datasets library writes it."""
    cells = []
    for number, row in enumerate(rows):
        with io.BytesIO() as buffer:
            Image.fromarray(pixels(number)).save(buffer, kind)
            cells.append({"bytes": buffer.getvalue(), "path": row["file_name"] if path else None})
    frame = pd.DataFrame({"image": cells, "label": [row["label"] for row in rows]})
    frame.to_parquet(folder / "held.parquet")
    return folder / "held.parquet"


def test_images_that_a_table_holds_are_the_files(read, table, tmp_path):
    files, inside = read(table), read(held(rows_of(), tmp_path))
    assert inside.sha256 == files.sha256
    assert every(inside) == every(files)
    first, second = (task.inputs("test", None).batch(range(12))["images"] for task in (files, inside))
    assert torch.equal(first, second)
    unnamed = read(held(rows_of(), tmp_path, path=False))
    assert len(set(every(unnamed))) == 60


@pytest.mark.parametrize("before", ["", "data:image/png;base64,"])
def test_images_that_a_table_has_in_base64_are_the_files(before, read, table):
    rows = pd.read_csv(table)
    whole = [(table.parent / name).read_bytes() for name in rows.file_name]
    coded = [before + base64.b64encode(content).decode() for content in whole]
    rows.assign(file_name=coded).to_csv(table.with_name("coded.csv"), index=False)
    found, files = read(table.with_name("coded.csv")), read(table)
    first, second = (task.inputs("test", None).batch(range(12))["images"] for task in (files, found))
    assert torch.equal(first, second)
    assert len(set(every(found))) == 60


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (repr(b"\x89PNG\r\n\x1a\n" + bytes(3000) + b"*/*"), "what Python prints of an object is no image"),
        ("<PIL.PngImagePlugin.PngImageFile image mode=RGB size=9x9 at 0x7F01>", "what Python prints of an object"),
        ("{'bytes': None, 'path': 'photos/0.png'}", "what Python prints of an object is no image"),
        ("https://example.org/of/{row}", "addresses are not fetched; download the files, and name them relative"),
        ("photos/{row}.jpeg", "photos/0.png is there, which 'photos/0.jpeg' may mean"),
        ("'photos/{row}.png'", "photos/0.png is there, which \"'photos/0.png'\" may mean"),
        ("https://example.org/photos/{row}.png?raw=true", "photos/0.png is there, which"),
        ("n" * 252, "names are relative to the table's folder"),
        ("*/" + "n" * 300, "names are relative to the table's folder"),
    ],
)
def test_cells_that_name_no_file_say_what_they_are(cell, said, read, table):
    named = [cell.replace("{row}", str(row)) for row in range(60)]
    pd.DataFrame(rows_of()).assign(file_name=named).to_csv(table, index=False)
    with pytest.raises(ConfigError) as caught:
        read(table)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_images_says_how_one_is_taken(read, table):
    rows = [row | {"file_name": [row["file_name"]]} for row in rows_of()]
    (table.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match=r"of a list a template takes an item, as '\{column\[0\]\}'"):
        read(table.parent / "rows.jsonl")
    assert len(every(read(table.parent / "rows.jsonl", image="{file_name[0]}"))) == 60
    rows = [row | {"file_name": [0, 255]} for row in rows_of()]
    (table.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="a cell of list names no image; expected a file") as caught:
        read(table.parent / "rows.jsonl")
    assert "template takes" not in str(caught.value)


def test_a_folder_says_which_tables_are_in_it(read, table):
    with pytest.raises(ConfigError, match=r"a folder, not a file; .*; in it there is rows\.csv$"):
        read(table.parent)


def test_a_data_set_of_the_datasets_library(compose_plain, own_cache, table, tmp_path):
    datasets = pytest.importorskip("datasets")
    images = [str(tmp_path / row["file_name"]) for row in rows_of()]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=LABELS)})
    made = datasets.Dataset.from_dict({"image": images, "label": [row % 3 for row in range(60)]}, features=features)
    hidden = datasets.Dataset.from_dict({"image": images[:5], "label": [-1] * 5}, features=features)
    datasets.DatasetDict(train=made, test=hidden, extra=made).save_to_disk(str(tmp_path / "saved"))
    more = ["model=efficientnet_lite0", "lora.targets=[conv]", "task.image_size=32"]
    task = read_task(compose_plain("task=image_table", f"task.dataset={tmp_path}/saved", *more).task)
    assert task.classes == ("bird", "cat", "dog")
    assert len(every(task)) == 60
    assert task.findings().suspicious == [
        "the labels of test are withheld; it was cut from the others",
        "the split extra is none of train, validation and test, and was passed over",
    ]


def test_numbers_and_several_labels(read, table):
    numbers = read(table, answer="number", label="size")
    assert numbers.outputs == 1
    assert every(numbers) == {row["file_name"]: row["size"] for row in rows_of()}
    assert isinstance(numbers.metrics(), RegressionMetrics)
    mean, sd = numbers.spread
    batch = numbers.inputs("train", None).batch(range(5))
    assert batch["labels"].tolist() == pytest.approx([(each - mean) / sd for each in numbers.labels("train")[:5]])
    assert numbers.describe()["mean_predictor"]["answer"] == pytest.approx(mean)
    frame = pd.DataFrame(rows_of())
    frame["label"] = ["" if row % 7 == 0 else "cat;dog" if row % 2 else "dog" for row in range(60)]
    frame["label"] = [json.dumps(cell.split(";") if cell else []) for cell in frame["label"]]
    frame.to_csv(table, index=False)
    several = read(table, answer="labels")
    assert several.classes == ("cat", "dog")
    assert every(several)["photos/1.png"] == (0, 1)
    assert every(several)["photos/7.png"] == ()
    assert isinstance(several.metrics(), LabelSetMetrics)
    sets = several.inputs("train", None).batch(range(3))
    assert sets["labels"].tolist() == [
        [float(each in found) for each in (0, 1)] for found in several.labels("train")[:3]
    ]
    loss = mean_loss(lambda batch: torch.zeros(3, 2), sets)
    assert loss.item() == pytest.approx(np.log(2))


def spoiled(table, row, **cells):
    frame = pd.read_csv(table, dtype=object)
    for name, cell in cells.items():
        frame.loc[row, name] = cell
    frame.to_csv(table, index=False)


def no_image(table):
    (table.parent / "photos" / "3.png").write_bytes(b"\x89PNG but no more")


def deep(table):
    Image.fromarray(np.full((9, 9), 0.5, np.float32)).save(table.parent / "photos" / "3.png", "TIFF")


def copied(table):
    """Row 6, a cat's, is the picture of row 3, a cat's, in another format; row 7, a dog's, is that of row 3."""
    Image.fromarray(pixels(3)).save(table.parent / "photos" / "6.bmp")
    Image.fromarray(pixels(3)).save(table.parent / "photos" / "7.bmp")
    spoiled(table, 6, file_name="photos/6.bmp")


REFUSED = {
    "missing": (
        lambda table: (table.parent / "photos" / "3.png").unlink(),
        {},
        r"task\.data=.*: 1 images cannot be read \(row 5: photos/3\.png: no such file\); task\.gaps=leave_out",
    ),
    "no image": (no_image, {}, r"row 5: photos/3\.png: is no image that can be read"),
    "empty": (lambda table: (table.parent / "photos" / "3.png").write_bytes(b""), {}, "photos/3.png: an empty file"),
    "floats": (deep, {}, r"photos/3\.png: has floats, 32 bits or signs"),
    "no name": (
        lambda table: spoiled(table, 3, file_name=None),
        {},
        r"1 rows have no file_name or no label \(rows 5\)",
    ),
    "no label": (lambda table: spoiled(table, 3, label=None), {}, r"1 rows have no file_name or no label \(rows 5\)"),
    "alike": (lambda table: spoiled(table, 3, label="Cat "), {}, "'cat' .* and 'Cat '|labels that differ in blanks"),
    "copies": (
        lambda table: (copied(table), spoiled(table, 7, file_name="photos/7.bmp")),
        {},
        r"the same picture with different labels, 1 times \(rows 5 and 8 and 9\); task\.duplicates=first",
    ),
    "column": (lambda table: None, {"label": "labels"}, r"task\.label=labels: .* has no such column"),
    "no column": (lambda table: None, {"image": "img"}, r"task\.image=img: .* has no such column"),
    "unknown": (
        lambda table: pd.DataFrame([{"a": 1, "label": "x"}]).to_csv(table),
        {},
        "no column is named image, img",
    ),
    "numbers": (
        lambda table: spoiled(table, 3, size="big"),
        {"answer": "number", "label": "size"},
        "size is no number",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_ambiguous_or_no_image_is_one_line(case, read, table):
    spoil, keys, said = REFUSED[case]
    spoil(table)
    with pytest.raises(ConfigError, match=said) as error:
        read(table, **keys)
    assert len(error.value.args) == 1
    assert "\n" not in str(error.value)


BOXES = [
    ("xmin ymin xmax ymax", "columns xmin, ymin, xmax and ymax are"),
    ("x1 y1 x2 y2", "columns x1, y1, x2 and y2 are"),
    ("Roi.X1 Roi.Y1 Roi.X2 Roi.Y2", "columns Roi.X1, Roi.Y1, Roi.X2 and Roi.Y2 are"),
    ("bbox", "column bbox is"),
    ("x y width height", "columns x, y, width and height are"),
    ("width height", ""),
    ("x y", ""),
    ("left right", ""),
    ("box_office", ""),
]


@pytest.mark.parametrize(("columns", "said"), BOXES, ids=[names for names, _ in BOXES])
def test_columns_of_boxes_are_said_not_to_be_read(columns, said, read, table):
    rows = pd.DataFrame(rows_of()).assign(**dict.fromkeys(columns.split(), 3))
    rows.to_csv(table, index=False)
    wanted = [f"{said} not read: a row is the whole of its picture"] if said else []
    assert read(table).findings().suspicious == wanted
    pd.concat([rows, rows.assign(label="bird")]).to_csv(table, index=False)
    other = "write each box to a file .*task.duplicates=first takes" if said else "with different labels"
    with pytest.raises(ConfigError, match=f"{said}.*{other}"):
        read(table)
    assert len(every(read(table, duplicates="first"))) == 60


def test_keys_settle_it(read, table):
    (table.parent / "photos" / "3.png").unlink()
    task = read(table, gaps="leave_out")
    assert dict(task.findings().left_out) == {"unreadable": ["5"]}
    assert len(every(task)) == 59
    Image.fromarray(pixels(3)).save(table.parent / "photos" / "3.png")
    copied(table)
    task = read(table)
    assert dict(task.findings().left_out) == {"repeated": ["8"]}
    spoiled(table, 7, file_name="photos/7.bmp")
    assert "photos/7.bmp" not in every(read(table, duplicates="first"))
    spoiled(table, 7, file_name="photos/7.png", label="Dog")
    assert read(table, labels=LabelsConfig(normalise=True)).classes == ("bird", "cat", "dog")


def test_held_out_tables_that_share_pictures_are_refused(read, table):
    frame = pd.read_csv(table)
    Image.open(table.parent / "photos" / "0.png").save(table.parent / "photos" / "new.bmp")
    frame.iloc[:6].assign(file_name=["photos/new.bmp", *frame["file_name"][1:6]]).to_csv(table.parent / "test.csv")
    with pytest.raises(ConfigError, match=r"\d of 6 test pictures stand in train too \(rows .*task\.leaks=allow"):
        read(table, test=str(table.parent / "test.csv"))
    assert len(read(table, test=str(table.parent / "test.csv"), leaks="allow").splits["test"]) == 6


def test_groups_stay_together_and_fewer_rows_are_drawn_evenly(read, table):
    frame = pd.read_csv(table)
    frame["who"] = [row // 6 for row in range(60)]
    frame.to_csv(table, index=False)
    task = read(table, group="who")
    of = {split: {int(name.split("/")[1].split(".")[0]) // 6 for name in task.names(split)} for split in task.splits}
    assert not of["train"] & of["test"]
    few = read(table, train_rows=6, test_rows=3)
    assert few.describe()["labels"]["train"] == [2, 2, 2]
    assert few.describe()["labels"]["test"] == [1, 1, 1]
    assert len(few.findings().kept["train"]) == 6


def test_fewer_rows_that_leave_nothing_to_tell_apart_are_refused_by_key(read, table):
    spoiled(table, slice(0, 50), size="1.5")
    with pytest.raises(ConfigError, match=r"task\.train_rows=4: all numbers of the training split are the same"):
        read(table, answer="number", label="size", train_rows=4)
    with pytest.raises(ConfigError, match=r"task\.train_rows=2: validation: absent from training: 'dog'"):
        read(table, train_rows=2)


def test_configurations_at_odds_are_refused(compose_plain):
    more = ["task=image_table", "task.data=a.csv", "model=efficientnet_lite0", "lora.targets=[conv]"]
    with pytest.raises(ConfigError, match=r"task\.group=a task\.time=b: splits are cut by one of them"):
        compose_plain(*more, "task.group=a", "task.time=b")
    with pytest.raises(ConfigError, match=r"trainer\.objective=accuracy: task=image_table has none"):
        compose_plain(*more, "task.answer=number")
    with pytest.raises(
        ConfigError, match=r"task\.classes=3: task=image_table answers with a number; task\.classes=null"
    ):
        compose_plain(*more, "task.answer=number", "task.classes=3", "trainer.objective=loss")
    with pytest.raises(
        ConfigError, match=r"task\.data=a\.csv task\.dataset=b: files, or a data set with its own splits"
    ):
        compose_plain(*more, "task.dataset=b")
