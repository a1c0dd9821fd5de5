"""What is scored without having learned anything, against scikit-learn's dummies and sacrebleu."""

import csv
import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import sacrebleu
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier, DummyRegressor

from harness.task import ContinualTask, MixtureTask, build_task
from harness.task.build import read_task
from harness.task.choice_metrics import ChoiceMetrics
from harness.task.constants import of_classes, of_options, of_sets, of_tags, scored
from harness.task.metrics import LabelSetMetrics
from harness.task.tag_metrics import TagMetrics
from harness.trial.constants import constant_lines, constant_scores

WORDS = ["fine", "dull", "warm", "cold", "long", "short", "loud", "calm"]


def write(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def texts(count):
    draw = random.Random(1)
    return [f"{' '.join(draw.sample(WORDS, 3))} film number {index}" for index in range(count)]


def settings(objective, *measures):
    return SimpleNamespace(objective=objective, measures=measures, text_measures=("bleu", "chrf", "rouge_l"))


OF_CLASSES = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "f1_macro": lambda *both: sk.f1_score(*both, average="macro"),
    "f1_micro": lambda *both: sk.f1_score(*both, average="micro"),
    "matthews": sk.matthews_corrcoef,
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.filterwarnings("ignore")  # a class that is never predicted
def test_of_classes_every_measure_is_that_of_scikit_learn_s_dummy(classes, compose, tmp_path):
    draw = random.Random(0)
    rows = [(text, draw.choices("abc"[:classes], [5, 2, 2][:classes])[0]) for text in texts(300)]
    task = build_task(compose(f"task.data={write(tmp_path / 'c.csv', ('text', 'label'), rows)}").task)
    two = ("f1",) if classes == 2 else ()
    found = constant_scores(task, settings("accuracy", *OF_CLASSES, "auroc", "average_precision", *two), {})
    train = np.array(task.labels("train"))
    most = found["always answering the most frequent class, a"]
    for split in ("validation", "test"):
        labels = np.array(task.labels(split))
        dummy = DummyClassifier(strategy="prior").fit(train[:, None], train)
        said, shares = dummy.predict(labels[:, None]), dummy.predict_proba(labels[:, None])
        for name, score in OF_CLASSES.items():
            assert most[split][name] == pytest.approx(score(labels, said)), name
        assert most[split]["loss"] == pytest.approx(sk.log_loss(labels, shares, labels=range(classes)), rel=1e-5)
        assert most[split]["auroc"] == pytest.approx(0.5)
        each = [sk.average_precision_score(labels == number, shares[:, number]) for number in range(classes)]
        assert most[split]["average_precision"] == pytest.approx(each[1] if classes == 2 else np.mean(each))
        if classes == 2:
            always = DummyClassifier(strategy="constant", constant=1).fit(train[:, None], [0, 1] * (len(train) // 2))
            f1 = sk.f1_score(labels, always.predict(labels[:, None]))
            assert found["always answering the class b"][split]["f1"] == pytest.approx(f1)
            assert most[split]["f1"] == 0.0


def test_of_numbers_the_mean_and_the_median_are_scikit_learn_s(compose, tmp_path):
    draw = random.Random(0)
    rows = [(text, f"{draw.expovariate(0.3):.4f}") for text in texts(300)]
    data = write(tmp_path / "n.csv", ("text", "label"), rows)
    task = build_task(compose(f"task.data={data}", "task.answer=number", "trainer.objective=mae").task)
    found = constant_scores(task, settings("mae", "pearson", "spearman"), {})
    train, test = (np.array(task.labels(split)) for split in ("train", "test"))
    for strategy in ("mean", "median"):
        said = DummyRegressor(strategy=strategy).fit(train[:, None], train).predict(test[:, None])
        ((_, scores),) = [item for item in found.items() if strategy in item[0]]
        assert scores["test"]["rmse"] == pytest.approx(sk.root_mean_squared_error(test, said), rel=1e-5)
        assert scores["test"]["mae"] == pytest.approx(sk.mean_absolute_error(test, said), rel=1e-5)
        assert scores["test"]["r2"] == pytest.approx(sk.r2_score(test, said), rel=1e-4, abs=1e-6)
        assert (scores["test"]["pearson"], scores["test"]["spearman"]) == (0, 0)
    for name in ("mae", "rmse", "r2"):
        best = (max if name == "r2" else min)(found, key=lambda said: found[said]["validation"][name])
        (line,) = constant_lines(task, settings(name), {})
        assert line.startswith(f"best by {name} without having learned anything: {best}, ")
        assert line.endswith(f"{found[best]['test'][name]:.4f} on test")


@pytest.mark.filterwarnings("ignore")
def test_of_several_labels_a_constant_set_scores_as_scikit_learn_has_it(compose, tmp_path):
    draw = random.Random(0)
    often = {"a": 0.7, "b": 0.4, "c": 0.1}
    rows = [(text, json.dumps([name for name in often if draw.random() < often[name]])) for text in texts(300)]
    data = write(tmp_path / "s.csv", ("text", "label"), rows)
    config = compose(f"task.data={data}", "task.answer=labels", "trainer.objective=f1_macro")
    task = build_task(config.task)
    found = constant_scores(task, settings("f1_macro"), {})
    answers = {"always answering the label a": [1, 0, 0], "always answering every label": [1, 1, 1]}
    assert answers.keys() <= found.keys()
    for split in ("validation", "test"):
        labels = np.array([[number in row for number in range(3)] for row in task.labels(split)], dtype=int)
        for said, answer in answers.items():
            told = np.tile(answer, (len(labels), 1))
            for name in ("macro", "micro"):
                assert found[said][split][f"f1_{name}"] == pytest.approx(sk.f1_score(labels, told, average=name))
            assert found[said][split]["exact"] == pytest.approx(sk.accuracy_score(labels, told))
    assert "every label" in constant_lines(task, settings("f1_macro"), {})[0]
    assert isinstance(task.metrics(), LabelSetMetrics)


def test_of_pairs_the_copy_and_the_usual_target_score_as_sacrebleu_has_it(compose_plain, tmp_path):
    rows = [(text, "the same" if index % 3 else text.upper()) for index, text in enumerate(texts(300))]
    data = write(tmp_path / "p.csv", ("source", "target"), rows)
    task = build_task(
        compose_plain("task=seq2seq", "model=t5_small", f"task.data={data}", "trainer.objective=loss").task
    )
    found = constant_scores(task, settings("bleu", "rouge_l"), {})
    held = task.splits["test"]
    usual = found["always writing the most frequent target, 'the same'"]["test"]
    for scores, written in (
        (found["copying the source"]["test"], list(held.sources)),
        (usual, ["the same"] * len(held.targets)),
    ):
        wanted = [list(held.targets)[: len(written)]]
        count = min(task.generate_rows, len(written))
        written, wanted = written[:count], [wanted[0][:count]]
        assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, wanted).score)
        assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, wanted).score)
    assert usual["exact"] == pytest.approx(np.mean([text == "the same" for text in wanted[0]]))


def test_of_tags_all_tokens_have_the_most_frequent_one():
    draw = np.random.default_rng(0)
    rows = [draw.choice(3, draw.integers(1, 9), p=(0.7, 0.2, 0.1)).tolist() for _ in range(300)]
    (said, batches), _ = of_tags(rows, rows, ("O", "B-X", "I-X")).items()
    found = scored(TagMetrics(("O", "B-X", "I-X"), 0, with_spans=True), batches)
    flat = np.concatenate(rows)
    shares = np.bincount(flat) / len(flat)
    assert said == "always answering the most frequent tag, O"
    assert (found["f1"], found["accuracy"]) == (0.0, pytest.approx(shares[0]))
    assert found["loss"] == pytest.approx(sk.log_loss(flat, np.tile(shares, (len(flat), 1))), rel=1e-5)


def test_of_options_the_place_that_is_right_most_often_is_answered():
    counts = [3, 4, 2, 4, 3]
    ((said, batches),) = of_options([1, 1, 2], [1, 3, 1, 0, 1], counts).items()
    found = scored(ChoiceMetrics(4), batches)
    assert said == "always answering the most frequent place, option 2"
    assert (found["accuracy"], found["accuracy_norm"]) == (3 / 5, 3 / 5)


def test_of_several_tasks_each_has_a_constant_answer(compose, tmp_path):
    draw = random.Random(0)
    classes = [(text, draw.choice("aab")) for text in texts(200)]
    numbers = [(f"{text} again", f"{draw.random():.3f}") for text in texts(200)]
    parts = {}
    for name, rows, words in (
        ("classes", classes, ["task.answer=class"]),
        ("numbers", numbers, ["task.answer=number", "trainer.objective=loss"]),
    ):
        data = write(tmp_path / f"{name}.csv", ("text", "label"), rows)
        parts[name] = read_task(compose(f"task.data={data}", *words).task)
    alone = {name: constant_scores(part, settings("loss"), {}) for name, part in parts.items()}
    first = {name: next(iter(found.values()))["test"] for name, found in alone.items()}
    ((_, found),) = constant_scores(MixtureTask("m", parts, "by_size"), settings("score"), {}).items()
    assert found["test"]["classes/accuracy"] == pytest.approx(first["classes"]["accuracy"])
    assert found["test"]["numbers/rmse"] == pytest.approx(first["numbers"]["rmse"])
    assert found["test"]["score"] == pytest.approx((first["classes"]["accuracy"] + first["numbers"]["r2"]) / 2)
    two = {"one": parts["classes"], "two": parts["classes"]}
    ((_, found),) = constant_scores(ContinualTask("c", two, True, "naive"), settings("accuracy"), {}).items()
    assert found["test"]["accuracy"] == pytest.approx(first["classes"]["accuracy"])


@pytest.mark.parametrize("seed", range(4))
def test_no_answer_of_the_most_frequent_labels_has_a_better_f1_in_training(seed):
    draw = np.random.default_rng(seed)
    train = (draw.random((200, 8)) < draw.uniform(0.02, 0.6, 8)).astype(np.float32)
    order = np.argsort(-train.sum(0))
    best = 0.0
    for count in range(1, 9):
        said = np.zeros_like(train)
        said[:, order[:count]] = 1
        best = max(best, sk.f1_score(train, said, average="micro"))
    found = of_sets(train, train, list("abcdefgh"))
    scores = [scored(LabelSetMetrics(8), batches)["f1_micro"] for batches in found.values()]
    assert max(scores) == pytest.approx(best, abs=1e-6)


def test_a_tag_that_begins_a_span_is_an_answer_too():
    names = ("O", "B-X", "I-X", "B-Y")
    rows = [[0, 0, 1, 0], [1, 0], [3, 0, 0]]
    found = of_tags(rows, rows, names)
    assert list(found) == [
        f"always answering {which}" for which in ("the most frequent tag, O", "the tag B-X", "the tag B-Y")
    ]
    # All nine tokens are spans of X; two of them are, of three in all.
    assert scored(TagMetrics(names, 0, with_spans=True), found["always answering the tag B-X"])["f1"] == pytest.approx(
        2 * 2 / (9 + 3)
    )


def test_of_classes_that_are_as_frequent_the_first_in_training_is_the_answer():
    (said, *_) = of_classes([1, 0, 0, 1], [0], ("no", "yes"))
    assert said == "always answering the most frequent class, yes"
