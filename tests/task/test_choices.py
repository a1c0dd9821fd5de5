"""Multiple choice: every form of data read alike, what is ambiguous refused, likelihoods as transformers has them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from harness.config import ConfigError, Tokens
from harness.model.generator import Generator
from harness.task import Inputs
from harness.task.build import read_task
from harness.task.choice_inputs import ChoiceSplit, encode_choices
from harness.task.choice_metrics import ChoiceMetrics
from harness.task.continual import OneOfTasks
from harness.task.mixture import MixtureInputs
from harness.task.seq2seq_inputs import Seq2seqSplit, SpecialTokens, encode_seq2seq
from harness.task.summary import summary
from harness.training.accumulation import in_parts, in_parts_of
from harness.training.module import mean_loss
from harness.trial.features import FeatureInputs
from tests.model.small import random_network
from tests.task.chat_fixtures import theirs, write_tokenizer

LETTERS = "ABCDE"
ROWS = [
    {
        "question": f"What comes after {n}?",
        "options": [f"{n + k}" for k in range(-1, 3 + n % 2)],
        "answer": 2 if n % 3 else 0,
    }
    for n in range(10, 70)
]


def arc(rows):
    return [
        {
            "question": row["question"],
            "choices": {"label": list(LETTERS[: len(row["options"])]), "text": row["options"]},
            "answerKey": LETTERS[row["answer"]],
        }
        for row in rows
    ]


def write_arc(folder, rows):
    pd.DataFrame(arc(rows)).to_parquet(folder / "mine.parquet")
    return [f"task.data={folder}/mine.parquet"]


def write_in_brackets(folder, rows):
    """Letters as people write them."""
    forms = ("({})", "{})", "{}.", "[{}]", "{}")
    letters = [LETTERS[row["answer"]] if n % 2 else LETTERS[row["answer"]].lower() for n, row in enumerate(rows)]
    found = [row | {"answer": forms[n % 5].format(letters[n])} for n, row in enumerate(rows)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return [f"task.data={folder}/mine.jsonl", "task.options=options", "task.label=answer"]


def write_by_label(folder, rows):
    """Options by their letters."""
    found = [
        row | {"options": dict(zip(LETTERS, row["options"], strict=False)), "answer": f"({LETTERS[row['answer']]})"}
        for row in rows
    ]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return [f"task.data={folder}/mine.jsonl", "task.options=options", "task.label=answer"]


def write_numbered_arc(folder, rows):
    """ARC has some rows whose labels are numbers."""
    found = arc(rows)
    for row in found[::2]:
        row["answerKey"] = str(1 + LETTERS.index(row["answerKey"]))
        row["choices"]["label"] = [str(1 + LETTERS.index(name)) for name in row["choices"]["label"]]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return [f"task.data={folder}/mine.jsonl"]


def write_pairs(folder, rows):
    """As CommonsenseQA's own files."""
    found = arc(rows)
    for row in found:
        row["choices"] = [{"label": a, "text": b} for a, b in zip(*row["choices"].values(), strict=True)]
    (folder / "mine.json").write_text(json.dumps(found))
    return [f"task.data={folder}/mine.json"]


def write_nested(folder, rows):
    """As the first releases of ARC, OpenBookQA and CommonsenseQA: the options are in the question."""
    found = arc(rows)
    for row in found:
        pairs = [{"text": b, "label": a} for a, b in zip(*row.pop("choices").values(), strict=True)]
        row["question"] = {"stem": row["question"], "choices": pairs}
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    nested = ['task.question="{question[stem]}"', 'task.options="{question[choices]}"']
    return [f"task.data={folder}/mine.jsonl", *nested]


def write_hellaswag(folder, rows):
    pd.DataFrame(
        {
            "ctx": [row["question"] for row in rows],
            "endings": [json.dumps(row["options"]) for row in rows],
            "label": [row["answer"] for row in rows],
        }
    ).to_csv(folder / "mine.csv", index=False)
    return [f"task.data={folder}/mine.csv", "task.question=ctx", "task.options=endings", "task.label=label"]


def write_texts(folder, rows):
    found = [{"q": r["question"], "choices": r["options"], "answer": r["options"][r["answer"]]} for r in rows]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    words = [f"task.data={folder}/mine.jsonl", 'task.question="{q}"', "task.label=answer"]
    return [*words, "task.label_as=text"]


FORMS = [
    *(write_arc, write_numbered_arc, write_in_brackets, write_by_label, write_pairs, write_nested),
    *(write_hellaswag, write_texts),
]
BASE = ["task=choice", "model=small_gpt2", "lora=full"]


@pytest.fixture
def read(compose_plain, own_cache):
    return lambda *words: read_task(compose_plain(*BASE, *words).task)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_alike(form, tmp_path, read):
    task = read(*form(tmp_path, ROWS))
    found = {
        question: (options, answer)
        for split in task.splits.values()
        for question, options, answer in zip(split.questions, split.options, split.answers, strict=True)
    }
    assert found == {row["question"]: (tuple(row["options"]), row["answer"]) for row in ROWS}


def test_options_in_a_question_are_named_with_the_template_that_takes_them(tmp_path, read):
    data, question, _ = write_nested(tmp_path, ROWS)
    with pytest.raises(ConfigError, match=r"'task\.options=\"\{question\[choices\]\}\"' takes one of the items of qu"):
        read(data, question)
    with pytest.raises(ConfigError, match=r"mine\.jsonl: row 1: it cannot be filled: 'options'"):
        read(data, question, 'task.options="{question[options]}"')


@pytest.mark.parametrize(("cell", "item"), [({"stem": "why?", "id": 1}, "stem"), (["why?", "how?"], "0")])
def test_a_question_that_is_no_text_names_the_template_that_takes_one(cell, item, tmp_path, read):
    rows = [{**row, "question": cell} for row in arc(ROWS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError) as refused:
        read(f"task.data={tmp_path}/rows.jsonl")
    assert f'a template takes one item of it, as "{{question[{item}]}}"' in str(refused.value)


def test_a_break_in_the_documented_template_is_one(tmp_path, read):
    task = read(*write_arc(tmp_path, ROWS), r'task.question="Question: {question}\nAnswer:"', r'task.delimiter="\n"')
    asked = {question for split in task.splits.values() for question in split.questions}
    assert asked == {f"Question: {row['question']}\nAnswer:" for row in ROWS}
    assert task.delimiter == "\n"


def test_an_answer_in_another_case_is_read(tmp_path, read):
    rows = [{"question": f"q {n}", "choices": ["Red", "Green"], "answer": ("red", "GREEN ")[n % 2]} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read(f"task.data={tmp_path}/mine.jsonl", "task.label=answer")
    split = task.splits["train"]
    assert (
        dict(zip(split.questions, split.answers, strict=True)).items() <= {f"q {n}": n % 2 for n in range(60)}.items()
    )


@pytest.mark.parametrize(("odd", "told"), [(0, True), (2, True), (9, False)])
def test_an_answer_that_is_always_in_one_place_is_told(odd, told, tmp_path, read):
    rows = [{"question": f"q {n}", "choices": [f"a{n}", "b", "c"], "answer": int(n < odd)} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read(f"task.data={tmp_path}/mine.jsonl", "task.label=answer", "task.label_as=index")
    said = f"the right option is number 1 in {60 - odd} of 60 rows: each option is scored by itself"
    assert any(line.startswith(said) for line in task.findings().suspicious) == told
    assert ("majority" not in task.describe()) == (not task.constants("test")) == told


def write_columns(folder, rows, label):
    frame = [
        {"goal": r["question"], "sol1": r["options"][0], "sol2": r["options"][1], "label": r["label"]} for r in rows
    ]
    pd.DataFrame(frame).to_json(folder / "mine.jsonl", orient="records", lines=True)
    return [f"task.data={folder}/mine.jsonl", "task.question=goal", "task.options=[sol1,sol2]", f"task.label={label}"]


def test_a_column_each_is_as_piqa_has_it(tmp_path, read):
    rows = [{**row, "label": n % 2} for n, row in enumerate(ROWS)]
    task = read(*write_columns(tmp_path, rows, "label"))
    assert set(task.splits["train"].options) <= {tuple(row["options"][:2]) for row in ROWS}
    chance = task.describe()["chance"]
    assert chance == {"validation": 0.5, "test": 0.5}
    shares = task.describe()["majority"]
    most = int(shares["class"].removeprefix("option ")) - 1
    assert shares["test"] == np.mean([answer == most for answer in task.splits["test"].answers])
    said = summary(task, None)
    assert any(line.startswith("guessing is right for 0.5000 on validation, 0.5000 on test") for line in said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"answerKey": lambda n: 1 + n % 3},
            r"can be read in several ways \(rows 1, 2, .*\); task.label_as=index or task",
        ),
        (
            {"answerKey": lambda n: n % 7 + 1},
            r"answerKey names none of the options in 24 rows \(5, 6, .*\), as '5' of 4",
        ),
        ({"answerKey": lambda n: "B", "choices": lambda n: ["x", "B", "y", "A"]}, None),
        (
            {"answerKey": lambda n: "B", "choices": lambda n: ["B", "x", "y", "A"]},
            "task.label_as=letter or task.label_as=text",
        ),
        ({"answerKey": lambda n: None if n in (3, 5) else 0}, r"no label in 2 rows \(4, 6\); task.gaps=leave_out"),
        ({"choices": lambda n: ["x"] if n == 7 else ["x", "y"]}, r"fewer than two options in 1 rows \(8\); task.gaps"),
        ({"choices": lambda n: ["x", " "] if n == 7 else ["x", "y"]}, r"an empty option in 1 rows \(8\)"),
        (
            {"choices": lambda n: ["x", float("nan")] if n in (7, 9) else ["x", "y"]},
            r"an empty option in 2 rows \(8, 10\)",
        ),
        (
            {"choices": lambda n: ["x", None] if n in (7, 9) else ["x", "y"]},
            r"an empty option in 2 rows \(8, 10\); task",
        ),
        ({"answerKey": lambda n: "ß"}, "answerKey names none of the options in 60 rows .* as 'ß' of 4 options"),
        (
            {"choices": lambda n: {"label": list("1234"), "text": list("abcd")}, "answerKey": lambda n: 1 + n % 3},
            r"can be read in several ways \(rows 1, 2, .*\); task.label_as=named or task.label_as=index$",
        ),
        ({"question": lambda n: " " if n == 7 else f"q{n}"}, r"no question in 1 rows \(8\)"),
        ({"choices": lambda n: "x, y"}, r"row 1: choices is 'x, y' \(str\), no list"),
        ({"choices": lambda n: [["x"], ["y"]]}, r"row 1: choices has \"\['x'\]\" \(list\) in it, no text"),
        ({"choices": lambda n: {"label": ["A"], "text": ["x", "y"]}}, "row 1: choices has 2 texts and 1 labels"),
    ],
)
def test_what_is_ambiguous_or_no_question_is_refused(change, said, tmp_path, read):
    usual = {"question": lambda n: f"q{n}", "choices": lambda n: ["a", "b", "c", "d"], "answerKey": lambda n: n % 4 % 2}
    rows = [{name: make(n) for name, make in {**usual, **change}.items()} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"task.data={tmp_path}/mine.jsonl"]
    if said is None:
        assert set(read(*words).splits["train"].answers) == {1}
        return
    with pytest.raises(ConfigError, match=said):
        read(*words)


def test_the_way_of_naming_settles_it(tmp_path, read):
    rows = [{"question": f"q{n}", "choices": list("abcd"), "answerKey": 1 + n % 3} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for way, least in (("index", 1), ("position", 0)):
        assert min(read(f"task.data={tmp_path}/mine.jsonl", f"task.label_as={way}").splits["train"].answers) == least


def test_the_names_of_the_options_settle_it(tmp_path, read):
    choices = {"label": ["3", "2", "1", "0"], "text": list("abcd")}
    rows = [{"question": f"q{n}", "choices": choices, "answerKey": n % 2} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for way, answers in (("named", {2, 3}), ("index", {0, 1})):
        task = read(f"task.data={tmp_path}/mine.jsonl", f"task.label_as={way}")
        assert set(task.splits["train"].answers) == answers


def turned(rows):
    """The same questions with their options in another order."""
    return [{**row, "options": row["options"][::-1], "answer": len(row["options"]) - 1 - row["answer"]} for row in rows]


def test_another_order_of_options_is_the_same_question(tmp_path, read):
    words = write_arc(tmp_path, ROWS)
    pd.DataFrame(arc(turned(ROWS[5:9]))).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(ConfigError, match=r"sources of the test split stand in train too .*task.leaks=allow"):
        read(*words, f"task.test={tmp_path}/test.parquet")


def test_another_order_of_options_is_a_repeat_or_a_contradiction(tmp_path, read):
    other = [{**row, "answer": (row["answer"] + 1) % len(row["options"])} for row in turned(ROWS[2:3])]
    task = read(*write_arc(tmp_path, [*ROWS, *turned(ROWS[:2]), *other]))
    assert sum(map(len, task.splits.values())) == len(ROWS) + 1
    said = "\n".join(summary(task, None))
    assert "different answers in rows 3, 63" in said


def test_a_delimiter_is_refused_where_no_text_has_both(compose_plain):
    words = ["task=choice", "task.data=mine.csv", "lora=full"]
    with pytest.raises(ConfigError, match=r"^task.delimiter=' \| ': model=small_t5 has an encoder and a decoder"):
        compose_plain(*words, "model=small_t5", "task.delimiter=' | '")
    compose_plain(*words, "model=small_t5")
    compose_plain(*words, "model=small_gpt2", "task.delimiter=' | '")


def test_questions_of_two_splits_are_refused(tmp_path, read):
    words = write_arc(tmp_path, ROWS)
    pd.DataFrame(arc(ROWS[5:9])).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(ConfigError, match=r"sources of the test split stand in train too .*task.leaks=allow"):
        read(*words, f"task.test={tmp_path}/test.parquet")


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
    tokens = Tokens(tmp_path / "tokenizer.json", pad=0, end=2, start=start, begin=1 if causal else None)
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
    tokens = Tokens(tmp_path / "tokenizer.json", pad=0, end=2, start=2, begin=1)
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
