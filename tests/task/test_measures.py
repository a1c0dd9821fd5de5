"""Every measure is scikit-learn's or SciPy's to the last digits, whatever the batches."""

import json

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from torch.nn import functional as F

from harness.config import ConfigError
from harness.config.tasks.base import CLASS_MEASURES, NUMBER_MEASURES
from harness.record import direction
from harness.task.intake.labels import label_set
from harness.task.measures import named_measure
from harness.task.metrics import (
    ClassMetrics,
    LabelSetMetrics,
    MeasuredMetrics,
    MeasureError,
    RegressionMetrics,
    TokenMetrics,
)


def shares(logits):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def ovr(score):
    def of(labels, logits):
        if logits.shape[1] == 2:
            return score(labels, logits[:, 1] - logits[:, 0])
        return np.mean([score(labels == c, shares(logits)[:, c]) for c in range(logits.shape[1])])

    return of


def guessed(score, **how):
    return lambda labels, logits: score(labels, logits.argmax(1), **how)


REFERENCES = {
    "accuracy": guessed(sklearn.metrics.accuracy_score),
    "loss": lambda labels, logits: sklearn.metrics.log_loss(labels, shares(logits), labels=range(logits.shape[1])),
    "balanced_accuracy": guessed(sklearn.metrics.balanced_accuracy_score),
    "f1": guessed(sklearn.metrics.f1_score),
    "f1_macro": guessed(sklearn.metrics.f1_score, average="macro"),
    "f1_micro": guessed(sklearn.metrics.f1_score, average="micro"),
    "matthews": guessed(sklearn.metrics.matthews_corrcoef),
    "auroc": ovr(sklearn.metrics.roc_auc_score),
    "average_precision": ovr(sklearn.metrics.average_precision_score),
}
NUMBERS = {
    "rmse": sklearn.metrics.root_mean_squared_error,
    "mae": sklearn.metrics.mean_absolute_error,
    "r2": sklearn.metrics.r2_score,
    "pearson": lambda labels, answers: scipy.stats.pearsonr(labels, answers)[0],
    "spearman": lambda labels, answers: scipy.stats.spearmanr(labels, answers)[0],
}


def scored(metrics, labels, outputs, size):
    for start in range(0, len(labels), size):
        metrics.update(outputs[start : start + size], {"labels": labels[start : start + size]})
    return metrics.compute_and_reset()


def measures(names, classes):
    return {name: measure for name in names if (measure := named_measure(name, classes)) is not None}


def test_there_is_a_reference_for_each():
    assert set(REFERENCES) == {"accuracy", "loss", *CLASS_MEASURES}
    assert set(NUMBERS) >= set(NUMBER_MEASURES)


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_measures_of_classes_are_scikit_learns(classes, size, seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(classes), torch.randint(0, classes, (150,), generator=draw)])
    logits = torch.randn(len(labels), classes, generator=draw) + F.one_hot(labels, classes) * 0.7
    logits = (logits * 4).round() / 4  # ties
    names = [name for name in REFERENCES if name != "f1" or classes == 2]
    found = scored(MeasuredMetrics(ClassMetrics(classes), measures(names, classes)), labels, logits, size)
    assert set(found) == set(names)
    for name in names:
        wanted = REFERENCES[name](labels.numpy(), logits.double().numpy())
        assert found[name] == pytest.approx(wanted, rel=1e-6, abs=1e-9), name


def test_a_class_that_is_neither_there_nor_answered_is_left_out_of_macro_f1_as_by_scikit_learn():
    labels, answers = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    logits = F.one_hot(answers, 4).float()
    for name in ("f1_macro", "balanced_accuracy", "matthews"):
        assert named_measure(name, 4)(labels, logits) == pytest.approx(REFERENCES[name](labels.numpy(), logits.numpy()))


def test_one_answer_for_all_has_no_correlation():
    logits = torch.tensor([[1.0, 0.0]] * 4)
    assert named_measure("matthews", 2)(torch.tensor([0, 1, 1, 0]), logits) == 0
    assert named_measure("f1", 2)(torch.tensor([0, 0, 0, 0]), logits) == 0
    assert named_measure("pearson", 0)(torch.tensor([1.0, 2.0]), torch.tensor([[3.0], [3.0]])) == 0


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("seed", range(3))
def test_measures_of_numbers_are_those_of_the_libraries(size, seed):
    draw = torch.Generator().manual_seed(seed)
    standard = torch.randn(100, generator=draw)
    answers = (standard + torch.randn(100, generator=draw)).mul(4).round().div(4)[:, None]
    found = scored(MeasuredMetrics(RegressionMetrics(5.0, 3.0), measures(NUMBER_MEASURES, 0)), standard, answers, size)
    labels, guesses = standard.double().numpy() * 3 + 5, answers[:, 0].double().numpy() * 3 + 5
    for name, reference in NUMBERS.items():
        assert found[name] == pytest.approx(reference(labels, guesses), rel=1e-6), name


def test_a_curve_without_a_class_is_an_error_that_names_the_measure():
    metrics = MeasuredMetrics(ClassMetrics(3), measures(["auroc"], 3))
    metrics.update(torch.randn(4, 3), {"labels": torch.tensor([0, 1, 1, 0])})
    with pytest.raises(MeasureError, match=r"trainer\.objective=auroc: ValueError: the split has no row of class 2"):
        metrics.compute_and_reset()


def test_f1_is_of_two_classes():
    with pytest.raises(ConfigError, match=r"trainer\.objective=f1: of two classes, here are 3; such as f1_macro"):
        named_measure("f1", 3)


def test_errors_are_better_lower_and_all_else_higher():
    lower = {name for name in (*REFERENCES, *NUMBERS, *TokenMetrics.names) if direction(name) < 0}
    assert lower == {"loss", "rmse", "mae", "perplexity"}


def test_a_trial_is_chosen_by_the_measure_that_is_asked_for(compose, tmp_path, own_cache):
    from harness.trial import TrialContext
    from harness.trial.run import run_trial

    heard = []
    config = compose("trainer.objective=matthews", "trainer.measures=[f1_macro,auroc]", "trainer.max_steps=8")
    context = TrialContext("s", 0, "arm", tmp_path / "s/trials/0000", test=True)
    context.folder.mkdir(parents=True)
    entry = run_trial(config, context, lambda step, scores: bool(heard.append((step, scores["matthews"]))))
    assert entry.state == "complete", entry.reason
    assert set(entry.scores["test"]) == {"accuracy", "loss", "matthews", "f1_macro", "auroc"}
    assert entry.scores["val"]["matthews"] == max(score for _, score in heard)
    assert (tmp_path / "s/splits.csv").exists()


def test_answers_keep_the_names_of_items_and_classes(compose, tmp_path, own_cache):
    import csv

    from harness.task import build_task
    from harness.trial import TrialContext
    from harness.trial.run import run_trial

    rows = [
        ("the film is bright" if i % 2 else "a story is dull", f"in town {i}", "warm" if i % 2 else "cold")
        for i in range(60)
    ]
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "other", "label"), *rows])
    config = compose(
        f"task.data={tmp_path}/pairs.csv", "task.text_pair=other", "task.cut=stratified", "trainer.max_steps=8"
    )
    folder = tmp_path / "s/trials/0000"
    folder.mkdir(parents=True)
    entry = run_trial(config, TrialContext("s", 0, "arm", folder, test=True), lambda step, scores: False)
    assert entry.state == "complete", entry.reason
    with open(folder / "answers.csv", newline="") as file:
        answers = list(csv.DictReader(file))
    test = build_task(config.task).splits["test"]
    assert [row["item"] for row in answers] == [" | ".join(row) for row in zip(test.texts, test.pairs, strict=True)]
    assert [row["label"] for row in answers] == [("cold", "warm")[int(label)] for label in test.labels]
    for row in answers:
        shares = {name: float(row[f"p({name})"]) for name in ("cold", "warm")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(shares, key=shares.get)
    right = sum(row["label"] == row["predicted"] for row in answers)
    assert entry.scores["test"]["accuracy"] == pytest.approx(right / len(answers))
    with open(folder / "confusion.csv", newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["label, taken for", "cold", "warm"]
    assert sum(int(cell) for row in table[1:] for cell in row[1:]) == len(answers)
    assert int(table[1][1]) + int(table[2][2]) == right


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("seed", range(3))
def test_measures_of_several_labels_are_scikit_learns(size, seed):
    draw = torch.Generator().manual_seed(seed)
    labels = (torch.rand(100, 5, generator=draw) < 0.3).float()
    labels[:, 4] = 0  # a class that no row has
    logits = torch.randn(100, 5, generator=draw) + labels
    found = scored(LabelSetMetrics(5), labels, logits, size)
    answers, chances = (logits > 0).numpy(), logits.double().sigmoid().numpy()
    for average in ("micro", "macro"):
        wanted = sklearn.metrics.f1_score(labels.numpy(), answers, average=average, zero_division=0)
        assert found[f"f1_{average}"] == pytest.approx(wanted)
    assert found["exact"] == pytest.approx(sklearn.metrics.accuracy_score(labels.numpy(), answers))
    by_class = [sklearn.metrics.log_loss(labels[:, c].numpy(), chances[:, c], labels=[0, 1]) for c in range(5)]
    assert found["loss"] == pytest.approx(np.mean(by_class), rel=1e-6)


def test_several_labels_a_row_are_learned_and_chance_is_said(compose, tmp_path, own_cache):
    from harness.task import build_task
    from harness.trial import TrialContext
    from harness.trial.run import run_trial

    rows = []
    for i in range(120):
        text = f"the film is {'bright' if i % 2 else 'dull'} {'music' if i % 3 else 'people'} {i}"
        rows.append((text, [name for name, has in (("good", i % 2), ("loud", i % 3)) if has]))
    path = tmp_path / "sets.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    words = [f"task.data={path}", "task.answer=labels", "trainer.objective=f1_micro", "trainer.max_steps=150"]
    config = compose(*words, "trainer.epochs=30.0", "optimizer.lr=0.03", "optimizer.head_lr=0.1")
    folder = tmp_path / "s/trials/0000"
    folder.mkdir(parents=True)
    entry = run_trial(config, TrialContext("s", 0, "arm", folder, test=True), lambda step, scores: False)
    assert entry.state == "complete", entry.reason
    told = build_task(config.task).describe()
    assert told["classes"] == ["good", "loud"]
    counts = [sum(told["labels"][split][number] for split in told["labels"]) for number in (0, 1)]
    assert counts == [60, 80]
    assert told["usual_labels"]["labels"] == ["loud"]
    assert entry.scores["test"]["f1_micro"] > 0.9 > told["usual_labels"]["test"]


@pytest.mark.parametrize("cell", ["a,b", "['a', 'b']", '["a", "b"]', " a , b,", ["a", "b"], ("b", "a", "a")])
def test_several_labels_are_read_however_they_are_written(cell):
    assert label_set(cell, ",") == ("a", "b")
