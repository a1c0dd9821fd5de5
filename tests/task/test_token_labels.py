"""Tagged tokens: read right or refused by name, aligned with a model's pieces, scored as seqeval scores them."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from harness.config import ConfigError
from harness.task import build_task
from harness.task.build import read_task
from harness.task.intake.tokens import items_of
from harness.task.summary import short, summary
from harness.task.tag_metrics import TagMetrics
from harness.task.tags import SCHEMES, begun, broken, by_type, scheme_of, span_classes, spans
from harness.task.token_inputs import encode_tokens
from tests.tiny import BAD, FILLER, GOOD

STRICT = json.loads((Path(__file__).parents[1] / "cases" / "seqeval_strict.json").read_text())["cases"]
SEQEVAL = json.loads((Path(__file__).parents[1] / "cases" / "seqeval.json").read_text())["cases"]


def rows_of(case, key):
    return [row.split() for row in case[key]]


# -- measures ----------------------------------------------------------------------------------------------------------


def assert_scores(case, classes, size):
    """Rows by so many at once have seqeval's scores."""
    tags, predicted = rows_of(case, "tags"), rows_of(case, "predicted")
    metrics = TagMetrics(classes, 0, with_spans=True)
    for start in range(0, len(tags), size):
        metrics.update(*as_batch(classes, tags[start : start + size], predicted[start : start + size]))
    scores = metrics.compute_and_reset()
    for name in ("f1", "precision", "recall", "accuracy"):
        assert scores[name] == pytest.approx(case[name], abs=1e-12), name


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("case", SEQEVAL, ids=range(len(SEQEVAL)))
def test_scores_are_seqevals(case, size):
    tags, predicted = rows_of(case, "tags"), rows_of(case, "predicted")
    classes = ("O", *(f"{mark}-{kind}" for kind in ("LOC", "PER", "X") for mark in "BI"))
    assert_scores(case, classes, size)
    found = {line[0]: [float(each) for each in (*line[4:], line[1])] for line in by_type(tags, predicted)}
    assert found == {kind: pytest.approx(values, abs=1e-6) for kind, values in case["types"].items()}


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("case", STRICT, ids=range(len(STRICT)))
def test_scores_of_other_schemes_are_those_of_seqevals_strict_mode(case, size):
    tags, predicted = rows_of(case, "tags"), rows_of(case, "predicted")
    classes = span_classes([tag for row in [*tags, *predicted] for tag in row], case["scheme"])
    assert scheme_of(classes) == case["scheme"]
    assert_scores(case, classes, size)
    lines = by_type(tags, predicted, case["scheme"])
    found = {line[0]: [float(each) for each in (*line[4:], line[1])] for line in lines}
    assert found == {kind: pytest.approx(values, abs=1e-6) for kind, values in case["types"].items()}


@given(st.sampled_from(["bioes", "bilou"]), st.lists(st.tuples(st.sampled_from("ABO"), st.integers(1, 4)), max_size=6))
def test_a_scheme_is_read_as_it_is_written(scheme, parts):
    """Spans in the scheme are those that were written, and what is broken is mended to whole spans."""
    tags, wanted = list[str](), []
    begin, inside, last, single = SCHEMES[scheme]
    for kind, size in parts:
        if kind != "O":
            wanted.append((kind, len(tags), len(tags) + size))
        marks = single if size == 1 else begin + inside * (size - 2) + last
        tags += ["O"] * size if kind == "O" else [f"{mark}-{kind}" for mark in marks]
    assert spans(tags, scheme) == wanted
    assert not list(broken(tags, scheme))
    assert begun(tags, scheme) == tuple(tags)
    torn = [tag.replace(f"{last}-", f"{inside}-") for tag in tags]
    assert not list(broken(begun(torn, scheme), scheme))
    assert not any(size > 1 for kind, size in parts if kind != "O") or list(broken(torn, scheme))


def as_batch(classes, tags, predicted):
    """Logits and a batch in which each token is one piece behind a special one."""
    longest = max(map(len, tags))
    logits = torch.zeros(len(tags), longest + 2, len(classes))
    labels, places = torch.full((len(tags), longest + 2), -100), torch.full((len(tags), longest), -2)
    found = torch.full((len(tags), longest), -100)
    for row, (wanted, said) in enumerate(zip(tags, predicted, strict=True)):
        for place, (tag, guess) in enumerate(zip(wanted, said, strict=True)):
            labels[row, place + 1] = found[row, place] = classes.index(tag)
            places[row, place] = place + 1
            logits[row, place + 1, classes.index(guess)] = 3.0
    return logits, {"labels": labels, "tags": found, "places": places}


def test_a_token_that_is_not_read_counts_as_outside():
    """Beyond the longest row a span is missed, and a token outside of all is right."""
    classes = ("O", "B-X", "I-X")
    logits = torch.zeros(1, 3, 3)
    logits[0, 1, 1] = 5.0
    batch = {"labels": torch.tensor([[-100, 1, -100]])}
    batch |= {"tags": torch.tensor([[1, 1, 0]]), "places": torch.tensor([[1, -1, -1]])}
    metrics = TagMetrics(classes, 0, with_spans=True)
    items = metrics.update(logits, batch)
    scores = metrics.compute_and_reset()
    assert (scores["precision"], scores["recall"], scores["accuracy"]) == (1.0, 0.5, pytest.approx(2 / 3))
    assert metrics.tags(logits, batch) == [[1, 0, 0]]
    counts = [1, 1, 2, 2, 3]  # spans that are right, found, there; tokens that are right, all
    assert items.tolist() == [[pytest.approx(scores["loss"]), 1.0, *counts]]


def test_spans_that_begin_with_i_are_found_and_mended():
    tags = ["I-A", "I-A", "O", "B-B", "I-A", "I-A", "B-A"]
    assert spans(tags) == [("A", 0, 2), ("B", 3, 4), ("A", 4, 6), ("A", 6, 7)]
    assert list(broken(tags)) == [0, 4]
    assert spans(begun(tags)) == spans(tags)
    assert not list(broken(begun(tags)))


# -- pieces ------------------------------------------------------------------------------------------------------------

TOKENS = ["Zürich", "of", "don't", "\u200b", "New York", "unaffable", "😀😀", "é"]
TEXTS = ["the people of Zürich don't know New York", "unaffable unbelievable affable", "é è ê 😀"]


def bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=80, special_tokens=["[UNK]", "[CLS]", "[SEP]"])
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


def bytes_of_text():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    first = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=300, initial_alphabet=first))
    return tokenizer


def sentencepiece():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"]))
    return tokenizer


@pytest.mark.parametrize("make", [bert, bytes_of_text, sentencepiece])
def test_the_first_piece_of_each_token_carries_its_tag(make, tmp_path, own_cache):
    """Pieces are those of the text; each token's first one is found by decoding what stands before it."""
    tokenizer = make()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rows = [TOKENS, ["of"], TOKENS[4:] * 2]
    tags = [list(range(len(row))) for row in rows]
    inputs = encode_tokens(rows, tags, tmp_path / "tokenizer.json", 128, 0)
    batch = inputs.batch([0, 1, 2])
    for row, tokens in enumerate(rows):
        encoding = tokenizer.encode(" ".join(tokens))
        assert batch["ids"][row, : len(encoding.ids)].tolist() == encoding.ids
        begin, wanted = 0, {}
        for number, token in enumerate(tokens):
            pieces = [
                place
                for place, (start, end) in enumerate(encoding.offsets)
                if (text := " ".join(tokens)[start:end]).strip(" ")
                and begin <= start + len(text) - len(text.lstrip(" ")) < begin + len(token)
            ]
            if pieces:
                wanted[pieces[0]] = number
            begin += len(token) + 1
        labels = batch["labels"][row]
        assert {place: int(labels[place]) for place in (labels != -100).nonzero().flatten().tolist()} == wanted
        assert len(wanted) >= len(tokens) - 2  # what BERT's normaliser deletes has no piece
    assert batch["tags"][1].tolist() == [0] + [-100] * 7
    assert (batch["places"][1] == -2).sum() == 7


def test_rows_are_cut_and_counted(tmp_path, own_cache):
    bert().save(str(tmp_path / "tokenizer.json"))
    inputs = encode_tokens([["of"] * 9, ["of"] * 3], [[1] * 9, [1] * 3], tmp_path / "tokenizer.json", 6, 0)
    assert inputs.truncated() == {"text": 1}
    assert (inputs.batch([0, 1])["labels"] == 1).sum(1).tolist() == [4, 3]
    with pytest.raises(ConfigError, match=r"task\.max_length=3: it leaves 1 of 1 rows 1 tokens"):
        encode_tokens([["of"] * 9], [[1] * 9], tmp_path / "tokenizer.json", 3, 0)


# -- files -------------------------------------------------------------------------------------------------------------


def sentence(number):
    """Tokens and tags: a name of one or two words among fillers."""
    words = [FILLER[(number * 7 + place) % 11] for place in range(3 + number % 3)]
    name = [GOOD[number % 6], BAD[number // 6 % 6]][: 1 + number % 2]
    kind = ("PER", "LOC")[number % 4 // 2]
    tokens = [f"w{number}", *words, *name, "is"]
    tags = ["O"] * (1 + len(words)) + [f"{'I' if place else 'B'}-{kind}" for place in range(len(name))] + ["O"]
    return tokens, tags


ROWS = [sentence(number) for number in range(60)]


def jsonl(rows, folder, **more):
    folder.mkdir(exist_ok=True)
    path = folder / "rows.jsonl"
    lines = [json.dumps({"tokens": tokens, "tags": tags, **more}) for tokens, tags in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def conll(rows, folder, mark=" ", columns=False):
    path = folder / "rows.conll"
    between = f"{mark}NN{mark}" if columns else mark
    lines = ["-DOCSTART- -X- O O\n"]
    for number, (tokens, tags) in enumerate(rows):
        lines.append(f"# id = {number}")
        lines += [f"{token}{between}{tag}" for token, tag in zip(tokens, tags, strict=True)] + [""]
    path.write_text("\n".join(lines))
    return path


def parquet(rows, folder):
    path = folder / "rows.parquet"
    pd.DataFrame({"tokens": [r[0] for r in rows], "tags": [r[1] for r in rows]}).to_parquet(path)
    return path


def csv(rows, folder):
    path = folder / "rows.csv"
    pd.DataFrame({"tokens": [str(r[0]) for r in rows], "tags": [json.dumps(r[1]) for r in rows]}).to_csv(path)
    return path


@pytest.fixture
def read(compose_plain):
    base = compose_plain("task=token_labels").task

    def go(path, **keys):
        from dataclasses import replace

        return read_task(replace(base, data=str(path), **keys))

    return go


FORMS = {"jsonl": jsonl, "conll": conll, "parquet": parquet, "csv": csv}


def test_all_forms_are_the_same_data(read, tmp_path):
    found = [read(make(ROWS, tmp_path)) for make in FORMS.values()]
    found += [read(conll(ROWS, tmp_path, "\t")), read(conll(ROWS, tmp_path, columns=True))]
    assert len({task.sha256 for task in found}) == 1
    task = found[0]
    assert task.classes == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert sum(len(split) for split in task.splits.values()) == 60
    kept = {row.tokens: row.tags for split in task.splits.values() for row in split}
    assert kept == {tuple(tokens): tuple(tags) for tokens, tags in ROWS}
    assert found[1].splits["train"][0].name == "4", "the line of its first token"


def in_columns(rows, folder, form):
    """A file with columns in front of the words and behind them; `form` has their places in a line."""
    lines = []
    for number, row in enumerate(rows):
        for place, (token, tag) in enumerate(zip(*row, strict=True)):
            lines.append(form.format(i=place, n=place + 1, doc=f"bc/{number // 9}", w=token, t=tag, p="NN"))
        lines.append("")
    (folder / "rows.conll").write_text("\n".join(lines))
    return folder / "rows.conll"


@pytest.mark.parametrize(
    "form",
    ["{n}\t{w}\t{t}", "{i} {w} {t}", "{doc} 0 {i} {w} {p} (TOP* {t}", "{n}\t{w}\t{w}\t{p}\t{p}\t_\t0\tdep\t_\t{t}"],
    ids=["index", "index from 0", "CoNLL-2012", "CoNLL-X"],
)
def test_words_behind_numbers_and_documents_are_found(read, tmp_path, form):
    task = read(in_columns(ROWS, tmp_path, form))
    assert task.sha256 == read(jsonl(ROWS, tmp_path)).sha256
    assert task.facts.format["train.words"] == f"column {form.split().index('{w}') + 1}"


def test_a_column_of_words_in_doubt_is_refused_until_its_number_is_given(read, tmp_path):
    path = in_columns(ROWS, tmp_path, "{n} {t} {w} {t}")
    with pytest.raises(ConfigError, match=r"first column is no word, as '1', '2', '3'; task\.tokens=NUMBER says"):
        read(path)
    assert read(path, tokens="3").sha256 == read(jsonl(ROWS, tmp_path)).sha256
    with pytest.raises(ConfigError, match=r"task\.tokens=4: its lines have 4 columns; .* 1 to 3"):
        read(path, tokens="4")
    with pytest.raises(ConfigError, match=r"first column is no word"):
        read(in_columns(ROWS, tmp_path, "{n} {t}"))


def test_tags_in_front_of_words_are_refused_until_their_column_is_given(read, tmp_path):
    path = tmp_path / "front.bio"
    path.write_text("\n\n".join("\n".join(f"{tag}\t{token}" for token, tag in zip(*row, strict=True)) for row in ROWS))
    for keys in ({}, {"tokens": "2"}):
        with pytest.raises(
            ConfigError, match=r"its first column has the tags, and no words; task\.tokens=2 task\.tags=1"
        ):
            read(path, **keys)
    assert read(path, tokens="2", tags="1").sha256 == read(jsonl(ROWS, tmp_path)).sha256
    for keys in ({"tags": "1"}, {"tokens": "2", "tags": "3"}, {"tokens": "2", "tags": "2"}):
        with pytest.raises(
            ConfigError, match=r"task\.tags=\d: its lines have 2 columns; another column than that of the w"
        ):
            read(path, **keys)


def test_the_number_of_a_column_is_given_on_the_command_line(compose_plain):
    task = compose_plain("task=token_labels", "task.tokens=2", "task.tags=1").task
    assert (task.tokens, task.tags) == ("2", "1")


def test_a_number_sign_is_a_token(read, tmp_path):
    rows = [(["#", *tokens], ["O", *tags]) for tokens, tags in ROWS]
    assert read(conll(rows, tmp_path)).splits["train"][0].tokens[0] == "#"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [" ", "  ", "\t"])
def test_a_blank_that_does_not_break_is_part_of_a_token_whatever_ends_lines(read, tmp_path, mark, end):
    rows = [(["10\N{NO-BREAK SPACE}km", *tokens], ["O", *tags]) for tokens, tags in ROWS]
    path = conll(rows, tmp_path, mark)
    path.write_bytes(path.read_text().replace("\n", end).encode())
    found = {row.tokens: row.tags for split in read(path).splits.values() for row in split}
    assert found == {tuple(tokens): tuple(tags) for tokens, tags in rows}


def test_what_was_read_is_said(read, tmp_path):
    task = read(jsonl(ROWS, tmp_path))
    told = task.describe()
    tags = [tag for split in ("validation", "test") for row in task.splits[split] for tag in row.tags]
    held = {split: [tag for row in task.splits[split] for tag in row.tags] for split in ("validation", "test")}
    assert told["majority"] == {"class": "O"} | {split: found.count("O") / len(found) for split, found in held.items()}
    assert sum(sum(counts) for counts in told["labels"].values()) == sum(len(tags) for _, tags in ROWS)
    assert sum(told["spans"]["train"].values()) + tags.count("B-PER") + tags.count("B-LOC") == 60
    said = "\n".join(summary(task, None))
    assert "B-PER" in said
    assert "always answering 'O' is right for" in said
    assert short(task).startswith("42 train, 6 validation, 12 test rows; 5 classes")


def test_rows_of_a_group_stay_together(read, tmp_path):
    lines = [
        json.dumps({"tokens": tokens, "tags": tags, "document": number // 6})
        for number, (tokens, tags) in enumerate(ROWS)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    task = read(tmp_path / "rows.jsonl", group="document")
    of = {split: {(int(row.name) - 1) // 6 for row in rows} for split, rows in task.splits.items()}
    assert not of["train"] & of["test"]
    assert not of["train"] & of["validation"]


def test_numbers_are_named(read, tmp_path):
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    rows = [(tokens, [names.index(tag) for tag in tags]) for tokens, tags in ROWS]
    assert read(parquet(rows, tmp_path), tag_names=names).sha256 == read(jsonl(ROWS, tmp_path)).sha256


def changed(number, change):
    return [*ROWS[:number], change(*ROWS[number]), *ROWS[number + 1 :]]


def tag_of(number, place, tag):
    def change(tokens, tags):
        return tokens, [tag if index == place else each for index, each in enumerate(tags)]

    return changed(number, change)


REFUSED = {
    "uneven": (
        changed(4, lambda tokens, tags: (tokens, tags[1:])),
        {},
        r"1 rows have not as many tags as tokens \(rows 5\), as row 5: \d tokens, \d tags",
    ),
    "empty": (changed(4, lambda *_: ([], [])), {}, r"1 rows have no tokens \(rows 5\); task\.gaps=leave_out"),
    "no list": (changed(4, lambda tokens, tags: (" ".join(tokens), tags)), {}, "row 5: tokens is .* no list"),
    "no text": (changed(4, lambda tokens, tags: ([5, *tokens[1:]], tags)), {}, r"row 5: tokens has 5 in it \(int\)"),
    "blank": (changed(4, lambda tokens, tags: ([" ", *tokens[1:]], tags)), {}, "row 5: tokens has ' ' in it"),
    "numbers": (tag_of(4, 0, 3), {}, r"row 5: the tag 3 is a number; task\.tag_names="),
    "beyond": (
        tag_of(4, 0, 9),
        {"tag_names": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]},
        "the tag 9 is none of task.tag_names, which has 0 to 4",
    ),
    "no tag": (tag_of(4, 0, None), {}, r"the tag None is no name \(NoneType\)"),
    "BIOES": (tag_of(4, 0, "S-PER"), {}, "train row 5: the tag 'S-PER' is of BIOES, .*task.scheme=bioes reads them"),
    "bare": (tag_of(4, 0, "B-"), {}, "the tag 'B-' is none of O, B-TYPE, I-TYPE .*task.scheme=plain takes"),
    "broken": (
        tag_of(4, 0, "I-PER"),
        {},
        "1 spans begin with I- in 1 rows .*I-PER of 'w4' in train row 5; task.broken",
    ),
    "alike": (tag_of(4, 0, "B-per"), {}, "tags|labels that differ in blanks, case or number format: 'B-PER'"),
    "contradicting": ([*ROWS, (ROWS[0][0], ["O"] * len(ROWS[0][1]))], {}, "the same tokens with different labels"),
    "one tag": ([(tokens, ["O"] * len(tags)) for tokens, tags in ROWS], {}, "no spans; there is nothing to learn"),
    "a text": (changed(4, lambda tokens, tags: (" ".join(tokens), tags)), {}, r"row 5: .* as \[\"Ada\", \"wrote\"\]"),
    "passed over": (tag_of(4, 0, -100), {}, r"row 5: the tag -100 is of data made ready for a loss; .*, O outside"),
    "column": (ROWS, {"tags": "ner_tags"}, "task.tags=ner_tags: .* has no such column"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_ambiguous_is_refused_in_one_line(case, read, tmp_path):
    rows, keys, said = REFUSED[case]
    with pytest.raises(ConfigError, match=said) as error:
        read(jsonl(rows, tmp_path), **keys)
    assert len(error.value.args) == 1
    assert "\n" not in str(error.value)


SETTLED = {
    "gaps": (changed(4, lambda *_: ([], [])), {"gaps": "leave_out"}, {"gaps": ["train 5"]}, 59),
    "begin": (tag_of(4, 0, "I-PER"), {"broken": "begin"}, {}, 60),
    "broken": (tag_of(4, 0, "I-PER"), {"broken": "leave_out"}, {"broken spans": ["train 5"]}, 59),
    "alike": (tag_of(4, 0, "B-per"), {"labels": None}, {}, 60),
    "first": (
        [*ROWS, (ROWS[0][0], ["O"] * len(ROWS[0][1]))],
        {"duplicates": "first"},
        {"contradicting": ["train 61"]},
        60,
    ),
    "repeated": ([*ROWS, ROWS[0]], {}, {"repeated": ["train 61"]}, 60),
}


@pytest.mark.parametrize("case", SETTLED)
def test_a_key_settles_it(case, read, tmp_path):
    from harness.config.tasks.tokens import TagsConfig

    rows, keys, left, count = SETTLED[case]
    keys = {key: TagsConfig(normalise=True) if value is None else value for key, value in keys.items()}
    task = read(jsonl(rows, tmp_path), **keys)
    assert dict(task.findings().left_out) == left
    assert sum(map(len, task.splits.values())) == count
    assert task.classes == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    tags = {row.tags[0] for split in task.splits.values() for row in split if row.name == "5"}
    assert tags <= ({"B-PER"} if case in ("begin", "alike") else {"O"})


def test_forms_that_are_not_read_are_named_with_the_way(read, tmp_path):
    whole = tmp_path / "whole.conll"
    whole.write_text("Ada B-PER\nwrote O\nin O\nParis B-LOC\n")
    with pytest.raises(ConfigError, match=r"no blank line parts its rows, and all 4 lines are one; a blank line"):
        read(whole)
    (tmp_path / "named.jsonl").write_text('{"words": ["Ada"], "ner_tags": ["B-PER"]}\n')
    with pytest.raises(ConfigError, match=r"no column is named tokens; task\.tokens=words task\.tags=ner_tags are"):
        read(tmp_path / "named.jsonl")


def long(rows, folder, *, every=False, name="Sentence #"):
    """A token a row, the sentence named at its first one alone, or at every one."""
    path = folder / "long.csv"
    cells = [
        {name: f"Sentence: {number}" if every or not place else "", "Word": token, "Tag": tag}
        for number, row in enumerate(rows)
        for place, (token, tag) in enumerate(zip(*row, strict=True))
    ]
    pd.DataFrame(cells).to_csv(path, index=False)
    return path


def blank_separated(rows, folder):
    path = folder / "blanks.csv"
    pd.DataFrame([{"tokens": " ".join(row[0]), "tags": " ".join(row[1])} for row in rows]).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("every", [True, False])
def test_a_table_of_a_token_a_row_is_read_by_its_sentences(read, tmp_path, every):
    path = long(ROWS, tmp_path, every=every)
    with pytest.raises(ConfigError, match=r"no column is named tokens; task\.tokens=Word task\.tags=Tag are there"):
        read(path)
    with pytest.raises(ConfigError, match=r"Word and Tag have a token a row; 'task\.sentence=\"Sentence #\"' makes"):
        read(path, tokens="Word", tags="Tag")
    task = read(path, tokens="Word", tags="Tag", sentence="Sentence #")
    assert task.sha256 == read(jsonl(ROWS, tmp_path)).sha256
    assert task.findings().format["train.tokens"] == "of the rows of a Sentence #"


def test_sentences_that_come_back_are_of_several_documents_or_refused(read, tmp_path):
    path = long(ROWS, tmp_path, every=True)
    frame = pd.read_csv(path)
    frame["doc"] = [f"d{int(name.split()[1]) // 20}" for name in frame["Sentence #"]]
    frame["Sentence #"] = [int(name.split()[1]) % 20 for name in frame["Sentence #"]]
    frame.to_csv(path, index=False)
    keys = {"tokens": "Word", "tags": "Tag", "sentence": "Sentence #"}
    with pytest.raises(ConfigError, match=r"'0' comes back in row \d+, behind others; task\.group=COLUMN of documents"):
        read(path, **keys)
    task = read(path, **keys, group="doc")
    assert sum(map(len, task.splits.values())) == len(ROWS)
    frame["each"] = range(len(frame))
    frame.to_csv(path, index=False)
    with pytest.raises(ConfigError, match="each row has a value of its own there, and is no sentence"):
        read(path, **keys | {"sentence": "each"})


def test_texts_of_as_many_words_as_tags_are_parted_at_blanks(read, tmp_path):
    task = read(blank_separated(ROWS, tmp_path))
    assert task.sha256 == read(jsonl(ROWS, tmp_path)).sha256
    assert task.findings().format["train.tokens"] == "tokens and tags parted at blanks"
    names = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    numbers = [(tokens, [str(names.index(tag)) for tag in tags]) for tokens, tags in ROWS]
    assert read(blank_separated(numbers, tmp_path), tag_names=names).sha256 == task.sha256
    with pytest.raises(ConfigError, match=r"row 2: tokens is .* \(str\), no list; .* as many words as the tags"):
        read(blank_separated(changed(4, lambda tokens, tags: (tokens, tags[1:])), tmp_path))


def test_a_token_a_line_is_read_from_a_tsv(read, tmp_path):
    path = conll(ROWS, tmp_path, "\t")
    path.with_suffix(".tsv").write_text(path.read_text().partition("\n\n")[2])
    assert read(path.with_suffix(".tsv")).sha256 == read(path).sha256


def test_numbers_before_tokens_are_refused_with_the_way(read, tmp_path):
    text = ""
    for tokens, tags in ROWS:
        text += "#\thttp://a.org [2010]\n"
        text += "".join(f"{n}\t{each}\t{tag}\tO\n" for n, (each, tag) in enumerate(zip(tokens, tags, strict=True), 1))
        text += "\n"
    (tmp_path / "de.tsv").write_text(text)
    with pytest.raises(
        ConfigError, match=r"de\.tsv: its first column numbers .*, and two have tags; .*cut -f2,3. takes"
    ):
        read(tmp_path / "de.tsv")


def test_marks_without_a_type_are_of_one(read, tmp_path):
    bare = [(tokens, [tag[:1] for tag in tags]) for tokens, tags in ROWS]
    typed = [(tokens, [tag if tag == "O" else f"{tag[0]}-SPAN" for tag in tags]) for tokens, tags in ROWS]
    task = read(jsonl(bare, tmp_path))
    (tmp_path / "typed").mkdir()
    assert task.sha256 == read(jsonl(typed, tmp_path / "typed")).sha256
    assert "the tags B, I have no type, and are read as of SPAN" in task.findings().suspicious


@pytest.mark.parametrize(
    ("change", "way"),
    [
        (lambda tag: tag.replace("I-", "M-"), "of BMES write M- as I-, and task.scheme=bioes reads it"),
        (lambda tag: tag[2:].lower() or "O", "write I- before each type, and task.broken=begin"),
    ],
)
def test_other_tags_are_refused_with_what_makes_spans_of_them(change, way, read, tmp_path):
    with pytest.raises(ConfigError, match=way):
        read(jsonl([(tokens, list(map(change, tags))) for tokens, tags in ROWS], tmp_path))


def test_tags_that_training_has_not(read, tmp_path):
    (tmp_path / "more").mkdir()
    held = [
        ([f"held{number}", *tokens], ["B-ORG" if number == 3 else "O", *tags])
        for number, (tokens, tags) in enumerate(ROWS)
    ]
    path, other = jsonl(ROWS, tmp_path), jsonl(held, tmp_path / "more")
    with pytest.raises(
        ConfigError,
        match=r"task.validation=.*: 1 held-out rows have tags that training has not: B-ORG \(rows validation 4\)",
    ):
        read(path, validation=str(other))
    task = read(path, validation=str(other), unknown="leave_out")
    assert task.findings().left_out["unknown tags"] == ["validation 4"]
    assert len(task.splits["validation"]) == 59


def test_a_held_out_file_that_stands_in_training_is_refused(read, tmp_path):
    path = jsonl(ROWS, tmp_path)
    (tmp_path / "more").mkdir()
    other = jsonl([([token.upper() for token in tokens], tags) for tokens, tags in ROWS[:30]], tmp_path / "more")
    with pytest.raises(ConfigError, match=r"26 of 30 test sentences stand in train too .*task\.leaks=allow"):
        read(path, test=str(other))
    assert len(read(path, test=str(other), leaks="allow").splits["test"]) == 30


def test_plain_tags_are_classes_of_their_own(read, tmp_path):
    rows = [(tokens, ["DET" if token == "the" else "N" for token in tokens]) for tokens, _ in ROWS]
    task = read(jsonl(rows, tmp_path), scheme="plain")
    assert task.classes == ("DET", "N")
    assert task.metrics().names == ("accuracy", "loss")
    assert task.describe()["majority"]["class"] == "N"


def conllu(rows, folder):
    """As of Universal Dependencies: with comments, a word that two are written as, and one that is not written."""
    text = ["# newdoc", "# newdoc id = a"]
    for number, (tokens, tags) in enumerate(rows):
        text += [f"# sent_id = {number}", f"# text = {' '.join(tokens)}", "1-2\tboth" + "\t_" * 8]
        text += [
            f"{place}\t{token}\tlemma\t{tag[:1]}\t{tag}\t_\t0\troot\t_\tSpaceAfter=No"
            for place, (token, tag) in enumerate(zip(tokens, tags, strict=True), 1)
        ]
        text += [f"{len(tokens)}.1\tunwritten" + "\t_" * 8, ""]
    (folder / "rows.conllu").write_text("\n".join(text))
    return folder / "rows.conllu"


def test_universal_dependencies_are_read_by_the_name_of_a_column(read, tmp_path):
    path = conllu(ROWS, tmp_path)
    every = [tag for _, tags in ROWS for tag in tags]
    for name, wanted in {"tags": [tag[:1] for tag in every], "XPOS": every}.items():
        task = read(path, scheme="plain", tags=name)
        kept = {row.tokens: row.tags for split in task.splits.values() for row in split}
        assert set(kept) == {tuple(tokens) for tokens, _ in ROWS}
        assert [tag for tokens, _ in ROWS for tag in kept[tuple(tokens)]] == wanted
    assert read(path, tags="xpos").sha256 == read(conll(ROWS, tmp_path)).sha256
    with pytest.raises(ConfigError, match=r"task.tags=ner: lemma, upos, xpos, .* are the columns of a .conllu"):
        read(path, scheme="plain", tags="ner")
    path.write_text(path.read_text().replace("\tSpaceAfter=No", ""))
    with pytest.raises(ConfigError, match=r"line 6 has 9 columns, of a .conllu it is ten"):
        read(path, scheme="plain")


def test_a_line_without_a_tag_is_named(read, tmp_path):
    path = conll(ROWS, tmp_path)
    lines = path.read_text().split("\n")
    lines[4] = "alone"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"line 5: 'alone' has no tag behind it$"):
        read(path)
    path.write_text("\n".join(["###MEDLINE:95", "", *lines[:4], *lines[5:]]))
    with pytest.raises(
        ConfigError, match=r"line 1: '###MEDLINE:95' has no tag .* no tokens, `grep -v '\^###' FILE` leaves"
    ):
        read(path)
    with pytest.raises(ConfigError, match=r"rows\.xml: expected .*\.conll"):
        read(tmp_path / "rows.xml")


def in_scheme(rows, scheme):
    """Rows of BIO in another scheme."""
    begin, inside, last, single = SCHEMES[scheme]
    made = []
    for tokens, tags in rows:
        found = list(tags)
        for kind, first, end in spans(tags):
            marks = single if end - first == 1 else begin + inside * (end - first - 2) + last
            found[first:end] = [f"{mark}-{kind}" for mark in marks]
        made.append((tokens, found))
    return made


@pytest.mark.parametrize("scheme", ["bioes", "bilou"])
def test_other_schemes_are_read_by_their_key(read, tmp_path, scheme):
    path = jsonl(in_scheme(ROWS, scheme), tmp_path)
    said = rf"rows\.jsonl: train row \d+: .* is of {scheme.upper()}, .*task\.scheme=bio; task\.scheme={scheme} reads"
    with pytest.raises(ConfigError, match=said):
        read(path)
    task, plain = read(path, scheme=scheme), read(jsonl(ROWS, tmp_path / "bio"))
    assert task.describe()["spans"] == plain.describe()["spans"]
    assert set(task.classes) == {"O", *(f"{mark}-{kind}" for mark in SCHEMES[scheme] for kind in ("LOC", "PER"))}
    assert task.metrics().names == ("f1", "precision", "recall", "accuracy", "loss")


@pytest.mark.parametrize(
    ("ours", "theirs"), [("bio", "bioes"), ("bioes", "bio"), ("bilou", "bioes"), ("bioes", "bilou")]
)
def test_a_held_out_file_in_another_scheme_is_refused_by_its_name(read, tmp_path, ours, theirs):
    mine, held = ROWS[:40], [([f"held{i}", *tokens], ["O", *tags]) for i, (tokens, tags) in enumerate(ROWS[40:])]
    train, other = (
        rows if scheme == "bio" else in_scheme(rows, scheme) for rows, scheme in ((mine, ours), (held, theirs))
    )
    path, more = jsonl(train, tmp_path / "a"), jsonl(other, tmp_path / "b")
    said = rf"task\.test=.*b.rows\.jsonl: test row \d+: .* is of {theirs.upper()}, .*task\.scheme={ours}; one scheme"
    with pytest.raises(ConfigError, match=said):
        read(path, test=str(more), scheme=ours)


def test_a_span_that_does_not_end_is_refused_until_it_is_settled(read, tmp_path):
    rows = [
        ([*tokens, "to", "Rome"], [*tags, "B-LOC", "I-LOC"] if place == 4 else [*tags, "O", "S-LOC"])
        for place, (tokens, tags) in enumerate(in_scheme(ROWS, "bioes"))
    ]
    path = jsonl(rows, tmp_path)
    with pytest.raises(
        ConfigError, match=r"2 tags are in no whole span of BIOES, in 1 rows \(train 5\), as B-LOC of 'to'"
    ):
        read(path, scheme="bioes")
    assert read(path, scheme="bioes", broken="leave_out").findings().left_out == {"broken spans": ["train 5"]}
    mended = {
        row.name: row.tags for split in read(path, scheme="bioes", broken="begin").splits.values() for row in split
    }
    assert mended["5"][-2:] == ("B-LOC", "E-LOC")


def test_outside_is_a_tag_like_others_in_plain_tags(read, tmp_path):
    (tmp_path / "more").mkdir()
    path = jsonl([(tokens, ["N"] * len(tokens)) for tokens, _ in ROWS], tmp_path)
    held = [([f"held{number}", *tokens], ["O", *["N"] * len(tokens)]) for number, (tokens, _) in enumerate(ROWS[:2])]
    with pytest.raises(ConfigError, match=r"2 held-out rows have tags that training has not: O \(rows"):
        read(path, test=str(jsonl(held, tmp_path / "more")), scheme="plain")


def test_a_list_that_numpy_printed_is_refused(read, tmp_path):
    cell = "['EU' 'rejects'\n 'German']"
    pd.DataFrame({"tokens": [cell], "tags": ['["O"]']}).to_csv(tmp_path / "rows.csv")
    with pytest.raises(ConfigError, match="tokens is .*, no list; write the column as JSON"):
        read(tmp_path / "rows.csv")
    assert items_of("['EU', \"it's\",\n 'a']", "", "") == ["EU", "it's", "a"]


@pytest.mark.parametrize("cell", ["['EU', ..., 'a']", "['EU' ... 'a']", "[EU, …, a]", "[['EU', ...], 'a']"])
def test_a_list_that_was_shortened_is_refused(cell):
    with pytest.raises(ConfigError, match=r"row 3: tokens is shortened \(\.\.\.\), as numpy and pandas print"):
        items_of(cell, "row 3", "tokens")
    assert items_of('["...", "…"]', "row 3", "tokens") == ["...", "…"]


def test_configurations_at_odds_are_refused(compose_plain, tmp_path):
    words = ["task=token_labels", f"task.data={tmp_path}/rows.jsonl"]
    compose_plain(*words, "trainer.objective=f1")
    with pytest.raises(ConfigError, match=r"trainer\.objective=f1: task=token_labels has none"):
        compose_plain(*words, "trainer.objective=f1", "task.scheme=plain")
    with pytest.raises(ConfigError, match="trainer.objective=auroc: task=token_labels has none"):
        compose_plain(*words, "trainer.objective=auroc")
    with pytest.raises(ConfigError, match=r"model\.pooling=mean: task=token_labels tags every token"):
        compose_plain(*words, "model=hf", f"model.address=path:{tmp_path}", "model.pooling=mean")
    with pytest.raises(ConfigError, match="needs a text model"):
        compose_plain(*words, "model=small_gpt2")


# -- code --------------------------------------------------------------------------------------------------------------

CODE = '''
class Broken(ValueError): pass

class Box:
    async def go(self, größe, *args: Box, **kw):
        """Say nothing."""
        # nothing at all
        for each in args:
            if not isinstance(each, module.Box):
                raise errors.Broken(f"no {größe}")
        try:
            return self.helper(each, size=größe)
        except (Broken, OSError) as error:
            return error.args

def plain(): return int("f very long text, which would be cut into a hundred pieces and more")
'''
NAMES = [
    *("async def", ("go", "B-function"), "(", ("self", "B-parameter"), ",", ("größe", "B-parameter"), ", *"),
    *(("args", "B-parameter"), ":", ("Box", "B-class"), ", **", ("kw", "B-parameter"), ") : for each in"),
    *(("args", "B-parameter"), ": if not", ("isinstance", "B-function"), "( each ,"),
    *(("module", "B-class"), (".", "I-class"), ("Box", "I-class"), ") : raise"),
    *(("errors", "B-exception"), (".", "I-exception"), ("Broken", "I-exception"), '( f"… ) try : return'),
    *(("self", "B-parameter"), ".", ("helper", "B-function"), "( each ,", ("size", "B-parameter"), "="),
    *(("größe", "B-parameter"), ") except (", ("Broken", "B-exception"), ",", ("OSError", "B-exception")),
    ") as error : return error . args",
]


def test_names_in_code_are_tagged_by_what_they_name(compose_plain, tmp_path):
    folder = tmp_path / "package"  # its name is what the splits are drawn by
    folder.mkdir()
    for number in range(12):
        made = CODE.replace("def plain", f"def plain{number}").replace(
            "def go", f"def go{number}" if number else "def go"
        )
        (folder / f"module{number}.py").write_text(made)
    (folder / "template.py").write_text("class {{ name }}: pass")
    words = ["task=code_names", f"task.packages=[{{address: 'path:{folder}', sha256: null}}]", "task.rows=null"]
    config = compose_plain(*words, "task.validation_share=0.2", "task.test_share=0.3").task
    task = build_task(config)
    every = {row.name: row for split in task.splits.values() for row in split}
    assert len(every) == 24
    row = every[f"{folder.name}/module0.py:5"]
    wanted = [
        pair for each in NAMES for pair in ([each] if isinstance(each, tuple) else [(t, "O") for t in each.split()])
    ]
    assert list(zip(row.tokens, row.tags, strict=True)) == wanted
    short_row = every[f"{folder.name}/module3.py:16"]
    assert short_row.tokens == ("def", "plain3", "(", ")", ":", "return", "int", "(", '"…', ")")
    assert short_row.tags[1:2] + short_row.tags[6:7] == ("B-function", "B-class")
    split_of = {split: {row.group for row in rows} for split, rows in task.splits.items()}
    assert not split_of["train"] & (split_of["test"] | split_of["validation"])
    assert task.findings().left_out == {"not Python of this version": ["template.py"]}


def test_code_beside_docstrings_and_in_long_chains_is_read(compose_plain, tmp_path):
    folder = tmp_path / "package"  # its name is what the splits are drawn by
    folder.mkdir()
    chain = "def chain(): return 1" + " + 1" * 2000
    for number in range(12):
        (folder / f"module{number}.py").write_text(
            f'def f{number}(): "Größe."; return 1\n{chain}\nx = 1{" + 1" * 2000}'
        )
    words = ["task=code_names", f"task.packages=[{{address: 'path:{folder}', sha256: null}}]", "task.rows=null"]
    config = compose_plain(*words, "task.validation_share=0.2", "task.test_share=0.3").task
    task = build_task(config)
    rows = [row for split in task.splits.values() for row in split]
    assert {row.tokens[0:1] + row.tokens[2:] for row in rows} == {("def", "(", ")", ":", ";", "return", "1")}
    assert {row.tags for row in rows} == {("O", "B-function", *["O"] * 6)}
    assert len(task.findings().left_out["longer than task.max_tokens"]) == 12
