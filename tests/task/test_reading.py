"""Texts that a tokenizer does not know are counted, named and, where they are most, refused."""

import json
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from harness.config import ConfigError, Tokens, check
from harness.task.base import SPLITS
from harness.task.batches import Split, encode
from harness.task.build import read_task
from harness.task.reading import read_by_tokenizer, read_of_texts
from harness.task.summary import summary
from harness.trial.inputs import readings, tokens_for
from tests.tiny import BAD, FILLER, GOOD

KNOWN = {*GOOD, *BAD, *FILLER}
WORDS = sorted(KNOWN)


def words_of(row, strange=0):
    """Three words that are known, and words that are not."""
    return [
        WORDS[row % 23],
        WORDS[row // 2 % 23],
        WORDS[row * 7 % 23],
        *(f"ቃል{row}ና{place}" for place in range(strange)),
    ]


def strange_of(row):
    """One in five rows has more unknown words than known ones, one an unknown word."""
    return (4, 1, 0, 0, 0)[row % 5]


TRUTH = dict(enumerate(map(strange_of, range(60))))
UNREADABLE = {row for row, count in TRUTH.items() if count == 4}


def texts(row):
    return {"text": " ".join(words_of(row, strange_of(row))), "label": "pos" if row % 2 else "neg"}


def tagged(row):
    words = words_of(row, strange_of(row))
    return {"tokens": words, "tags": ["B-X", *["O"] * (len(words) - 1)]}


def translated(row):
    return {"source": " ".join(words_of(row, strange_of(row))), "target": f"{WORDS[row % 23]} {WORDS[row * 3 % 23]}"}


def written(row):
    return {"source": " ".join(words_of(row)), "target": " ".join(words_of(row * 5, strange_of(row)))}


def asked(row):
    words = words_of(row, strange_of(row))
    return {
        "question": " ".join(words[1:]),
        "context": f"film {words[0]}",
        "answers": {"text": [words[0]], "answer_start": [5]},
    }


KINDS = {
    "texts": (texts, ["task=text_csv"]),
    "tags": (tagged, ["task=token_labels"]),
    "sources": (translated, ["task=seq2seq", "model=t5_small", "trainer.objective=loss"]),
    "targets": (written, ["task=seq2seq", "model=t5_small", "trainer.objective=loss"]),
    "questions": (asked, ["task=extractive_qa", "trainer.objective=f1"]),
}


@pytest.fixture
def read(compose_plain, own_cache, tiny_base, tmp_path):
    def go(rows, *words, tokens=None, allow=False, **keys):
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        config = replace(compose_plain(*words, "task.data=x").task, data=str(tmp_path / "rows.jsonl"), **keys)
        task = read_task(config)
        tokens = tokens or Tokens(tokenizer=tiny_base / "tokenizer.json", pad=0, end=3, decoder_start=2)
        splits = {split: task.inputs(split, tokens) for split in SPLITS}
        return task, splits, read_by_tokenizer(task, splits, tokens, allow=allow)

    return go


def rows_in(task, split):
    return [int(name.split()[-1]) - 1 for name in map(str, task.findings().kept.get(split) or task.names(split))]


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_of_unknown_tokens_and_the_texts_that_are_mostly_so_are_told(read, kind):
    make, words = KINDS[kind]
    task, splits, reading = read([make(row) for row in range(60)], *words)
    lines = "\n".join(summary(task, splits, (), reading.told))
    assert "train" in reading.unknown
    found = [line for line in lines.split("\n") if "of the tokens are unknown to the model's tokenizer" in line]
    assert len(found) == len(reading.unknown)
    assert "nothing suspicious" not in lines
    if kind not in ("texts", "tags"):
        return
    for split in SPLITS:
        mine = rows_in(task, split)
        assert reading.unknown[split] == pytest.approx(
            sum(TRUTH[row] for row in mine) / sum(3 + TRUTH[row] for row in mine)
        )
        bad = [row + 1 for row in mine if row in UNREADABLE]
        share = f"{100 * reading.unknown[split]:.2g} %"
        line = f"{split}: {share} of the tokens are unknown to the model's tokenizer; in {len(bad)} texts more "
        assert f"{line}than half (rows {', '.join(map(str, bad))})" in reading.told
    assert reading.described() == {"unknown_tokens": dict(reading.unknown), "read": reading.told}


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_are_mostly_unknown_are_refused_with_their_rows(read, kind):
    make, words = KINDS[kind]
    rows = [make(row) for row in range(60)]
    for row in rows:
        for name in {"texts": ["text"], "sources": ["source"], "targets": ["target"]}.get(kind, ["question"]):
            row[name] = 3 * " ".join(f" ቃ{word}ና" for word in str(row.get(name, "")).split())
    if kind == "tags":
        rows = [{"tokens": [f"ቃ{word}ና" for word in row["tokens"]], "tags": row["tags"]} for row in rows]
    with pytest.raises(
        ConfigError, match=r"train: \S+ % of the tokens are unknown .* \(rows .*of their language"
    ) as error:
        read(rows, *words)
    assert "rows.jsonl" in str(error.value)
    assert str(error.value).endswith("; task.unknown_tokens=allow trains on them all the same")
    *_, reading = read(rows, *words, allow=True)
    assert any(line.startswith("train: ") for line in reading.told)


def test_sequences_of_letters_without_blanks_are_said_to_be_too_long(read):
    make, words = KINDS["texts"]
    rows = [make(row) | {"text": "acdefghiklmnpqrstvwy" * 6 + "a" * row} for row in range(60)]
    with pytest.raises(
        ConfigError, match="these are words of over 100 letters, .*; part their letters by blanks; task"
    ):
        read(rows, *words)


def test_texts_that_are_to_be_answered_are_told_by_their_numbers(tiny_base, own_cache):
    tokens = Tokens(tokenizer=tiny_base / "tokenizer.json", pad=0, end=3, decoder_start=2)
    texts = [" ".join(words_of(row, strange_of(row))) for row in range(10)]
    inputs = encode(Split(tuple(texts), (0,) * 10), tokens.tokenizer, 128, 0)
    (line,) = read_of_texts(inputs, tokens)
    assert line.startswith("input: ")
    assert line.endswith("in 2 texts more than half (rows 1, 6)")
    assert read_of_texts(encode(Split(("film",), (0,)), tokens.tokenizer, 128, 0), tokens) == []


def test_texts_that_are_all_known_are_not_told(read):
    reading = read([texts(row) | {"text": " ".join(words_of(row))} for row in range(2, 22)], "task=text_csv")[2]
    assert (dict(reading.unknown), list(reading.told), reading.described()) == ({}, [], {})


def test_rows_that_become_the_same_with_different_labels_are_told(read):
    rows = [{"text": f"film {WORDS[row % 20]} ቃ{row}ና", "label": "pos" if row < 20 else "neg"} for row in range(40)]
    task, _, reading = read(rows, "task=text_csv")
    (line,) = [line for line in reading.told if "different labels" in line]
    assert line.startswith("40 rows with different labels are the same as the tokenizer reads them, 20 times (")
    split = {row: name for name in SPLITS for row in rows_in(task, name)}
    assert f"{split[0]} 1 and {split[20]} 21" in line or f"{split[20]} 21 and {split[0]} 1" in line


def test_rows_that_are_cut_to_the_same_are_told(read):
    rows = [{"text": f"film of {WORDS[row % 20]} town {WORDS[row]}", "label": row % 2} for row in range(20)]
    rows += [{"text": f"film of {WORDS[row % 20]} music {WORDS[row]}", "label": 1 - row % 2} for row in range(20)]
    assert not read(rows, "task=text_csv")[2].told
    *cut, line = read(rows, "task=text_csv", max_length=5)[2].told
    assert all(" are cut (text); " in said for said in cut)
    assert line.startswith("40 rows with different labels are the same")


def test_numbers_of_rows_that_are_read_alike_are_not_told(read):
    rows = [{"text": f"film {WORDS[row % 20]} of the town ቃ{row}ና", "label": row / 4} for row in range(40)]
    reading = read(rows, "task=text_csv", "task.answer=number", "trainer.objective=rmse")[2]
    assert not [line for line in reading.told if "different labels" in line]


def test_texts_without_a_token_are_told(read, tmp_path):
    tokenizer = Tokenizer(
        models.WordLevel({"[PAD]": 0, "[UNK]": 1, **{w: i + 2 for i, w in enumerate(WORDS)}}, "[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.CharDelimiterSplit("_")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rows = [{"text": f"{WORDS[row]}_film" if row else "____", "label": row % 2} for row in range(20)]
    task, _, reading = read(rows, "task=text_csv", tokens=Tokens(tokenizer=tmp_path / "tokenizer.json", pad=0))
    (split,) = [split for split in SPLITS if 0 in rows_in(task, split)]
    assert reading.told == [f"{split}: 1 texts have no token for the model to read (rows 1)"]


@pytest.mark.parametrize(
    "made",
    [
        models.Unigram([("<pad>", 0.0), ("film", -1.0), ("a", -2.0), ("<unk>", -9.0)], 3, False),
        models.WordPiece({"<pad>": 0, "film": 1, "a": 2, "<unk>": 3}, unk_token="<unk>"),
        models.BPE({"<pad>": 0, "f": 1, "a": 2, "<unk>": 3}, [], unk_token="<unk>"),
    ],
    ids=["unigram", "wordpiece", "bpe"],
)
def test_each_kind_of_tokenizer_says_what_it_does_not_know(read, tmp_path, made):
    tokenizer = Tokenizer(made)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rows = [{"text": "a " * (row + 8) + ("ቃ" if row % 2 else ""), "label": row // 2 % 2} for row in range(40)]
    task, _, reading = read(rows, "task=text_csv", tokens=Tokens(tokenizer=tmp_path / "tokenizer.json", pad=0))
    for split in SPLITS:
        mine = rows_in(task, split)
        odd = sum(row % 2 for row in mine)
        assert reading.unknown.get(split, 0) == pytest.approx(odd / (sum(row + 8 for row in mine) + odd))


def test_an_id_that_pads_or_ends_texts_is_not_counted_as_unknown(read, tmp_path, tiny_base):
    rows = [texts(row) for row in range(60)]
    reading = read(rows, "task=text_csv", tokens=Tokens(tokenizer=tiny_base / "tokenizer.json", pad=1))[2]
    assert not reading.unknown


def test_of_several_tasks_each_is_read_by_itself(several, compose_mixture, tiny_data, tmp_path, own_cache):
    """Those of the tasks whose texts have a word more that is unknown."""
    config = check(several())
    task = read_task(config.task)
    splits = {split: task.inputs_by_task(split, tokens_for(config, task)) for split in SPLITS}
    found = readings(config, task, splits)
    assert {name: set(reading.unknown) for name, reading in found.items()} == {
        "first": set(),
        "second": set(),
        "third": set(SPLITS),
    }
    mixed = compose_mixture()
    task = read_task(mixed.task)
    splits = {split: task.inputs(split, tokens_for(mixed, task)) for split in SPLITS}
    assert {name: dict(each.unknown) for name, each in readings(mixed, task, splits).items()} == {
        name: {} for name in ("good", "size", "again")
    }


CUT = {
    "texts": ({"max_length": 4}, "text", "task.max_length"),
    "tags": ({"max_length": 4}, "text", "task.max_length"),
    "sources": ({"max_source": 2}, "source", "task.max_source"),
    "questions": (
        {"max_length": 9, "stride": None, "lost": "leave_out"},
        "context",
        "task.max_length, or task.stride,",
    ),
}


@pytest.mark.parametrize("kind", CUT)
def test_rows_that_are_mostly_cut_are_told(read, kind):
    make, words = KINDS[kind]
    keys, what, key = CUT[kind]
    rows = [make(5 * row + 2) for row in range(60)]
    if kind == "questions":
        rows = [{**row, "context": row["context"] + 9 * " film"} for row in rows]
    task, splits, reading = read(rows, *words, **keys)
    assert reading.told[: len(SPLITS)] == [
        f"{split}: {len(splits[split])} of {len(splits[split])} rows are cut ({what}); {key} reads more of them"
        for split in SPLITS
    ]
    assert "nothing suspicious" not in "\n".join(summary(task, splits, (), reading.told))
    assert not any(" are cut (" in said for said in read(rows, *words)[2].told)
