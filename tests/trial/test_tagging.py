"""Trials that tag tokens: logits of transformers' own classes, predictions, and exports that PEFT loads."""

import csv
import json
from types import SimpleNamespace

import pytest
import torch
from peft import AutoPeftModelForTokenClassification
from transformers import AutoModelForTokenClassification, pipeline

from harness.config import ConfigError, TokenClasses
from harness.model import build_model
from harness.task.tags import rates, spans
from harness.trial.evaluate import evaluate_trial
from harness.trial.export import export_trial
from harness.trial.multi_adapter import load_multi_adapter
from harness.trial.predict_tags import predict_tags, read_rows, write_tags
from harness.trial.trained import load_trained
from tests.model.small import IDS, MASK, WORDS, save_small
from tests.trial.test_export import trained  # noqa: F401  fixtures
from tests.trial.test_hf_trial import based_on

SHORT_ROWS = ["task=token_labels", "task.max_length=60"]
ARCHITECTURES = ["bert", "distilbert", "roberta", "deberta-v2", "modernbert", "gpt2", "qwen3", "t5"]


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_logits_are_those_of_transformers(model_type, compose_plain, tmp_path):
    save_small(AutoModelForTokenClassification, model_type, tmp_path, num_labels=5)
    config = compose_plain(*SHORT_ROWS, *based_on(tmp_path), "model.head=stored")
    own = build_model(config.model, TokenClasses(5)).eval()
    theirs = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = own({"ids": IDS, "mask": MASK})
        expected = theirs(IDS, attention_mask=MASK).logits
    assert logits.shape == (3, 6, 5)
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)
    fresh = build_model(compose_plain(*SHORT_ROWS, *based_on(tmp_path)).model, TokenClasses(5)).eval()
    assert not torch.equal(fresh({"ids": IDS, "mask": MASK}), expected)


def test_a_named_model_has_the_head_of_its_family(compose, tiny_base):
    model = build_model(compose().model, TokenClasses(3)).eval()
    theirs = AutoModelForTokenClassification.from_pretrained(tiny_base, num_labels=3).eval()
    theirs.classifier.load_state_dict(model.head["classifier"].state_dict())
    with torch.no_grad():
        expected = theirs(IDS % 24, attention_mask=MASK).logits
        torch.testing.assert_close(model({"ids": IDS % 24, "mask": MASK}), expected, rtol=1e-5, atol=1e-6)
    assert set(model.targets) >= {"query", "value", "ffn_up"}


def test_an_architecture_without_such_a_head_is_one_line(compose_plain, tmp_path):
    from transformers import AutoModelForSequenceClassification

    save_small(AutoModelForSequenceClassification, "bart", tmp_path)
    with pytest.raises(ConfigError, match="bart has no class for this task"):
        build_model(compose_plain(*SHORT_ROWS, *based_on(tmp_path)).model, TokenClasses(3), weights=False)


def row(number):
    """The word behind w7 is a name, of two words where w8 follows."""
    tokens = [WORDS[20 + number % 31], "w7", WORDS[60 + number % 29], WORDS[20 + number % 13]]
    tags = ["O", "O", "B-NAME", "O"]
    return (tokens[:3] + ["w8"], [*tags[:3], "I-NAME"]) if number % 3 == 0 else (tokens, tags)


@pytest.fixture
def tagged(tmp_path):
    lines = [json.dumps(dict(zip(("tokens", "tags"), row(number), strict=True))) for number in range(240)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return [f"task.data={tmp_path}/rows.jsonl", "task=token_labels", "task.max_length=12", "trainer.objective=f1"]


WAYS = {
    "lora": ["lora.targets=all-linear", "lora.rank=2"],
    "loha": ["lora=peft", "lora.method=LOHA", "lora.targets=[query]", "lora.arguments={r: 2}"],
    "full": ["lora=full"],
}


EVERY_WAY = [("bert", "lora"), ("bert", "loha"), ("bert", "full"), ("gpt2", "lora")]


@pytest.mark.parametrize(("model_type", "way"), EVERY_WAY)
def test_a_trial_tags_predicts_and_is_exported(model_type, way, trained, tagged, tmp_path):  # noqa: F811
    save_small(AutoModelForTokenClassification, model_type, tmp_path / "base", num_labels=7)
    made = trained(*tagged, *based_on(tmp_path / "base"), *WAYS[way], "trainer.max_steps=12")
    scores = made.entry.scores["test"]
    assert set(scores) == {"f1", "precision", "recall", "accuracy", "loss"}
    lines = [json.loads(line) for line in (made.folder / "tagged.jsonl").read_text().splitlines()]
    there, found = ([set(spans(line[key])) for line in lines] for key in ("tags", "predicted"))
    right = sum(len(one & other) for one, other in zip(there, found, strict=True))
    f1 = rates(right, sum(map(len, found)), sum(map(len, there)))[0]
    assert scores["f1"] == pytest.approx(f1)
    if way != "full":
        with open(made.folder / "tags.csv", newline="") as file:
            ((_, count, *_),) = list(csv.reader(file))[1:]
        assert int(count) == sum(map(len, there))
    head, rows = evaluate_trial(made, "test")[0].table
    assert head == ["item", "tokens", "tags", "predicted"]
    assert [[row[0], *map(json.loads, row[1:])] for row in rows] == [list(line.values()) for line in lines]
    said = predict_tags(made, [line["tokens"] for line in lines])
    assert [[tag for tag, _ in row] for row in said] == [line["predicted"] for line in lines]
    with torch.no_grad():
        expected = load_trained(made)({"ids": IDS, "mask": MASK})
    kind = AutoModelForTokenClassification if way == "full" else AutoPeftModelForTokenClassification
    export_trial(made, tmp_path / "out", merged=way == "full")
    keys = {} if way == "full" else {"num_labels": 3, "ignore_mismatched_sizes": True}
    theirs = kind.from_pretrained(tmp_path / "out", **keys).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=IDS, attention_mask=MASK).logits, expected, rtol=1e-4, atol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert kind.__name__ in card
    if way == "full":
        told = json.loads((tmp_path / "out" / "config.json").read_text())
        assert told["id2label"] == {"0": "O", "1": "B-NAME", "2": "I-NAME"}
        words = ["w20", "w7", "w61"]
        found = pipeline("ner", str(tmp_path / "out"), ignore_labels=[])(" ".join(words))
        wanted = [tag for tag, _ in predict_tags(made, [words])[0]]
        assert {each["word"]: each["entity"] for each in found} == dict(zip(words, wanted, strict=True))


def test_a_named_model_learns_names_and_is_exported(trained, tagged, tiny_base, tmp_path):  # noqa: F811
    """LoRA on a base that knows the words finds nearly all; an answer of O alone finds none."""
    from tests.tiny import BAD, FILLER, GOOD, words_of

    lines = []
    for number in range(240):
        name = [GOOD[number % 6], BAD[number // 6 % 6]][: 1 + number % 2]
        tokens = [FILLER[number % 11], FILLER[number // 11 % 11], *name, FILLER[number // 5 % 11]]
        tags = ["O", "O", *["B-NAME", "I-NAME"][: len(name)], "O"]
        lines.append(json.dumps({"tokens": tokens, "tags": tags}))
    (tmp_path / "names.jsonl").write_text("\n".join(lines) + "\n")
    words = [word for word in words_of(tiny_base, tmp_path / "names.jsonl") if word != "task=text_csv"]
    more = ["trainer.objective=f1", "trainer.max_steps=120", "trainer.epochs=20.0", "task.leaks=allow"]
    more += ["task.duplicates=first", "optimizer.lr=0.02", "optimizer.head_lr=0.1", "model.dropout=0.0"]
    more += ["lora.targets=[query,key,value,output,ffn_up,ffn_down]", "lora.dropout=0.0"]
    made = trained("task=token_labels", *words, *more, "lora.rank=8")
    assert made.entry.scores["test"]["f1"] > 0.9
    always = made.entry.data.details["majority"]
    assert (always["class"], 0.5 < always["test"] < 0.7) == ("O", True)
    export_trial(made, tmp_path / "out", merged=False)
    theirs = AutoPeftModelForTokenClassification.from_pretrained(
        tmp_path / "out", num_labels=3, ignore_mismatched_sizes=True
    ).eval()
    with torch.no_grad():
        expected = load_trained(made)({"ids": IDS % 24, "mask": MASK})
        found = theirs(input_ids=IDS % 24, attention_mask=MASK).logits
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    (tmp_path / "mine.txt").write_text("the lovely film\na bright dull story of town " + "and " * 40 + "\n")
    write_tags(made, tmp_path / "mine.txt", tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [each["item"] for each in rows] == ["1"] * 3 + ["2"] * 46
    assert [each["predicted"] for each in rows[:3]] == ["O", "B-NAME", "O"]
    assert (rows[-1]["predicted"], rows[-1]["p"]) == ("O", ""), "beyond task.max_length"
    with pytest.raises(ConfigError, match="its head is the architecture's own"):
        load_multi_adapter([made.folder])


def test_tokens_that_the_tokenizer_does_not_know_are_told(trained, tagged, tmp_path, caplog):  # noqa: F811
    save_small(AutoModelForTokenClassification, "bert", tmp_path / "base")
    made = trained(*tagged, *based_on(tmp_path / "base"), "lora.rank=2")
    (tmp_path / "a.conll").write_text("w1 O\nw2 O\n\nቃ\nና\n")
    write_tags(made, tmp_path / "a.conll", tmp_path / "out.csv")
    assert "are unknown to the model's tokenizer; in 1 texts more than half (rows 4)" in caplog.text


def test_files_to_be_tagged(trained, tagged, tmp_path):  # noqa: F811
    save_small(AutoModelForTokenClassification, "bert", tmp_path / "base")
    made = trained(*tagged, *based_on(tmp_path / "base"), "lora.rank=2")
    (tmp_path / "a.conll").write_text("w1 x O\nw2 x O\n\nw3\n")
    assert read_rows(made, tmp_path / "a.conll") == [("1", ("w1", "w2")), ("4", ("w3",))]
    (tmp_path / "a.jsonl").write_text('{"tokens": ["w1"]}\n{"tokens": []}\n')
    with pytest.raises(ConfigError, match=r"no tokens in 1 rows \(2\)"):
        read_rows(made, tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text('{"words": ["w1"]}\n')
    with pytest.raises(ConfigError, match=r"task\.tokens=tokens: .* has no such column"):
        read_rows(made, tmp_path / "b.jsonl")


def test_files_to_be_tagged_are_read_as_the_trials_own(tmp_path):
    def made(**task):
        usual = {"data": "rows.jsonl", "tokens": "tokens", "encoding": None, "separator": None}
        return SimpleNamespace(config=SimpleNamespace(task=SimpleNamespace(**(usual | task))))

    path = tmp_path / "a.txt"
    path.write_bytes("größe x\nw2 y\n".encode("utf-16"))
    assert read_rows(made(), path) == [("1", ("größe", "x")), ("2", ("w2", "y"))]
    assert read_rows(made(data="rows.txt"), path) == [("1", ("größe", "w2"))]
    path.write_text("1 the\n2 cat\n\n1 a\n")
    assert read_rows(made(data="rows.txt"), path) == [("1", ("the", "cat")), ("4", ("a",))]
    path.write_text("1 O the O\n2 O cat O\n")
    assert read_rows(made(data="rows.txt", tokens="3"), path) == [("1", ("the", "cat"))]
    path.write_text("1\n2\n")
    assert read_rows(made(data="rows.txt"), path) == [("1", ("1", "2"))]
    path.write_bytes("żółw".encode("cp1250"))
    assert read_rows(made(encoding="cp1250"), path) == [("1", ("żółw",))]
    table = tmp_path / "a.csv"
    table.write_text("tokens\nthe cat\n")
    assert read_rows(made(), table) == [("2", ("the", "cat"))]
    table.write_text("number,word\n1,the\n,cat\n2,a\n")
    assert read_rows(made(tokens="word", sentence="number"), table) == [("2", ("the", "cat")), ("4", ("a",))]
    path.write_bytes(b"gr\xc3\xb6\xc3\x9fe \xff")
    with pytest.raises(ConfigError, match=r"input=.*a\.txt: UTF-8, but for line 1"):
        read_rows(made(), path)
    (tmp_path / "a.csv").write_bytes('row|tokens\n1|["ż"]\n'.encode("cp1250"))
    assert read_rows(made(encoding="cp1250", separator="|"), tmp_path / "a.csv") == [("2", ("ż",))]
