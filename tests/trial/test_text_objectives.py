"""The best weights chosen by the texts that a model writes for validation rows."""

import csv
import json
from pathlib import Path

import pytest
import sacrebleu
from transformers import AutoModelForCausalLM

from harness.config import ConfigError
from harness.record import direction
from harness.report.table import arm_results, arm_rows, outcomes
from harness.task import build_task
from harness.training import text_scores
from harness.training.generation import rouge_l
from harness.trial.predict import predict
from tests.model.small import save_small
from tests.trial.test_export import trained  # noqa: F401  fixtures
from tests.trial.test_generation import SHAPE
from tests.trial.test_hf_trial import based_on

ROUGE = json.loads((Path(__file__).parents[1] / "cases" / "rouge_l.json").read_text())["cases"]


def test_rouge_l_is_that_of_the_package_rouge_score():
    for written, wanted, expected in ROUGE:
        assert rouge_l([written], [wanted]) == pytest.approx(expected, abs=1e-6), (written, wanted)
    mean = sum(expected for *_, expected in ROUGE) / len(ROUGE)
    assert rouge_l([row[0] for row in ROUGE], [row[1] for row in ROUGE]) == pytest.approx(mean, abs=1e-6)
    assert text_scores(["a b"], ["b a"], ["rouge_l"])[0]["rouge_l"] == pytest.approx(0.5)
    assert "rouge_l" not in text_scores(["a b"], ["b a"])[0]


def test_other_alphabets_have_words_too():
    assert rouge_l(["Страница не найдена"], ["страница найдена"]) == pytest.approx(0.8)


@pytest.fixture
def copies(tmp_path):
    """Sources that are to be written once more: a few steps teach some of it."""
    rows = [f"w{20 + row % 9} w{40 + row % 7} w{60 + row % 11}" for row in range(120)]
    (tmp_path / "copies.csv").write_text(
        "source,target\n" + "".join(f"{row} z{n},{row}\n" for n, row in enumerate(rows))
    )
    cut = ["task.max_source=12", "task.max_target=8", "task.generate_rows=6"]
    return ["task=seq2seq", f"task.data={tmp_path}/copies.csv", *cut]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("base", ["small_t5", "llama"])
def test_the_best_weights_write_the_best_texts(base, copies, trained, tmp_path):  # noqa: F811
    if base == "llama":
        save_small(AutoModelForCausalLM, base, tmp_path / "base")
        words = [*based_on(tmp_path / "base"), "lora.rank=2", "lora.targets=all-linear"]
    else:
        words = [f"model={base}", f"model.shape={SHAPE}", "lora=full"]
    more = [
        "trainer.objective=chrf",
        "trainer.measures=[rouge_l,exact]",
        "trainer.max_steps=9",
        "trainer.evaluations=3",
    ]
    made = trained(*copies, *words, *more, "optimizer.lr=0.01")
    curve = [row for row in rows_of(made.folder / "metrics.csv") if row["val_loss"]]
    assert set(curve[0]) == {"step", "lr", "train_loss"} | {
        f"val_{name}" for name in ("loss", "perplexity", "chrf", "rouge_l", "exact")
    }
    best = max(curve, key=lambda row: float(row["val_chrf"]))
    assert float(best["val_chrf"]) == made.entry.scores["val"]["chrf"]
    assert made.entry.steps.best in [int(row["step"]) for row in curve if row["val_chrf"] == best["val_chrf"]]
    assert set(made.entry.scores["test"]) == {"loss", "perplexity", "bleu", "chrf", "exact", "rouge_l"}
    if base == "llama":
        split = build_task(made.config.task).splits["validation"]
        texts = [text for (text,) in predict(made, split.sources[:6])]
        again = sacrebleu.corpus_chrf(texts, [list(split.targets[:6])]).score
        assert again == pytest.approx(made.entry.scores["val"]["chrf"], abs=1e-4)


def test_the_best_weights_give_the_best_answers(trained, tmp_path, run_here):  # noqa: F811
    save_small(AutoModelForCausalLM, "llama", tmp_path / "base")
    rows = "".join(f"w{20 + n % 9} w{40 + n % 7} w{60 + n % 11} z{n},w1 w{7 if n % 3 else 8}\n" for n in range(120))
    (tmp_path / "sums.csv").write_text(f"source,target\n{rows}")
    words = ["task=seq2seq", f"task.data={tmp_path}/sums.csv", "task.generate_rows=9", "task.max_target=8"]
    words += [
        "task.max_source=12",
        "task.answer='pattern:w(?!1)\\w+'",
        "trainer.objective=answer_accuracy",
        "lora.targets=all-linear",
    ]
    made = trained(*words, *based_on(tmp_path / "base"), "trainer.max_steps=9", "trainer.evaluations=3")
    curve = [float(row["val_answer_accuracy"]) for row in rows_of(made.folder / "metrics.csv") if row["val_loss"]]
    assert made.entry.scores["val"]["answer_accuracy"] == max(curve)
    written = rows_of(made.folder / "written.csv")
    wanted = [text.split()[1] for text in build_task(made.config.task).splits["test"].targets[:9]]
    assert [row["wanted_answer"] for row in written] == wanted
    taken = [next((word for word in row["written"].split() if word[0] == "w" and word != "w1"), "") for row in written]
    assert [row["answer"] for row in written] == taken
    right = [float(said == answer) for said, answer in zip(taken, wanted, strict=True)]
    assert 0 < sum(right) < 9
    scores = made.entry.scores["test"]
    assert (scores["answer_accuracy"], scores["no_answer"]) == (sum(right) / 9, taken.count("") / 9)
    assert outcomes(made.entry, made.folder.parents[1]) == right
    assert direction("no_answer") == -1
    header, cells, always = arm_rows(arm_results([made.entry], made.folder.parents[1]))
    assert always[0].startswith("(the most frequent target, ")
    assert "answers right" not in header
    assert cells[header.index("no answer")] == f"{scores['no_answer']:.4f}"
    assert "test answer_accuracy [95 %]" in header
    (tmp_path / "ask.csv").write_text("source\nw20 w41\nw21\n")
    command = ["run=predict", "study=s", f"results={tmp_path}/results", f"input={tmp_path}/ask.csv"]
    assert run_here(*command, f"output={tmp_path}/said.csv")[0] == 0
    assert list(rows_of(tmp_path / "said.csv")[0]) == ["item", "written", "answer"]


def test_sets_of_labels_that_are_exactly_right_are_no_texts(trained, tiny_base, tiny_data, compose_plain):  # noqa: F811
    from tests.tiny import words_of

    words = [*words_of(tiny_base, tiny_data), "task.answer=labels", "trainer.objective=exact", "lora.rank=2"]
    made = trained(*words)
    with open(made.folder / "metrics.csv", newline="") as file:
        columns = next(csv.reader(file))
    assert len(columns) == len(set(columns))
    assert "val_exact" in columns
    devices = ["trainer.devices=2", "trainer.strategy=ddp"]
    compose_plain(*words, *devices)
    tags = ["task=token_labels", "task.data=x.jsonl", "trainer.objective=f1"]
    compose_plain(*tags, *devices)


def test_what_cannot_be_measured_is_one_line(copies, compose_plain):
    words = [*copies, "model=small_t5"]
    wrong = {
        r"trainer\.objective=bleu: .* task\.generate_rows=0 has none written": ["task.generate_rows=0"],
        r"trainer\.devices=2: trainer\.objective=bleu needs all rows": ["trainer.devices=2", "trainer.strategy=ddp"],
    }
    for said, more in wrong.items():
        with pytest.raises(ConfigError, match=said) as error:
            compose_plain(*words, "trainer.objective=bleu", *more)
        assert len(error.value.args) == 1
    with pytest.raises(ConfigError, match=r"trainer\.objective=rouge: task=seq2seq has none"):
        compose_plain(*words, "trainer.objective=rouge")
    with pytest.raises(ConfigError, match=r"trainer\.objective=bleu: task=movie_snippets has none"):
        compose_plain("trainer.objective=bleu")
