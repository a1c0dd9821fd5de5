"""Texts that are lists of paragraphs or of words are joined, and items that no template reads are told."""

import json

import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from tests.task.intake_inputs import sentences

PARAGRAPHS = [{"text": [text, "It was so."], "label": label} for text, label in sentences()]
WORDS = [{"text": text.split(), "label": label} for text, label in sentences()]
JOINED = {"paragraphs": (PARAGRAPHS, "\n\nIt was so.", "paragraphs, joined by blank lines")}
JOINED["words"] = (WORDS, "", "words, joined by blanks")


@pytest.fixture
def read(compose_plain, tmp_path):
    def go(rows, *words):
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return read_task(compose_plain(*words, f"task.data={tmp_path}/a.jsonl").task)

    return go


@pytest.mark.parametrize("case", JOINED)
def test_lists_are_joined_and_told(case, read):
    rows, end, said = JOINED[case]
    task = read(rows, "task=text_csv")
    texts = {text for split in task.splits for text in task.texts(split)}
    assert texts == {f"{text}{end}" for text, _ in sentences()}
    assert task.findings().format["train.text"] == f"lists of {said}"


def test_lists_of_some_rows_and_lists_of_other_things_are_no_texts(read):
    mixed = [row | {"text": " ".join(row["text"])} if place else row for place, row in enumerate(PARAGRAPHS)]
    with pytest.raises(ConfigError, match=r"row 1: text is .* \(list\), no text"):
        read(mixed, "task=text_csv")
    with pytest.raises(ConfigError, match=r"row 1: text is .* \(list\), no text"):
        read([row | {"text": [1, 2]} for row in PARAGRAPHS], "task=text_csv")


@pytest.mark.parametrize(
    ("template", "told"),
    [("{text[0]}", True), ("{text[0]} {text[1]}", False), ("{text[1]} {n}", True)],
)
def test_items_that_no_template_reads_are_told(template, told, read):
    words = [
        "task=seq2seq",
        "model=t5_small",
        "trainer.objective=loss",
        f'task.source="{template}"',
        "task.target=label",
    ]
    rows = [row | {"n": n} for n, row in enumerate(PARAGRAPHS)]
    task = read(rows, *(["task=text_csv", f'task.text="{template}"'] if "{n}" not in template else words))
    said = [line for line in task.findings().suspicious if "more items in text than are read, up to 2" in line]
    assert bool(said) == told
    if told:
        assert said[0].startswith("train: ")
