"""Scores of answers against SQuAD's, spans against all spans, windows against those of transformers."""

import random
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn import functional as F
from torchmetrics.functional.text import squad
from transformers import PreTrainedTokenizerFast

from harness.config import ConfigError, Tokens
from harness.task.answer_spans import find_spans, span_nats
from harness.task.qa_inputs import Question, encode_questions
from harness.task.qa_metrics import QaMetrics
from harness.task.squad import exact_match, scores_of, token_f1

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
