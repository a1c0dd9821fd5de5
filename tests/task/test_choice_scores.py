"""Options scored by what a language model gives each, against float64."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from harness.config import ConfigError, Tokens
from harness.model.generator import Generator
from harness.task import Inputs
from harness.task.choice_inputs import ChoiceSplit, encode_choices
from harness.task.choice_metrics import ChoiceMetrics
from harness.task.continual import OneOfTasks
from harness.task.mixture import MixtureInputs
from harness.task.seq2seq_inputs import Seq2seqSplit, SpecialTokens, encode_seq2seq
from harness.training.accumulation import in_parts, in_parts_of
from harness.training.module import mean_loss
from harness.trial.features import FeatureInputs
from tests.model.small import random_network
from tests.task.chat_fixtures import theirs, write_tokenizer

CHOICES = ChoiceSplit(
    questions=("What is two plus two?", "Name a colour. ", "user", "Be brief, naïvely 🙂"),
    options=(
        ("Four", "a colour", "two plus two"),
        ("Blue.", "Red or green"),
        ("x", "y", "z", "user user"),
        ("🙂", "e"),
    ),
    answers=(0, 1, 3, 0),
    names=tuple(f"test {n}" for n in range(1, 5)),
)


def batches(inputs, size):
    rows = list(range(len(inputs.answers)))
    return [inputs.batch(rows[start : start + size]) for start in range(0, len(rows), size)]


def measured(network, inputs, size):
    """The scores, and a row for each question, as a trial has them."""
    metrics = ChoiceMetrics(max(map(len, CHOICES.options)))
    with torch.no_grad():
        rows = torch.cat([metrics.update(network(batch), batch) for batch in batches(inputs, size)])
    return metrics.compute_and_reset(), rows


def causal_sums(model, folder, question, option):
    """One option alone, in float64, as lm-evaluation-harness encodes it: blanks move from context to continuation."""
    tokenizer = theirs(folder)
    blanks = len(question) - len(question.rstrip())
    context, rest = (question[:-blanks], question[-blanks:] + " " + option) if blanks else (question, " " + option)
    whole, front = (tokenizer.encode(text, add_special_tokens=False) for text in (context + rest, context))
    assert whole[: len(front)] == front
    ids = torch.tensor([[1, *whole]])
    with torch.no_grad():
        shares = model(input_ids=ids).logits.log_softmax(-1)
    own = range(1 + len(front), ids.shape[1])
    return sum(float(shares[0, place - 1, ids[0, place]]) for place in own), len(own)


@pytest.fixture(params=["causal", "encoder and decoder"])
def bases(request, tmp_path, own_cache):
    """A random network in float32, the same in float64, its tokens, and the log-probability of one option."""
    write_tokenizer(tmp_path)
    size = len(theirs(tmp_path))
    marks = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    causal = request.param == "causal"
    kind, family = (AutoModelForCausalLM, "llama") if causal else (AutoModelForSeq2SeqLM, "t5")
    network = random_network(kind, family, vocab_size=size, **marks).eval()
    start = None if causal else 0
    tokens = Tokens(tmp_path / "tokenizer.json", pad=0, end=2, decoder_start=start, begin=1 if causal else None)
    return network, tokens, tmp_path, causal


@pytest.mark.parametrize("normalise_by", ["characters", "tokens"])
def test_accuracy_and_probabilities_are_those_of_transformers_in_float64(normalise_by, bases):
    base, tokens, folder, causal = bases
    inputs = encode_choices(CHOICES, tokens, delimiter=" ", normalise_by=normalise_by, max_length=60)
    found = {size: measured(Generator(base, {}, 1).eval(), inputs, size) for size in (1, 3, 16)}
    exact = base.double()
    sums, sizes, counts = [], [], []
    for question, options in zip(CHOICES.questions, CHOICES.options, strict=True):
        each = [(causal_sums if causal else alone)(exact, folder, question, option) for option in options]
        sums.append(np.array([value for value, _ in each]))
        counts.append([count for _, count in each])
        sizes.append(np.array(counts[-1] if normalise_by == "tokens" else [len(option) for option in options]))
    answers = CHOICES.answers
    accuracy = np.mean([row.argmax() == answer for row, answer in zip(sums, answers, strict=True)])
    normed = np.mean([(row / size).argmax() == answer for row, size, answer in zip(sums, sizes, answers, strict=True)])
    nats = -sum(row[answer] for row, answer in zip(sums, answers, strict=True))
    tokens_of_right = sum(count[answer] for count, answer in zip(counts, answers, strict=True))
    for scores, rows in found.values():
        assert scores == pytest.approx(
            {"accuracy": accuracy, "accuracy_norm": normed, "loss": nats / tokens_of_right}, rel=1e-5
        )
        for row, values in zip(rows.tolist(), sums, strict=True):
            shares = np.exp(values - values.max())
            assert row[5 : 5 + len(values)] == pytest.approx(shares / shares.sum(), abs=1e-5)
            assert sum(row[5 + len(values) :]) == 0
            assert row[1] == values.argmax() + 1


def alone(model, folder, question, option):
    """One option alone of an encoder and a decoder: no token begins or ends it."""
    tokenizer = theirs(folder)
    read, written = (tokenizer.encode(text, add_special_tokens=False) for text in (question, option))
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([[*read, 2]]), decoder_input_ids=torch.tensor([[0, *written[:-1]]])
        ).logits.log_softmax(-1)
    return float(logits[0].gather(1, torch.tensor([written]).T).sum()), len(written)


def test_training_is_on_the_right_options_alone(bases):
    base, tokens, _, _ = bases
    inputs = encode_choices(CHOICES, tokens, delimiter=" ", normalise_by="characters", max_length=60)
    batch = inputs.training_batch([2, 0])
    assert len(batch["labels"]) == 2
    assert batch["rows"].tolist() == [2, 0]
    for row, labels in zip((2, 0), batch["labels"], strict=True):
        written = inputs.pairs.tokenizer.decode(labels[labels != -100].tolist())
        assert written.strip() == CHOICES.options[row][CHOICES.answers[row]]
    network = Generator(base, {}, 1).eval()
    with torch.no_grad():
        losses = [mean_loss(network, inputs.training_batch([row])) for row in range(4)]
    counts = [int((inputs.training_batch([row])["labels"] != -100).sum()) for row in range(4)]
    mean = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
    assert measured(network, inputs, 4)[0]["loss"] == pytest.approx(float(mean), rel=1e-5)
    assert [len(part["labels"]) for part in in_parts(inputs, 2, range(4))["parts"]] == [2, 2]


def test_a_begin_token_is_read_and_not_scored_by_a_decoder_beside_an_encoder(tmp_path, own_cache):
    write_tokenizer(tmp_path)
    tokens = Tokens(tmp_path / "tokenizer.json", pad=0, end=2, decoder_start=2, begin=1)
    inputs = encode_choices(CHOICES, tokens, delimiter=" ", normalise_by="tokens", max_length=60)
    right = [options[answer] for options, answer in zip(CHOICES.options, CHOICES.answers, strict=True)]
    written = encode_seq2seq(
        Seq2seqSplit(CHOICES.questions, tuple(right)),
        tmp_path / "tokenizer.json",
        SpecialTokens(0, 2, 2, 1),
        separator="",
        max_source=60,
        max_target=60,
    )
    for row in range(len(right)):
        batch, other = inputs.training_batch([row]), written.batch([row])
        assert batch["ids"].tolist() == other["ids"].tolist()
        assert batch["decoder_ids"].tolist() == other["decoder_ids"][:, :-1].tolist()  # no token ends an option
        assert batch["labels"].tolist() == [[-100, *other["labels"][0, 1:-1].tolist()]]
        pair = int(inputs.starts[row] + CHOICES.answers[row])
        assert inputs.sizes[pair] == (batch["labels"] != -100).sum()
    whole = inputs.batch(range(4))
    assert set(whole["decoder_ids"][:, 1].tolist()) == {1}
    assert set(whole["labels"][:, 0].tolist()) == {-100}
    assert whole["decoder_ids"].shape == whole["labels"].shape


def featured(inputs):
    return FeatureInputs(inputs, np.arange(len(inputs)), torch.zeros(len(inputs), 3))


@pytest.mark.parametrize(
    "wrapper", [lambda part: OneOfTasks(part, 0), lambda part: MixtureInputs([part], "round_robin"), featured]
)
def test_what_a_task_trains_on_is_what_a_task_among_others_trains_on(wrapper):
    class Guest(Inputs):
        lengths = np.array([9, 9])
        training_lengths = np.array([2, 3])

        def batch(self, rows):
            raise AssertionError("evaluation rows in training")

        def training_batch(self, rows):
            return {"ids": torch.tensor(rows), "rows": torch.tensor(rows)}

    inputs = wrapper(Guest())
    assert inputs.training_batch([1, 0])["ids"].tolist() == [1, 0]
    assert inputs.training_lengths.tolist() == [2, 3]


def test_a_budget_of_tokens_is_of_what_is_trained(tmp_path, own_cache):
    write_tokenizer(tmp_path)
    tokens = Tokens(tmp_path / "tokenizer.json", pad=0, end=2, begin=1)
    inputs = encode_choices(CHOICES, tokens, delimiter=" ", normalise_by="tokens", max_length=60)
    right = [
        len(inputs.training_batch([row])["ids"][0]) + 1  # the last token is not read
        for row in range(4)
    ]
    assert inputs.training_lengths.tolist() == right
    assert "parts" not in in_parts_of(inputs, 4 * max(right), range(4))
    assert len(in_parts_of(inputs, 4 * max(right) - 1, range(4))["parts"]) == 2


def test_a_long_question_is_cut_once_for_all_its_options(tmp_path, own_cache):
    write_tokenizer(tmp_path)
    tokens = Tokens(tmp_path / "tokenizer.json", pad=0, end=2, begin=1)
    split = ChoiceSplit(
        ("one two three four five six", "one"),
        (("a", "a b c d e f"), ("a b c d e f",) * 3),
        (0, 0),
        ("test 1", "test 2"),
    )
    keys = {"delimiter": " ", "normalise_by": "tokens"}
    whole = encode_choices(split, tokens, **keys, max_length=100)
    assert whole.pairs.lengths[0] < whole.pairs.lengths[1]
    short = encode_choices(split, tokens, **keys, max_length=int(whole.pairs.lengths[1]) - 3)
    first, second = (short.pairs.sources.row(option).tolist() for option in range(2))
    assert first == second == [1, *whole.pairs.sources.row(0)[4:].tolist()]
    assert short.truncated() == {"question": 1}
    most = int(whole.pairs.targets.lengths[1])
    with pytest.raises(ConfigError, match=r"leave no room .* \(rows test 1, test 2\)$"):
        encode_choices(split, tokens, **keys, max_length=most)


def test_long_questions_lose_their_first_tokens(tmp_path, own_cache):
    write_tokenizer(tmp_path)
    tokens = Tokens(tmp_path / "tokenizer.json", pad=0, end=2, begin=1)
    whole = encode_choices(CHOICES, tokens, delimiter=" ", normalise_by="tokens", max_length=100)
    most = int(whole.pairs.lengths.max()) - 2
    short = encode_choices(CHOICES, tokens, delimiter=" ", normalise_by="tokens", max_length=most)
    assert whole.truncated() == {"question": 0}
    assert short.truncated()["question"] > 0
    for row in range(len(whole.pairs.sources.lengths)):
        source, target = short.pairs.sources.row(row), short.pairs.targets.row(row)
        assert target.tolist() == whole.pairs.targets.row(row).tolist()
        assert len(source) + len(target) <= most
        assert source[0] == 1
        assert source[1:].tolist() == whole.pairs.sources.row(row)[-len(source) + 1 :].tolist()
    with pytest.raises(ConfigError, match=r"leave no room for a question, task.max_length=4 \(rows test"):
        encode_choices(CHOICES, tokens, delimiter=" ", normalise_by="tokens", max_length=4)
