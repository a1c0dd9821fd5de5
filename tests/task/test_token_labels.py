"""Files of tokens and tags: each form read as it was meant, or refused by name."""

import json

import pandas as pd
import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.intake.tokens import items_of
from harness.task.summary import short, summary
from harness.task.tags import SCHEMES, spans
from tests.tiny import BAD, FILLER, GOOD


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
