"""Trials of multiple choice: what is scored, chosen by, written to files and predicted."""

import csv
import json
import re

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from harness.config import ConfigError
from harness.report.chance import chance
from harness.report.table import arm_results, arm_rows, outcomes
from harness.task import build_task
from harness.trial.evaluate import _intervals, evaluate_trial
from harness.trial.predict_choices import write_choices
from harness.trial.trained import untrained
from tests.model.small import save_small
from tests.trial.test_export import trained  # noqa: F401  a fixture
from tests.trial.test_hf_trial import based_on


@pytest.fixture
def choices(tmp_path):
    """The word that stands in the question is the right option; options are two to four."""
    rows = []
    for n in range(120):
        options = [f"w{20 + (n + k) % 9} w3" for k in range(2 + n % 3)]
        rows.append({"q": f"w1 w{40 + n % 7} z{n}", "choices": options, "label": n % len(options)})
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_small(AutoModelForCausalLM, "llama", tmp_path / "base")
    words = ["task=choice", f"task.data={tmp_path}/mine.jsonl", "task.question=q", "task.label=label"]
    return [*words, "task.max_length=16", *based_on(tmp_path / "base"), "lora.targets=all-linear", "lora.rank=2"]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("more", [["trainer.accumulate=2", "trainer.score_train=true"], ["trainer.batch_tokens=48"]])
@pytest.mark.parametrize("objective", ["accuracy", "accuracy_norm"])
def test_scores_are_those_of_the_rows_and_are_predicted_again(objective, more, choices, trained, tmp_path, run_here):  # noqa: F811
    made = trained(*choices, f"trainer.objective={objective}", *more)
    rows = rows_of(made.folder / "predictions.csv")
    split = build_task(made.config.task).splits["test"]
    scores = made.entry.scores["test"]
    assert set(scores) == {"accuracy", "accuracy_norm", "loss"}
    assert [int(float(row["label"])) - 1 for row in rows] == list(split.answers)
    for name, column in (("accuracy", "predicted"), ("accuracy_norm", "predicted_norm")):
        assert scores[name] == pytest.approx(np.mean([row["label"] == row[column] for row in rows]))
        if name == objective:
            assert outcomes(made.entry, made.folder.parents[1]) == [float(row["label"] == row[column]) for row in rows]
    nats = sum(float(row["loss"]) * float(row["tokens"]) for row in rows)
    assert scores["loss"] == pytest.approx(nats / sum(float(row["tokens"]) for row in rows), rel=1e-5)
    short = "acc" if objective == "accuracy" else objective
    assert f"test {short} [95 %]" in arm_rows(arm_results([made.entry], made.folder.parents[1]))[0]
    said = chance(made.entry)
    assert said.startswith("Guessing has a test accuracy of 0.")
    assert "Always answering the most frequent place, option " in said
    found, _ = evaluate_trial(made, "test")
    assert found.scores == pytest.approx(scores, abs=1e-5)
    assert set(found.intervals) == {"accuracy", "accuracy_norm", "loss"}
    losses, counts = (np.array([float(row[name]) for row in rows]) for name in ("loss", "tokens"))
    spread = np.sqrt(len(rows) / (len(rows) - 1) * (((losses - scores["loss"]) * counts) ** 2).sum()) / counts.sum()
    low, high = found.intervals["loss"]
    assert (low, high) == pytest.approx((scores["loss"] - 1.96 * spread, scores["loss"] + 1.96 * spread), abs=1e-3)
    asked = [
        {"q": question, "choices": list(options)}
        for question, options in zip(split.questions, split.options, strict=True)
    ]
    (tmp_path / "ask.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    row_of = {str(number): row["q"] for number, row in enumerate(asked, 1)}
    command = ["run=predict", "study=s", f"results={tmp_path}/results", f"input={tmp_path}/ask.jsonl"]
    assert run_here(*command, f"output={tmp_path}/said.csv")[0] == 0
    for row, said, options in zip(rows, rows_of(tmp_path / "said.csv"), split.options, strict=True):
        assert said["predicted"] == options[int(float(row["predicted"])) - 1]
        assert said["predicted_norm"] == options[int(float(row["predicted_norm"])) - 1]
        assert said["question"] == row_of[said["item"]]
        shares = [float(said[f"p({n})"]) for n in range(1, len(options) + 1)]
        assert shares == pytest.approx([float(row[f"p_{n}"]) for n in range(1, len(options) + 1)], abs=1e-5)
        assert [said[f"p({n})"] for n in range(len(options) + 1, 5)] == [""] * (4 - len(options))
    answered = rows_of(made.folder / "answers.csv")
    head, lines = found.table
    assert list(answered[0]) == head == ["item", "question", "label", *list(said)[2:]]
    for told, line, row, said, options in zip(
        answered, lines, rows, rows_of(tmp_path / "said.csv"), split.options, strict=True
    ):
        assert [told[name] for name in head[:5]] == line[:5]
        assert told["label"] == options[int(float(row["label"])) - 1]
        assert [told[name] for name in ("question", "predicted", "predicted_norm")] == list(said.values())[1:4]
        shares = [
            [float(each[name] or 0) for name in head[5:]] for each in (told, said, dict(zip(head, line, strict=True)))
        ]
        assert shares[0] == pytest.approx(shares[1], abs=1e-5)
        assert shares[0] == pytest.approx(shares[2], abs=1e-5)
    assert np.mean([told["label"] == told["predicted"] for told in answered]) == pytest.approx(scores["accuracy"])
    assert untrained(made).head.state_dict() == {}


def test_options_that_the_tokenizer_does_not_know_are_told(choices, trained, tmp_path, caplog):  # noqa: F811
    made = trained(*choices)
    rows = [("w1 w40", ["w2", "w3"]), ("w1", ["ቃቃ ናና ቃና", "ናቃ ቃቃ"]), ("ቃ ቃና ናና", ["w4", "w5"])]
    written = [json.dumps({"q": question, "choices": options}) for question, options in rows]
    (tmp_path / "ask.jsonl").write_text("\n".join(written) + "\n")
    write_choices(made, tmp_path / "ask.jsonl", tmp_path / "said.csv")
    assert re.search(r"input: .* are unknown to the model's tokenizer; in 2 texts .* \(rows 2, 3\)", caplog.text)


def test_what_is_no_question_to_be_predicted_is_named(choices, trained, tmp_path, run_here):  # noqa: F811
    trained(*choices)
    (tmp_path / "ask.jsonl").write_text('{"q": "w1", "choices": ["w2", "w3"]}\n{"q": "w1", "choices": ["w2"]}\n')
    command = ["run=predict", "study=s", f"results={tmp_path}/results", f"input={tmp_path}/ask.jsonl"]
    code, _, said = run_here(*command, f"output={tmp_path}/said.csv")
    assert (code, f"input={tmp_path}/ask.jsonl: fewer than two options in 1 rows (2)" in said) == (2, True)


def test_what_cannot_be_measured_is_one_line(choices, compose_plain):
    for objective, said in (("f1", "task=choice has none"), ("m:M", "answers with texts, and a measure is of classes")):
        with pytest.raises(ConfigError, match=said) as error:
            compose_plain(*choices, f"trainer.objective={objective}")
        assert len(error.value.args) == 1
    with pytest.raises(ConfigError, match="task.dataset=x: files, or a data set with its own splits"):
        compose_plain(*choices, "task.dataset=x")


def test_only_labels_with_what_was_predicted_have_an_interval_of_a_share(choices, compose_plain):
    task = build_task(compose_plain(*choices).task)
    items = [(0, [1.0, 1.0]), (1, [0.0, 1.0])]
    assert set(_intervals(task, ("label", "predicted"), {"accuracy": 0.5, "loss": 1.0}, items)) == {"accuracy"}
    assert _intervals(task, ("label", "distance"), {"accuracy": 0.5, "loss": 1.0}, items) == {}
