"""run=show: training rows as a model reads them, and what is learned of them."""

import json

import pytest

from tests.tiny import words_of


@pytest.fixture
def show(run_here, own_cache):
    def go(*words):
        code, said, err = run_here("run=show", *words)
        assert code == 0, err
        return said.splitlines()

    return go


def test_texts_are_shown_by_their_tokens_and_the_name_of_their_class(show, tiny_base, tiny_data, tmp_path):
    table = [line.rpartition(",")[::2] for line in tiny_data.read_text().splitlines()[1:]]
    (tmp_path / "named.csv").write_text("text,label\n" + "".join(f"{text} ok,c{label}\n" for text, label in table))
    said = show(*words_of(tiny_base, tmp_path / "named.csv"))
    rows = said[1::3]
    assert [line.split(" of ")[0] for line in said[::3]] == ["training row 1", "training row 2", "training row 3"]
    read = {f"[CLS] {text} [UNK] [SEP] [[c{label}]]" for text, label in table}  # what the tokenizer does not know
    assert len(rows) == 3
    assert set(rows) <= read


def test_tags_stand_behind_their_tokens(show, tiny_base, tiny_data, tmp_path):
    names = ("Ann", "Bob", "Eve", "Ida", "Max", "Tom", "Una", "Zoe")
    pairs = [(first, second) for first in names for second in names]
    rows = [{"tokens": [*pair, "met"], "tags": ["B-PER", "B-PER", "O"]} for pair in pairs]
    (tmp_path / "tags.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    base, more = words_of(tiny_base, tiny_data), ["task.max_length=12", "trainer.objective=f1"]
    base = [word for word in base if word.startswith("model")]
    said = show(*base, "task=token_labels", f"task.data={tmp_path}/tags.jsonl", *more)
    shown = {line.strip() for line in said[1::3]}
    assert len(shown) == 3
    assert shown <= {f"{first}/[[B-PER]] {second}/[[B-PER]] met" for first, second in pairs}


def test_images_without_names_are_shown_by_their_size(show):
    said = show("task=digits", "model=efficientnet_lite0", "lora.targets=[conv]")
    assert said[0] == "training row 1 of 899"
    assert all(line.startswith("images (1, ") and line.endswith("]]") for line in said[1::3])
