"""Trials of extractive question answering: transformers' own logits and loss, answers, and exports that it loads."""

import csv
import json
import shutil

import pytest
import torch
from peft import AutoPeftModelForQuestionAnswering
from tokenizers import Tokenizer, processors
from transformers import (
    AutoModelForImageClassification,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from harness.config import AnswerSpan, ConfigError
from harness.model import build_model
from harness.report.page import write_report
from harness.report.statistics import wilson_interval
from harness.report.table import arm_results
from harness.system.assets import AssetError
from harness.task.qa_inputs import Question
from harness.trial.base_checks import check_base
from harness.trial.evaluate import evaluate_trial
from harness.trial.export import export_trial
from harness.trial.predict_spans import answer, write_spans
from harness.trial.trained import load_trained
from tests.model.small import IDS, MASK, WORDS, save_small
from tests.tiny import BAD, FILLER, GOOD
from tests.trial.test_export import trained  # noqa: F401  fixtures
from tests.trial.test_hf_trial import based_on

SHORT_ROWS = ["task=extractive_qa", "task.max_length=24", "task.stride=6", "trainer.objective=f1"]
ARCHITECTURES = ["bert", "distilbert", "roberta", "deberta-v2", "modernbert", "electra", "gpt2", "bart", "qwen3"]


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_logits_and_loss_are_those_of_transformers(model_type, compose_plain, tmp_path):
    save_small(AutoModelForQuestionAnswering, model_type, tmp_path)
    config = compose_plain(*SHORT_ROWS, *based_on(tmp_path), "model.head=stored")
    own = build_model(config.model, AnswerSpan()).eval()
    theirs = AutoModelForQuestionAnswering.from_pretrained(tmp_path).eval()
    places = torch.tensor([[1, 3]])
    with torch.no_grad():
        logits = own({"ids": IDS, "mask": MASK})
        expected = theirs(IDS, attention_mask=MASK)
        whole = theirs(IDS[:1], attention_mask=MASK[:1], start_positions=places[:, 0], end_positions=places[:, 1])
    torch.testing.assert_close(logits[..., 0], expected.start_logits, rtol=0, atol=0)
    torch.testing.assert_close(logits[..., 1], expected.end_logits, rtol=0, atol=0)
    from harness.training.module import mean_loss

    batch = {"ids": IDS[:1], "mask": MASK[:1], "labels": places, "context": MASK[:1]}
    with torch.no_grad():
        torch.testing.assert_close(mean_loss(own, batch), whole.loss, rtol=1e-6, atol=1e-6)
    fresh = build_model(compose_plain(*SHORT_ROWS, *based_on(tmp_path)).model, AnswerSpan()).eval()
    with torch.no_grad():
        assert not torch.equal(fresh({"ids": IDS, "mask": MASK}), logits)


@pytest.mark.parametrize(("model_type", "sees"), [("bert", True), ("bart", True), ("xlnet", True), ("gpt2", False)])
def test_whether_the_first_token_sees_the_others_is_asked_of_the_network(model_type, sees, compose_plain, tmp_path):
    save_small(AutoModelForQuestionAnswering, model_type, tmp_path)
    network = build_model(compose_plain(*SHORT_ROWS, *based_on(tmp_path)).model, AnswerSpan())
    assert network.first_token_sees_all is sees
    assert network.training


def test_questions_without_an_answer_are_refused_where_the_first_token_sees_none_of_the_others(
    trained,  # noqa: F811
    asked,
    tmp_path,
):
    save_small(AutoModelForQuestionAnswering, "gpt2", tmp_path / "base")
    with_pairs(tmp_path / "base")
    with pytest.raises(ConfigError, match=r"its first token, which stands for no answer, sees none .* have no answer"):
        trained(*asked, *based_on(tmp_path / "base"), "lora.targets=all-linear", "lora.rank=2")
    shutil.rmtree(tmp_path / "results")
    rows = [line(number) for number in range(240) if number % 5]
    (tmp_path / "answered.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    words = [word for word in asked if not word.startswith("task.data=")] + [f"task.data={tmp_path}/answered.jsonl"]
    made = trained(*words, *based_on(tmp_path / "base"), "lora.targets=all-linear", "lora.rank=2")
    assert made.entry.state == "complete"


def test_a_base_without_such_a_head_has_none_stored(compose_plain, tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path)
    with pytest.raises(AssetError, match=r"no weights for qa_outputs.*; model\.head=fresh needs no"):
        build_model(compose_plain(*SHORT_ROWS, *based_on(tmp_path), "model.head=stored").model, AnswerSpan())
    assert build_model(compose_plain(*SHORT_ROWS, *based_on(tmp_path)).model, AnswerSpan()).head["qa_outputs"]


@pytest.mark.parametrize(
    ("model_type", "message"),
    [("t5", "has no t5 for question answering, whose head is apart"), ("vit", "a base for vision tasks")],
)
def test_an_architecture_without_such_a_head_is_one_line(model_type, message, compose_plain, tmp_path):
    kind = AutoModelForImageClassification if model_type == "vit" else AutoModelForQuestionAnswering
    save_small(kind, model_type, tmp_path)
    with pytest.raises(ConfigError, match=message) as error:
        check_base(compose_plain(*SHORT_ROWS, *based_on(tmp_path)))
    assert "\n" not in str(error.value)


def test_a_named_model_has_the_head_of_its_family(compose, tiny_base):
    model = build_model(compose().model, AnswerSpan()).eval()
    theirs = AutoModelForQuestionAnswering.from_pretrained(tiny_base).eval()
    theirs.qa_outputs.load_state_dict(model.head["qa_outputs"].state_dict())
    with torch.no_grad():
        expected = theirs(IDS % 24, attention_mask=MASK)
        found = model({"ids": IDS % 24, "mask": MASK})
    torch.testing.assert_close(
        found, torch.stack([expected.start_logits, expected.end_logits], -1), rtol=1e-5, atol=1e-6
    )


def with_pairs(folder):
    """The tokenizer of a folder, which tells two texts apart."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    first, last = (tokenizer.id_to_token(number) for number in (2, 3))
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{first} $A {last}", f"{first} $A {last} $B:1 {last}:1", [(first, 2), (last, 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def line(number):
    """The answer is the two words behind w7, of a long context in a later window; every fifth row has none."""
    before = [WORDS[20 + (number * 7 + place) % 31] for place in range(2 + number % 17)]
    words = [*before, *([] if number % 5 == 0 else ["w7"]), WORDS[60 + number % 29], WORDS[20 + number % 13], "w19"]
    context = " ".join(words)
    text = " ".join(words[-3:-1])
    answers = {"text": [], "answer_start": []}
    if number % 5:
        answers = {"text": [text], "answer_start": [context.index(f"w7 {text}") + 3]}
    return {"id": f"q{number}", "question": f"w{90 + number % 4} w5", "context": context, "answers": answers}


@pytest.fixture
def asked(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(line(number)) for number in range(240)) + "\n")
    return [*SHORT_ROWS, f"task.data={tmp_path}/rows.jsonl", "trainer.max_steps=12"]


WAYS = {
    "lora": ["lora.targets=all-linear", "lora.rank=2"],
    "loha": ["lora=peft", "lora.method=LOHA", "lora.targets=[query]", "lora.arguments={r: 2}"],
    "full": ["lora=full"],
}


@pytest.mark.parametrize(("model_type", "way"), [("bert", "lora"), ("bert", "loha"), ("distilbert", "full")])
def test_a_trial_answers_predicts_and_is_exported(model_type, way, trained, asked, tmp_path):  # noqa: F811
    save_small(AutoModelForQuestionAnswering, model_type, tmp_path / "base")
    with_pairs(tmp_path / "base")
    made = trained(*asked, *based_on(tmp_path / "base"), *WAYS[way])
    scores = made.entry.scores["test"]
    assert set(scores) == {"f1", "exact", "loss"}
    with open(made.folder / "answers.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == made.entry.data.rows["test"]
    by_id = {f"q{number}": line(number) for number in range(240)}
    assert sum(float(each["f1"]) for each in lines) / len(lines) == pytest.approx(scores["f1"], abs=1e-5)
    for each in lines:
        asked_of = by_id[f"q{int(each['item']) - 1}"]
        assert json.loads(each["right"]) == asked_of["answers"]["text"]
        if each["answer"]:
            assert asked_of["context"][int(each["begin"]) : int(each["end"])] == each["answer"]
    said, _ = evaluate_trial(made, "test")
    assert said.scores == pytest.approx(scores)
    assert said.table[0] == list(lines[0])
    assert [row[:4] for row in said.table[1]] == [list(each.values())[:4] for each in lines]
    assert said.intervals["f1"][0] <= scores["f1"] <= said.intervals["f1"][1]
    assert said.intervals["exact"] == wilson_interval(scores["exact"], len(lines))
    held = [f"q{int(each['item']) - 1}" for each in lines]
    path = tmp_path / "held.jsonl"
    path.write_text("\n".join(json.dumps({k: v for k, v in by_id[name].items() if k != "answers"}) for name in held))
    write_spans(made, path, tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        again = list(csv.DictReader(file))
    assert [(each["item"], each["answer"]) for each in again] == [
        (name, each["answer"]) for name, each in zip(held, lines, strict=True)
    ]
    assert [float(each["p"]) for each in again] == pytest.approx([float(each["p"]) for each in lines], abs=1e-5)
    kind = AutoModelForQuestionAnswering if way == "full" else AutoPeftModelForQuestionAnswering
    export_trial(made, tmp_path / "out", merged=way == "full")
    theirs = kind.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        expected, found = load_trained(made)({"ids": IDS, "mask": MASK}), theirs(input_ids=IDS, attention_mask=MASK)
    torch.testing.assert_close(found.start_logits, expected[..., 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.end_logits, expected[..., 1], rtol=1e-4, atol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "pipeline_tag: question-answering" in card
    assert kind.__name__ in card
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for name, each in zip(held[:8], again[:8], strict=True):
        assert asked_of_transformers(theirs, tokenizer, by_id[name]) == each["answer"]


@torch.no_grad()
def asked_of_transformers(network, tokenizer, row):
    """The answer that the question answering pipeline of transformers 4 gives, window by window, in its own steps."""
    keys = {"return_overflowing_tokens": True, "return_offsets_mapping": True, "truncation": "only_second"}
    read = tokenizer(row["question"], row["context"], max_length=24, stride=6, return_token_type_ids=True, **keys)
    typed = getattr(network.config, "type_vocab_size", 0) > 1
    best, nothing = (0.0, ""), 1.0
    for window, ids in enumerate(read["input_ids"]):
        more = {"token_type_ids": torch.tensor([read["token_type_ids"][window]])} if typed else {}
        mask = torch.ones(1, len(ids), dtype=torch.long)
        found = network(input_ids=torch.tensor([ids]), attention_mask=mask, **more)
        masked = torch.tensor([part != 1 for part in read.sequence_ids(window)])
        masked[0] = False
        begins, ends = (
            side[0].masked_fill(masked, -10000.0).softmax(0) for side in (found.start_logits, found.end_logits)
        )
        nothing = min(nothing, float(begins[0] * ends[0]))
        begins[0] = ends[0] = 0.0
        scores = torch.triu(begins[:, None] * ends[None]).tril(30 - 1)
        first, last = divmod(int(scores.argmax()), len(ids))
        offsets = read["offset_mapping"][window]
        best = max(best, (float(scores[first, last]), row["context"][offsets[first][0] : offsets[last][1]]))
    return "" if nothing > best[0] else best[1]


def test_a_named_model_learns_to_answer(trained, tiny_base, tmp_path):  # noqa: F811
    """LoRA on a base that knows the words finds nearly all answers; the most frequent one is right for few."""
    from tests.tiny import words_of

    base = with_pairs(shutil.copytree(tiny_base, tmp_path / "pairs"))
    lines = []
    for number in range(240):
        words = [FILLER[number % 11], FILLER[number // 11 % 11], GOOD[number % 6], BAD[number // 6 % 6]]
        words = words[number % 3 :] + words[: number % 3]
        good = GOOD[number % 6]
        lines.append({"question": f"the {FILLER[number % 7]}", "context": " ".join(words), "answer": good})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = [word for word in words_of(base, tmp_path / "rows.jsonl") if word != "task=text_csv"]
    more = ["trainer.objective=f1", "trainer.max_steps=100", "trainer.epochs=20.0", "task.leaks=allow", "task.stride=4"]
    more += ["optimizer.lr=0.02", "optimizer.head_lr=0.1", "model.dropout=0.0", "lora.dropout=0.0", "lora.rank=8"]
    more += ["lora.targets=[query,key,value,output,ffn_up,ffn_down]"]
    made = trained("task=extractive_qa", *words, *more)
    assert made.entry.scores["test"]["exact"] > 0.9
    always = made.entry.data.details["usual_span"]
    assert always["test"] < 0.5
    results = arm_results([made.entry], made.folder.parents[1])
    low, high = results[0].interval
    assert low <= made.entry.scores["test"]["f1"] <= high
    text = write_report(made.folder.parents[1])
    assert "Brackets: 95 % interval over test items." in text
    assert "has a test F1 of" in text
    assert "BLEU" not in text
    (said,) = answer(made, [Question("1", "the film", f"a film is {GOOD[2]} of town", ())], "here")
    assert said[0] == GOOD[2]
    assert len(said) == 4


def test_questions_of_a_file_are_read_or_refused(trained, asked, tmp_path, caplog):  # noqa: F811
    save_small(AutoModelForQuestionAnswering, "bert", tmp_path / "base")
    with_pairs(tmp_path / "base")
    made = trained(*asked, *based_on(tmp_path / "base"), "lora.rank=2", "trainer.max_steps=2")
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "w1", "context": ""}) + "\n")
    with pytest.raises(ConfigError, match=r"input=.*a\.jsonl: no context in 1 rows \(1\)"):
        write_spans(made, tmp_path / "a.jsonl", tmp_path / "out.csv")
    strange = {"id": "s1", "question": "ቃ ና ቃና", "context": "ቃቃ ናና ናቃ ቃ ና"}
    (tmp_path / "b.jsonl").write_text(json.dumps(strange | {"question": "w1", "context": "w2", "id": "s0"}) + "\n")
    with open(tmp_path / "b.jsonl", "a") as file:
        file.write(json.dumps(strange) + "\n")
    write_spans(made, tmp_path / "b.jsonl", tmp_path / "out.csv")
    assert "are unknown to the model's tokenizer; in 1 texts more than half (rows s1)" in caplog.text
    squad = {"data": [{"paragraphs": [{"context": "w1 w7 w60 w21", "qas": [{"id": "x1", "question": "w90 w5"}]}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(squad))
    write_spans(made, tmp_path / "squad.json", tmp_path / "out.csv")
    (found,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert list(found) == ["item", "question", "answer", "p", "begin", "end", "p_none"]
    assert found["item"] == "x1"
