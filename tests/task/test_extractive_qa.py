"""Extractive question answering: read right or refused by name, in windows, scored as SQuAD's script scores it."""

import json
import random
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn import functional as F
from torchmetrics.functional.text import squad
from transformers import PreTrainedTokenizerFast

from harness.config import ConfigError, Tokens
from harness.task.answer_spans import find_spans, span_nats
from harness.task.build import read_task
from harness.task.qa_inputs import Question, encode_questions
from harness.task.qa_metrics import QaMetrics
from harness.task.squad import exact_match, scores_of, token_f1
from harness.task.summary import summary

# -- measures ----------------------------------------------------------------------------------------------------------

PIECES = ["the", "The", "a", "an", "cat", "Cat.", "dog", "U.S.", "re-born", "1,000", "naïve", "café!", "an", "—"]
WHOLE = ["cat", "dog", "born", "1000"]


def phrase(draw):
    words = [draw.choice(PIECES) for _ in range(draw.randint(0, 4))]
    words.insert(draw.randint(0, len(words)), draw.choice(WHOLE))
    return draw.choice([" ", "  ", "\n"]).join(words)


def test_scores_are_those_of_squad_in_torchmetrics():
    """Of all predictions, also empty ones, and of each by itself."""
    draw = random.Random(0)
    said, right = [], []
    for _ in range(300):
        right.append([phrase(draw) for _ in range(draw.randint(1, 3))])
        said.append(draw.choice([phrase(draw), draw.choice(right[-1]).upper(), "", "the"]))
    found = [scores_of(one, wanted) for one, wanted in zip(said, right, strict=True)]
    for row, (one, wanted) in enumerate(zip(said, right, strict=True)):
        theirs = squad(
            [{"prediction_text": one, "id": "0"}],
            [{"answers": {"text": wanted, "answer_start": [0] * len(wanted)}, "id": "0"}],
        )
        assert (100 * found[row][0], 100 * found[row][1]) == pytest.approx(
            (theirs["exact_match"].item(), theirs["f1"].item()), abs=1e-4
        ), (one, wanted)
    assert 0.1 < sum(exact for exact, _ in found) / 300 < 0.6


def test_an_answer_to_what_has_none_is_wrong():
    """As in the script of SQuAD 2, where right answers of an article alone are none."""
    assert scores_of("", ()) == (1.0, 1.0)
    assert scores_of("cat", ()) == (0.0, 0.0)
    assert scores_of("", ("cat",)) == (0.0, 0.0)
    assert scores_of("cat", ("the", "a cat")) == (1.0, 1.0)
    assert scores_of("the", ("a",)) == (1.0, 1.0)
    assert (exact_match("The Cat!", "cat"), token_f1("black cat", "the cat cat")) == (1.0, pytest.approx(0.5))


# -- spans -------------------------------------------------------------------------------------------------------------


def batch_of(draw, windows, length):
    """Windows of two questions with contexts of other lengths, and logits."""
    torch.manual_seed(draw)
    sizes = torch.randint(6, length + 1, (windows,))
    sizes[0] = length
    places = torch.arange(length)
    mask = (places < sizes[:, None]).long()
    context = ((places >= 3) & (places < sizes[:, None] - 1)).long()
    question = torch.tensor([0] * (windows - 2) + [1] * 2)
    labels = torch.stack([torch.randint(0, 6, (windows,)) for _ in range(2)], 1).sort(1).values
    spans = torch.stack([places * 5, places * 5 + 4], -1).expand(windows, -1, -1)
    found = {"mask": mask, "context": context, "question": question, "labels": labels, "spans": spans}
    return torch.randn(windows, length, 2) * 2, found | {"rows": torch.tensor([0, 1]), "split": torch.zeros(windows)}


def by_hand(logits, batch, longest, may_be_none):
    """Every span of every window, one after another."""
    found = {}
    nothing = {}
    for window, question in enumerate(batch["question"].tolist()):
        own = [0, *batch["context"][window].nonzero().flatten().tolist()]
        shares = logits[window, own].double().softmax(0)
        none = float(shares[0].prod())
        nothing[question] = min(none, nothing.get(question, 1.0))
        for a, begin in enumerate(own[1:], 1):
            for b, end in enumerate(own[1:], 1):
                if 0 <= end - begin < longest:
                    score = float(shares[a, 0] * shares[b, 1])
                    found[question] = max(found.get(question, (0.0,)), (score, window, begin, end))
    return [
        (nothing[each], None, -1, -1) if may_be_none and nothing[each] > found[each][0] else found[each]
        for each in sorted(found)
    ]


@pytest.mark.parametrize("longest", [1, 3, 100])
@pytest.mark.parametrize("seed", range(12))
def test_the_likeliest_span_of_all_windows_is_found(seed, longest):
    logits, batch = batch_of(seed, 2 + seed % 4 + 1, 12)
    logits[:, 0] += seed % 3
    for may_be_none in (False, True):
        found = find_spans(logits, batch, longest, may_be_none=may_be_none)
        wanted = by_hand(logits, batch, longest, may_be_none)
        for row, (share, window, first, last) in enumerate(wanted):
            assert found.probability[row].item() == pytest.approx(share)
            assert (found.first[row], found.last[row]) == (first, last)
            assert window is None or found.window[row] == window


def test_no_answer_is_found_where_it_is_likelier_in_every_window():
    logits, batch = batch_of(0, 4, 12)
    logits[:, 0] += 50
    assert find_spans(logits, batch, 5, may_be_none=True).first.tolist() == [-1, -1]
    logits[1, 0] -= 100  # one window of the first question has an answer
    assert find_spans(logits, batch, 5, may_be_none=True).first.tolist()[0] > 0


def test_scores_and_losses_do_not_depend_on_the_batch():
    """Two questions in one batch, and each in one of its own without the other's padding."""
    logits, batch = batch_of(3, 5, 12)
    context = " ".join(f"w{number:03d}" for number in range(12))  # a word at every fifth character
    asked = [Question("1", "?", context, (("w004 w005", 20),)), Question("2", "?", context, ())]
    together = QaMetrics([asked], 3, may_be_none=True)
    items = together.update(logits, batch)
    scores = together.compute_and_reset()
    apart = QaMetrics([asked], 3, may_be_none=True)
    for row in (0, 1):
        mine = batch["question"] == row
        longest = int(batch["mask"][mine].sum(1).max())
        one = {name: batch[name][mine][:, :longest] for name in ("mask", "context", "spans")}
        one |= {"labels": batch["labels"][mine], "question": torch.zeros(int(mine.sum()), dtype=torch.long)}
        alone = apart.update(logits[mine][:, :longest], one | {"rows": torch.tensor([row]), "split": torch.zeros(1)})
        torch.testing.assert_close(alone[0], items[row])
    assert apart.compute_and_reset() == pytest.approx(scores)
    said = [context[max(0, int(row[4])) : max(0, int(row[5]))] for row in items]
    by_row = [scores_of(text, question.wanted) for text, question in zip(said, asked, strict=True)]
    assert scores["f1"] == sum(f1 for _, f1 in by_row) / 2
    assert scores["exact"] == pytest.approx(sum(exact for exact, _ in by_row) / 2)
    nats, tokens = items[:, 2] * items[:, 3], items[:, 3]
    assert scores["loss"] == pytest.approx(float(nats.sum() / tokens.sum()))


def test_windows_that_are_not_learned_from_cost_nothing():
    logits, batch = batch_of(1, 4, 12)
    whole, learned = span_nats(logits, batch)
    batch["labels"][1] = -100
    some, left = span_nats(logits, batch)
    assert learned.all()
    assert left.tolist() == [True, False, True, True]
    assert some.tolist() == [0.0 if row == 1 else pytest.approx(float(nats)) for row, nats in enumerate(whole)]
    row = 2
    length = int(batch["mask"][row].sum())
    both = [F.cross_entropy(logits[row, :length, side][None], batch["labels"][row, side][None]) for side in (0, 1)]
    assert whole[row] == pytest.approx(sum(map(float, both)) / 2)


# -- windows -----------------------------------------------------------------------------------------------------------

CONTEXT = "Ada Lovelace wrote the first program in 1843, for Babbage's engine. " * 4 + "😀 Zürich was far away."


def bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=70, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.train_from_iterator([CONTEXT], trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def bytes_of_text():
    """RoBERTa's: blanks stand in tokens, some characters are several of them, and two marks part the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=special)
    tokenizer.train_from_iterator([CONTEXT], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), trim_offsets=False)
    return tokenizer


ASKED = [
    Question("1", "Who wrote it?", CONTEXT, (("Ada Lovelace", 68 * 3),)),
    Question("2", "When was the first program written?", CONTEXT, (("1843", 40), ("1843", 108))),
    Question("3", "Where?", "In Zürich.", (("Zürich", 3),)),
    Question("4", "What face?", CONTEXT, (("😀", 272),)),
    Question("5", "Who flew?", CONTEXT, ()),
]


@pytest.fixture
def encode(tmp_path, own_cache):
    def go(make, asked=ASKED, **keys):
        make().save(str(tmp_path / "tokenizer.json"))
        more = {"max_length": 40, "stride": 12, "lost": "refuse", "where": "task=qa", "longest": 30} | keys
        return encode_questions(asked, Tokens(tmp_path / "tokenizer.json", 0), **more)

    return go


@pytest.mark.parametrize("make", [bert, bytes_of_text])
def test_windows_are_those_of_transformers(make, encode):
    """And each label is the first and the last of the tokens that its characters touch."""
    inputs = encode(make)
    batch = inputs.batch(range(len(ASKED)))
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(inputs.tokenizer))(
        [each.text for each in ASKED],
        [each.context for each in ASKED],
        truncation="only_second",
        max_length=40,
        stride=12,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    assert batch["question"].tolist() == theirs["overflow_to_sample_mapping"]
    for row, question in enumerate(theirs["overflow_to_sample_mapping"]):
        size = int(batch["mask"][row].sum())
        assert batch["ids"][row, :size].tolist() == theirs["input_ids"][row]
        assert batch["types"][row, :size].tolist() == theirs["token_type_ids"][row]
        own = [place for place, part in enumerate(theirs.sequence_ids(row)) if part == 1]
        offsets = {place: theirs["offset_mapping"][row][place] for place in own}
        said = {place: tuple(batch["spans"][row, place].tolist()) for place in own}
        for place, (begin, end) in offsets.items():
            text = ASKED[question].context[begin:end]
            assert said[place] == (begin + len(text) - len(text.lstrip()), end) or not text.strip()
        touched = wanted_label(ASKED[question], said)
        assert tuple(batch["labels"][row].tolist()) == touched
    assert {tuple(pair) for pair in batch["labels"][batch["question"] == 4].tolist()} == {(0, 0)}
    assert inputs.truncated() == {}
    assert all((batch["labels"][batch["question"] == row] > 0).any() for row in range(4))


def wanted_label(question, spans):
    spans = {place: span for place, span in spans.items() if span[0] < span[1]}
    for text, begin in question.answers:
        end = begin + len(text)
        if min(span[0] for span in spans.values()) <= begin and end <= max(span[1] for span in spans.values()):
            mine = [place for place, span in spans.items() if span[0] < end and span[1] > begin]
            return min(mine), max(mine)
    return 0, 0


def test_without_a_stride_contexts_are_cut_and_answers_beyond_are_refused(encode):
    with pytest.raises(
        ConfigError, match=r"task=qa: 3 answers are whole in no window of task\.max_length=40 \(rows 1, 2, 4\)"
    ):
        encode(bert, stride=None)
    inputs = encode(bert, stride=None, lost="leave_out")
    assert inputs.truncated() == {"context": 4, "answers that no window holds": 3}
    assert len(inputs) == len(inputs.batch(range(5))["labels"]) == 5
    labels = inputs.batch(range(5))["labels"]
    assert labels[:, 0].tolist()[0] == labels[:, 0].tolist()[3] == -100
    assert labels[4].tolist() == [0, 0]


def stripping():
    """BERT's uncased: accents and characters without a glyph are stripped before its tokens are found."""
    tokenizer = bert()
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    return tokenizer


@pytest.mark.parametrize(
    ("context", "answer", "said"),
    [
        ("Ada was born in Orle\u0301", "Orle\u0301", "Orle\u0301"),
        ("Ada in Orle\u0301 wrote", "Orle\u0301", "Orle\u0301"),
        ("Ada war हिंदु", "हिंदु", "हिंदु"),
        ("Ada in Orle\u200d\u0301\u0302, far", "Orle\u200d\u0301\u0302", "Orle\u200d\u0301\u0302"),
        ("Ada and Babbage\u200e", "Babbage\u200e", "Babbage"),
        ("Ada and Babbage\u200e wrote", "Babbage", "Babbage"),
        ("Ada and Babbage\n", "Babbage", "Babbage"),
    ],
)
def test_marks_that_a_tokenizer_strips_are_of_the_answer(encode, context, answer, said):
    asked = Question("1", "Who?", context, ((answer, context.index(answer)),))
    batch = encode(stripping, [asked]).batch([0])
    first, last = batch["labels"][0].tolist()
    assert first > 0
    assert context[batch["spans"][0, first, 0] : batch["spans"][0, last, 1]] == said


def test_an_answer_that_is_longer_than_what_windows_share_is_refused(encode):
    long = Question("7", "What?", CONTEXT, ((CONTEXT[:180], 0),))
    with pytest.raises(ConfigError, match=r"1 answers are whole in no window.* \(rows 7\); task\.max_length, or"):
        encode(bert, [long])


def test_a_question_that_leaves_no_room_is_refused(encode):
    long = Question("9", "Who wrote it? " * 12, CONTEXT, ())
    with pytest.raises(
        ConfigError, match=r"1 questions leave fewer than 2 tokens .* beside task\.stride=12 \(rows 9\)"
    ):
        encode(bert, [long, *ASKED])


def again(inputs, asked, **keys):
    """Questions with the tokenizer of others: one that is trained anew may have other pieces."""
    more = {"max_length": 40, "stride": 12, "lost": "refuse", "where": "task=qa", "longest": 30} | keys
    return encode_questions(asked, Tokens(inputs.tokenizer, 0), **more)


def test_a_context_that_fits_into_one_window_needs_no_room_to_move_on(encode):
    """Beside its question a stride of 12 would not move on, and there is nothing to move on to."""
    short = Question("9", "Who wrote it? " * 5, "Ada wrote.", (("Ada", 0),))
    alone = encode(bert, [short], max_length=120)
    size = int(alone.lengths[0])
    inputs = again(alone, [short], max_length=size)
    assert inputs.firsts.tolist() == [0, 1]
    assert inputs.batch([0])["ids"].tolist() == alone.batch([0])["ids"].tolist()
    with pytest.raises(ConfigError, match=r"1 questions leave fewer than 2 tokens .* beside task\.stride=12"):
        again(alone, [short], max_length=size - 1)


def test_questions_whose_answers_are_longer_than_any_that_is_given_are_counted(encode):
    """Of several answers the shortest tells; a question without an answer is none."""
    asked = [*ASKED, replace(ASKED[0], name="6", answers=(("Ada Lovelace wrote", 0), ("Ada", 0)))]
    inputs = encode(bert, asked)
    batch = inputs.batch(range(6))
    sizes = {
        row: min(last - first + 1 for first, last in batch["labels"][batch["question"] == row].tolist() if first)
        for row in range(4)
    }
    few = sum(size > 2 for size in sizes.values())
    assert few > 0
    assert again(inputs, asked, longest=2).truncated() == {"answers longer than task.max_answer": few}
    assert again(inputs, asked, longest=max(sizes.values())).truncated() == {}


def test_evaluations_are_parted_by_windows_and_training_by_questions(encode):
    inputs = encode(bert)
    counts = (inputs.firsts[1:] - inputs.firsts[:-1]).tolist()
    parts = list(inputs.batches(4, 0, shuffle=False, process_index=0, world=1, rows=None))
    assert sorted(row for part in parts for row in part) == list(range(5))
    assert all(len(part) == 1 or sum(counts[row] for row in part) <= 4 for part in parts)
    assert max(sum(counts[row] for row in part) for part in parts) == max(counts) > 4
    drawn = inputs.batches(4, 0, shuffle=True, process_index=0, world=1, rows=None)
    assert sorted(map(len, drawn)) == [1, 4]
    assert "[[Ad|##a|Lo|##v|##e|##l|##a|##c|##e]]" in "".join(inputs.shown())
    inputs.labels[:, 1] = inputs.labels[:, 0]
    assert "[[Ad]]" in "".join(inputs.shown())


# -- files -------------------------------------------------------------------------------------------------------------


def row(number):
    """A question, its context, of which there are 20, and right answers; of every sixth question none."""
    context = f"In town {number % 20} lives a cat called Tom{number % 20}, and a dog called Rex{number % 20}."
    name = ("Tom", "Rex")[number // 20 % 2] + str(number % 20)
    question = f"What is the {('cat', 'dog')[number // 20 % 2]} of town {number % 20} called, try {number}?"
    return question, context, [] if number % 6 == 0 else [(name, context.index(name))]


ROWS = [row(number) for number in range(60)]


def flat(rows):
    for number, (question, context, answers) in enumerate(rows):
        texts, starts = [text for text, _ in answers], [start for _, start in answers]
        yield {"id": f"q{number}", "question": question, "context": context} | {
            "answers": {"text": texts, "answer_start": starts}
        }


def jsonl(rows, folder):
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, flat(rows))) + "\n")
    return folder / "rows.jsonl"


def parquet(rows, folder):
    pd.DataFrame(list(flat(rows))).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def csv(rows, folder):
    pd.DataFrame([line | {"answers": json.dumps(line["answers"])} for line in flat(rows)]).to_csv(folder / "rows.csv")
    return folder / "rows.csv"


def objects(rows, folder):
    lines = [
        line | {"answers": [{"text": text, "answer_start": start} for text, start in answers]}
        for line, (_, _, answers) in zip(flat(rows), rows, strict=True)
    ]
    (folder / "rows.json").write_text(json.dumps(lines))
    return folder / "rows.json"


def nested(rows, folder):
    """SQuAD 2's own, an article a town."""
    articles = {}
    for line, (question, context, answers) in zip(flat(rows), rows, strict=True):
        asked = {"id": line["id"], "question": question, "is_impossible": not answers}
        asked["answers"] = [{"text": text, "answer_start": start} for text, start in answers]
        articles.setdefault(context, []).append(asked)
    data = [
        {"title": context[:10], "paragraphs": [{"context": context, "qas": qas}]} for context, qas in articles.items()
    ]
    (folder / "squad.json").write_text(json.dumps({"version": "v2.0", "data": data}))
    return folder / "squad.json"


FORMS = {"jsonl": jsonl, "parquet": parquet, "csv": csv, "objects": objects, "nested": nested}


@pytest.fixture
def read(compose_plain):
    base = compose_plain("task=extractive_qa", "trainer.objective=f1").task
    return lambda path, **keys: read_task(replace(base, data=path and str(path), **keys))


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_the_same_questions(form, read, tmp_path):
    task = read(FORMS[form](ROWS, tmp_path))
    kept = {each.text: each for split in task.splits.values() for each in split}
    assert {text: (each.context, list(each.answers)) for text, each in kept.items()} == {
        question: (context, answers) for question, context, answers in ROWS
    }
    contexts = [{each.context for each in split} for split in task.splits.values()]
    assert [len(found) for found in contexts] == [16, 2, 2]
    assert len(set.union(*contexts)) == 20
    assert task.describe()["unanswerable"]["train"] == sum(not each.answers for each in task.splits["train"]) > 0
    assert task.may_be_none
    if form == "nested":
        assert {each.name for each in task.splits["test"]} <= {f"q{number}" for number in range(60)}


def test_columns_of_a_text_and_its_start(read, tmp_path):
    lines = [
        {"question": question, "context": context, "answer": answers[0][0], "answer_start": float(answers[0][1])}
        for question, context, answers in ROWS
        if answers
    ]
    pd.DataFrame(lines).to_csv(tmp_path / "rows.csv")
    task = read(tmp_path / "rows.csv")
    assert sum(map(len, task.splits.values())) == 50
    assert not task.may_be_none
    searched = [{name: cell for name, cell in line.items() if name != "answer_start"} for line in lines]
    pd.DataFrame(searched).to_csv(tmp_path / "searched.csv")
    assert read(tmp_path / "searched.csv").sha256 == task.sha256


MARKS = {
    "jsonl": lambda row, mark: row | {"is_impossible": mark},
    "answerable": lambda row, mark: row | {"answerable": "no" if mark else "yes"},
    "nested": lambda row, mark: {
        "title": row["context"][:10],
        "paragraphs": [
            {
                "context": row["context"],
                "qas": [
                    {
                        "id": row["id"],
                        "question": row["question"],
                        "is_impossible": mark,
                        "answers": [
                            {"text": text, "answer_start": start}
                            for text, start in zip(*row["answers"].values(), strict=True)
                        ],
                    }
                ],
            }
        ],
    },
}


@pytest.mark.parametrize("form", MARKS)
def test_a_mark_and_answers_that_say_otherwise_are_refused_until_one_counts(form, read, tmp_path):
    """Row 5 has an answer and the mark that there is none, the first without an answer has the mark that there is."""
    empty = next(place for place, (_, _, answers) in enumerate(ROWS) if not answers)
    rows = [
        MARKS[form](row, place == 4 or (not row["answers"]["text"] and place != empty))
        for place, row in enumerate(flat(ROWS))
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"version": "v2.0", "data": rows} if form == "nested" else rows))
    names = ("q4", f"q{empty}") if form == "nested" else (5, empty + 1)
    column = "answerable" if form == "answerable" else "is_impossible"
    said = rf"{column}: 1 rows have an answer, and .* \(rows {names[0]}\); 1 rows have none, .* \(rows {names[1]}\); "
    with pytest.raises(ConfigError, match=f"{said}task.impossible=marked"):
        read(path, impossible="refuse")
    left = read(path, impossible="leave_out").findings().left_out
    assert left == {"marked otherwise than answered": [f"train {name}" for name in (names[1], names[0])]}
    wanted = {text: dict(answers) for text, _, answers in ROWS}
    for policy, odd in {"answers": {}, "marked": {ROWS[4][0]: {}, ROWS[empty][0]: None}}.items():
        if policy == "marked":
            with pytest.raises(ConfigError, match=rf"1 rows have gaps \(no answer in rows {names[1]}\)"):
                read(path, impossible=policy)
        task = read(path, impossible=policy, gaps="leave_out")
        found = {each.text: dict(each.answers) for split in task.splits.values() for each in split}
        assert found == {text: answers for text, answers in (wanted | odd).items() if answers is not None}


def test_a_mark_that_is_neither_yes_nor_no_is_named(read, tmp_path):
    rows = [row | {"is_impossible": "perhaps" if place == 3 else False} for place, row in enumerate(flat(ROWS))]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(ConfigError, match=r"row 4: is_impossible is 'perhaps', neither true nor false"):
        read(tmp_path / "rows.json")


def changed(number, **cells):
    question, context, answers = ROWS[number]
    new = {"question": question, "context": context, "answers": answers} | cells
    return [*ROWS[:number], tuple(new.values()), *ROWS[number + 1 :]]


START = ROWS[4][2][0][1]
REFUSED = {
    "misplaced": (
        changed(4, answers=[("Tom4", START + 1)]),
        {},
        rf"1 rows have answers .*row 5: 'Tom4' does not start at {START + 1}, where there is 'om4,'; it stands at "
        rf"{START}\); task\.starts=nearest",
    ),
    "nowhere": (
        changed(4, answers=[("tom4", START)]),
        {},
        r"row 5: 'tom4' does not .*; it stands nowhere in its context",
    ),
    "beyond": (
        changed(4, answers=[("Tom4", 999)]),
        {},
        rf"row 5: 'Tom4' starts at 999, its context has \d+ characters; it stands at {START}",
    ),
    "negative": (changed(4, answers=[("Tom4", -1)]), {}, "row 5: 'Tom4' starts at -1, its context has"),
    "several": (changed(4, answers=[("called", None)]), {}, "row 5: 'called' has no start and stands 2 times"),
    "gap": (changed(4, question=None), {}, r"1 rows have gaps \(no question in rows 5\); task\.gaps=leave_out"),
    "nan": (changed(4, context=float("nan")), {}, r"no context in rows 5"),
    "blank": (changed(4, answers=[("", 3)]), {}, r"no answer in rows 5\); .*task\.unanswerable=empty takes"),
    "list": (changed(4, context=["a"]), {}, r"1 rows cannot be read \(row 5: its text: .* \(list\) is no text"),
    "number": (changed(4, answers=[("Tom4", "x")]), {}, "row 5: the start 'x' is no number of a character"),
    "no text": (changed(4, answers=[(True, 3)]), {}, r"row 5: the answer is 'True' \(bool\), no text"),
    "contradicting": (
        [*ROWS, (ROWS[4][0], ROWS[4][1], [("Rex4", ROWS[4][1].index("Rex4"))])],
        {},
        r"the same question about the same context with different labels, 1 times \(rows train 5 and train 61\)",
    ),
    "column": (ROWS, {"context": "passage"}, r"task\.context=passage: .* has no such column"),
    "group": (ROWS, {"group": "titel"}, r"task\.group=titel: .* has no such column"),
    "named id": (ROWS, {"id": "uid"}, r"task\.id=uid: .* has no such column"),
    "none": (
        [(question, context, []) for question, context, _ in ROWS],
        {},
        "no question of the training split has an",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_ambiguous_is_refused_in_one_line(case, read, tmp_path):
    rows, keys, said = REFUSED[case]
    with pytest.raises(ConfigError, match=said) as error:
        read(jsonl(rows, tmp_path), **keys)
    assert len(error.value.args) == 1
    assert "\n" not in str(error.value)


def test_an_answer_that_says_that_there_is_none_is_told(read, tmp_path):
    lines = list(flat(ROWS))
    for line in lines[2:4]:
        line["context"] += " ANSWERNOTFOUND"
        line["answers"] = {"text": ["ANSWERNOTFOUND"], "answer_start": [len(line["context"]) - 14]}
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (line,) = [line for line in read(tmp_path / "rows.jsonl").findings().suspicious if "ANSWERNOTFOUND" in line]
    assert line.startswith("'ANSWERNOTFOUND' is taught as the answer of 2 rows (")
    assert line.endswith(
        "; where it means that there is none, empty these cells, which task.unanswerable=empty reads so"
    )


def test_ids_that_stand_twice_are_refused(read, tmp_path):
    lines = [line | ({"id": "q3"} if number == 7 else {}) for number, line in enumerate(flat(ROWS))]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ConfigError, match=r"1 ids stand in several rows \(q3 in rows train 4 and train 8\); task\.dup"):
        read(tmp_path / "rows.jsonl")
    assert read(tmp_path / "rows.jsonl", duplicates="first").findings().left_out == {"repeated ids": ["train 8"]}
    assert not read(tmp_path / "rows.jsonl", id=None).findings().left_out


SETTLED = {
    "nearest": (changed(4, answers=[("Tom4", START + 9)]), {"starts": "nearest"}, {}, 60),
    "nowhere": (
        changed(4, answers=[("tom4", 0)]),
        {"starts": "nearest"},
        {"answers that are not where they should be": ["train 5"]},
        59,
    ),
    "left out": (
        changed(4, answers=[("Tom4", 0)]),
        {"starts": "leave_out"},
        {"answers that are not where they should be": ["train 5"]},
        59,
    ),
    "gaps": (changed(4, question=""), {"gaps": "leave_out"}, {"gaps": ["train 5"]}, 59),
    "empty": (changed(4, answers=[("", 3)]), {"unanswerable": "empty"}, {}, 60),
    "first": (
        [*ROWS, (ROWS[4][0], ROWS[4][1], [("Rex4", ROWS[4][1].index("Rex4"))])],
        {"duplicates": "first"},
        {"contradicting": ["train 61"]},
        60,
    ),
    "all": (
        [*ROWS, (ROWS[4][0], ROWS[4][1], [("Rex4", ROWS[4][1].index("Rex4"))]), ROWS[4]],
        {"duplicates": "keep"},
        {"repeated": ["train 62"]},
        61,
    ),
    "repeated": ([*ROWS, ROWS[4]], {}, {"repeated": ["train 61"]}, 60),
}


@pytest.mark.parametrize("case", SETTLED)
def test_a_key_settles_it(case, read, tmp_path):
    rows, keys, left, count = SETTLED[case]
    task = read(jsonl(rows, tmp_path), **keys)
    assert dict(task.findings().left_out) == left
    kept = {each.name: each for split in task.splits.values() for each in split}
    assert len(kept) == count
    if case == "nearest":
        assert kept["5"].answers == (("Tom4", START),)
        assert task.findings().suspicious == ["train: 1 answers are taken where they stand nearest (rows 5)"]
    if case == "empty":
        assert kept["5"].answers == ()


def test_blanks_around_an_answer_are_none_of_it(read, tmp_path):
    task = read(jsonl(changed(4, answers=[(" Tom4", START - 1)]), tmp_path))
    (found,) = (each for split in task.splits.values() for each in split if each.name == "5")
    assert found.answers == (("Tom4", START),)


@pytest.mark.parametrize("within", [0, 5, 60])
def test_answers_that_begin_inside_a_word_are_told_where_many_do(within, read, tmp_path):
    rows = [(asked, context, [(text[2 * (at < within) :], start + 2 * (at < within)) for text, start in answers])
            for at, (asked, context, answers) in enumerate(ROWS)]  # fmt: skip
    told = [line for line in read(jsonl(rows, tmp_path)).findings().suspicious if "inside a word" in line]
    assert [line.partition(" begin")[0] for line in told] == (["50 of 50 answers"] if within == 60 else [])


def test_held_out_files_that_share_questions_are_refused_and_shared_contexts_are_told(read, tmp_path):
    path = jsonl(ROWS, tmp_path)
    (tmp_path / "more").mkdir()
    same = [(question.upper(), context, answers) for question, context, answers in ROWS[:30]]
    other = jsonl(same, tmp_path / "more")
    with pytest.raises(ConfigError, match=r"of 30 test questions stand in train too .*task\.leaks=allow"):
        read(path, test=str(other), id=None)
    new = [(f"Is it true? {question}", context, answers) for question, context, answers in ROWS[:30]]
    task = read(path, test=str(jsonl(new, tmp_path / "more")), id=None)
    assert any("contexts of test are asked about in train, too" in said for said in task.findings().suspicious)
    told = "\n".join(summary(task, None))
    assert "to be looked at: " in told
    assert "questions without an answer" in told


def test_groups_are_kept_whole_beside_a_file_that_has_none(read, tmp_path):
    lines = [line | {"title": f"t{number % 20 // 2}"} for number, line in enumerate(flat(ROWS))]
    held = [line | {"id": f"h{line['id']}", "question": f"And {line['question']}"} for line in flat(ROWS)]
    for name, found in (("train", lines), ("held", held)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, found)))
    task = read(tmp_path / "train.jsonl", group="title", test=str(tmp_path / "held.jsonl"), leaks="allow")
    titles = {line["question"]: line["title"] for line in lines}
    train, validation = ({titles[each.text] for each in task.splits[name]} for name in ("train", "validation"))
    assert (len(train), len(validation), train & validation) == (9, 1, set())
    assert len(task.splits["test"]) == 60


EMPTY = {"lists": {"text": [], "answer_start": []}, "cells": None}


def held_out(empty):
    """A split of other questions, whose answers are withheld."""
    return [
        line | {"id": f"h{line['id']}", "question": f"And {line['question']}", "answers": empty} for line in flat(ROWS)
    ]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("empty", EMPTY)
def test_a_held_out_file_whose_answers_are_withheld_is_refused(empty, split, read, tmp_path):
    path = tmp_path / "held.jsonl"
    path.write_text("\n".join(map(json.dumps, held_out(EMPTY[empty]))))
    said = (
        rf"^task\.{split}=\S+held\.jsonl: none of 60 questions has an answer, .*; task\.{split}=null has the split cut"
    )
    with pytest.raises(ConfigError, match=said):
        read(jsonl(ROWS, tmp_path), **{split: str(path)})


@pytest.mark.parametrize("empty", EMPTY)
def test_a_split_of_a_data_set_whose_answers_are_withheld_is_cut_from_training(empty, read, tmp_path):
    pd.DataFrame(list(flat(ROWS))).to_parquet(tmp_path / "train.parquet")
    pd.DataFrame(held_out(EMPTY[empty])).to_parquet(tmp_path / "test.parquet")
    task = read(None, dataset=str(tmp_path))
    assert "the answers of test are withheld; it was cut from training" in task.findings().suspicious
    assert any(each.answers for each in task.splits["test"])
    assert sum(map(len, task.splits.values())) == 60


def test_what_always_giving_the_usual_answer_scores(read, tmp_path):
    task = read(jsonl(ROWS, tmp_path))
    usual = task.describe()["usual_span"]
    assert usual["answer"] == ""
    assert usual["test"] == pytest.approx(
        sum(not each.answers for each in task.splits["test"]) / len(task.splits["test"])
    )
    assert "always giving no answer has an F1 of" in "\n".join(summary(task, None))


def test_configurations_at_odds_are_refused(compose_plain, tmp_path):
    words = ["task=extractive_qa", f"task.data={tmp_path}/rows.jsonl", "task.max_length=256"]
    compose_plain(*words, "trainer.objective=exact")
    with pytest.raises(ConfigError, match=r"trainer\.objective=accuracy: task=extractive_qa has none; .*=f1"):
        compose_plain(*words)
    with pytest.raises(ConfigError, match=r"task\.stride=300 task\.max_length=256: windows of fewer tokens"):
        compose_plain(*words, "trainer.objective=f1", "task.stride=300")
    more = ["trainer.objective=f1", "model=hf", f"model.address=path:{tmp_path}"]
    with pytest.raises(ConfigError, match=r"model\.pooling=mean: task=extractive_qa answers with two of its tokens"):
        compose_plain(*words, *more, "model.pooling=mean")
    with pytest.raises(ConfigError, match=r"files, or a data set with its own splits"):
        compose_plain(*words, "trainer.objective=f1", "task.dataset=squad")
    with pytest.raises(ConfigError, match="answers with spans of texts, and a measure is of classes or numbers"):
        compose_plain(*words, "trainer.objective=mine:Score")
