"""Measures that are no mean over rows: against scikit-learn and SciPy, and in worlds where all arms are alike."""

import csv
import dataclasses

import numpy as np
import pytest
import sacrebleu
import torch
from scipy import special, stats
from sklearn import metrics

from harness.report import two_level
from harness.report.confirmed import confirmation
from harness.report.confirmed import section as section_of
from harness.report.group_values import (
    GROUPS,
    group_values,
    groups_of,
    of_classes,
    of_numbers,
    of_sets,
    of_shares,
    of_tags,
    of_texts,
    perplexity,
)
from harness.report.two_level import compare, critical
from harness.task.metrics import LabelSetMetrics
from harness.task.tag_metrics import TagMetrics
from tests.report.test_confirmed import SEEDS, again, searched
from tests.report.test_two_level import TEXT, kinds_of, world

OF_CLASSES = {
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "f1": metrics.f1_score,
    "f1_macro": lambda labels, said: metrics.f1_score(labels, said, average="macro"),
    "f1_micro": lambda labels, said: metrics.f1_score(labels, said, average="micro"),
    "matthews": metrics.matthews_corrcoef,
}
OF_NUMBERS = {
    "mae": metrics.mean_absolute_error,
    "rmse": metrics.root_mean_squared_error,
    "r2": metrics.r2_score,
    "pearson": lambda labels, said: stats.pearsonr(labels, said).statistic,
    "spearman": lambda labels, said: stats.spearmanr(labels, said).statistic,
}


def without_each(measure, groups, *columns):
    """A measure of all rows and without each group, each time from the rows."""
    kept = [np.full(len(groups), True), *(groups != each for each in range(groups.max() + 1))]
    return [measure(*(column[rows] for column in columns)) for rows in kept]


@pytest.mark.parametrize(("name", "classes"), [(name, 5) for name in OF_CLASSES if name != "f1"] + [("f1", 2)])
def test_measures_of_classes_without_a_group_are_scikit_learns(name, classes):
    draw = np.random.default_rng(0)
    labels = draw.choice(classes, 90, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    predicted = np.where(draw.random(90) < 0.7, labels, draw.integers(0, classes, 90))
    groups = groups_of(90) % 20
    found = of_classes(name, labels, predicted, groups)
    assert found == pytest.approx(without_each(OF_CLASSES[name], groups, labels, predicted), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", ["auroc", "average_precision"])
def test_measures_of_an_order_of_rows_without_a_group_are_scikit_learns(name, classes):
    draw = np.random.default_rng(1)
    labels = draw.integers(0, classes, 80)
    shares = special.softmax(np.round(draw.normal(0, 1, (80, classes)) + np.eye(classes)[labels], 1), axis=1)  # ties
    score = {"auroc": metrics.roc_auc_score, "average_precision": metrics.average_precision_score}[name]

    def truth(labels, shares):
        if classes == 2:
            return score(labels, np.round(np.log(shares[:, 1] / shares[:, 0]), 6))
        return np.mean([score(labels == each, shares[:, each]) for each in range(classes)])

    groups = groups_of(80) % 20
    shares = shares if classes > 2 else np.exp(np.round(np.log(shares / shares[:, :1]), 6))
    assert of_shares(name, labels, shares, groups) == pytest.approx(without_each(truth, groups, labels, shares))


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_measures_of_numbers_without_a_group_are_sklearns_and_scipys(name):
    draw = np.random.default_rng(2)
    labels = 1e4 + np.round(draw.normal(0, 2, 90), 1)
    predicted = labels + draw.normal(0.3, 1, 90)
    groups = groups_of(90) % 20
    found = of_numbers(name, labels, predicted, groups)
    assert found == pytest.approx(without_each(OF_NUMBERS[name], groups, labels, predicted), abs=1e-8)


def test_perplexity_without_a_group_is_over_the_tokens_that_are_left():
    draw = np.random.default_rng(3)
    tokens, groups = draw.integers(1, 9, 60), groups_of(60) % 20
    nats = draw.gamma(2, 1, 60) * tokens
    truth = without_each(lambda nats, tokens: np.exp(nats.sum() / tokens.sum()), groups, nats, tokens)
    assert perplexity(nats, tokens, groups) == pytest.approx(truth)


TAGS = ("O", "B-PER", "I-PER", "B-LOC")


def tagged(draw, rows, right=0.8):
    """What tag metrics read of rows of up to nine tokens, and the outputs for them, of which so many are right."""
    tags = torch.from_numpy(draw.choice(4, (rows, 9), p=(0.5, 0.2, 0.2, 0.1)))
    tags[torch.arange(9) >= torch.from_numpy(draw.integers(1, 10, (rows, 1)))] = -100
    places = torch.where(tags == -100, -2, torch.arange(9).expand_as(tags))
    said = torch.where(torch.from_numpy(draw.random((rows, 9)) < right), tags.clamp(min=0), 0)
    return torch.nn.functional.one_hot(said, 4).float(), {"labels": tags, "tags": tags, "places": places}


def in_sets(draw, rows, right=0.8):
    """Labels of rows that have some of four classes, one of them none at all, and the outputs for them."""
    there = draw.random((rows, 4)) < (0.6, 0.3, 0.1, 0.0)
    said = np.where(draw.random((rows, 4)) < right, there, ~there & (np.arange(4) < 3))
    return torch.from_numpy(np.where(said, 3.0, -3.0)), {"labels": torch.from_numpy(there.astype(np.float32))}


TALLIED = {
    "f1": (tagged, lambda: TagMetrics(TAGS, 0, with_spans=True)),
    "precision": (tagged, lambda: TagMetrics(TAGS, 0, with_spans=True)),
    "recall": (tagged, lambda: TagMetrics(TAGS, 0, with_spans=True)),
    "accuracy": (tagged, lambda: TagMetrics(TAGS, 0, with_spans=False)),
    "f1_micro": (in_sets, lambda: LabelSetMetrics(4)),
    "f1_macro": (in_sets, lambda: LabelSetMetrics(4)),
}


@pytest.mark.parametrize("name", TALLIED)
def test_without_a_group_measures_of_tags_and_sets_are_what_is_recorded_of_the_other_rows(name):
    make_rows, make_metrics = TALLIED[name]
    outputs, batch = make_rows(np.random.default_rng(5), 60)
    scored = make_metrics()
    rows = scored.update(outputs, batch).numpy()
    assert rows.shape[1] == len(scored.columns)
    groups = groups_of(60) % 15

    def recorded(chosen):
        metric = make_metrics()
        metric.update(outputs[chosen], {key: values[chosen] for key, values in batch.items()})
        return metric.compute_and_reset()[name]

    found = (
        of_tags(name, rows[:, 2:], groups) if make_rows is tagged else of_sets(name, rows[:, 3:].astype(int), groups)
    )
    assert found == pytest.approx(without_each(recorded, groups, np.arange(60)), abs=1e-12)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_scores_of_texts_without_a_group_are_sacrebleus_of_the_other_texts(name):
    draw = np.random.default_rng(6)
    wanted = np.array([" ".join(draw.choice(["the", "film", "is", "a", "Story!", "of"], 9)) for _ in range(40)])
    written = np.array([text if draw.random() < 0.3 else text[draw.integers(0, 20) :] for text in wanted])
    groups = groups_of(40) % 10
    score = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}[name]
    truth = without_each(lambda said, other: score(list(said), [list(other)]).score, groups, written, wanted)
    assert of_texts(name, written, wanted, groups) == pytest.approx(truth, abs=1e-9)


@pytest.mark.parametrize("rows", [50, 1_272])
def test_groups_of_a_mean_are_worth_their_sums(rows):
    values, groups = np.random.default_rng(4).normal(3, 1, rows), groups_of(rows)
    count = min(rows, GROUPS)
    found = group_values(np.array(without_each(np.mean, groups, values)), groups)
    sums = np.array([(values[groups == each] - values.mean()).sum() for each in range(count)])
    assert found == pytest.approx(values.mean() + count / rows * sums)
    assert found.mean() == pytest.approx(values.mean())


@pytest.fixture
def coarse(monkeypatch):
    monkeypatch.setattr(two_level, "critical", lambda count, free: critical(count, float(f"{min(free, 1e6):.2g}")))


def matthews_of(right, labels):
    return of_classes("matthews", labels, np.where(right > 0, labels, 1 - labels), groups_of(len(labels)))


def auroc_of(scores, labels):
    return of_shares("auroc", labels, special.expit(np.stack([-scores, scores], 1)), groups_of(len(labels)))


def scored(draw, seeds, items):
    """Scores of rows by four equal arms: some rows are hard for all, and runs tell classes apart better or worse."""
    labels = draw.integers(0, 2, items)
    lifts = draw.normal(0.83, 0.021, (4, seeds, 1))  # an AUROC of 0.88, which moves by 0.6 points
    noise = np.sqrt(0.7) * draw.normal(size=items) + np.sqrt(0.3) * draw.normal(size=(4, seeds, items))
    return labels, {str(arm): values for arm, values in enumerate((2 * labels - 1) * lifts + noise)}


def false_calls(measure, studies, seeds, items):
    """The share of studies of four equal arms that call one better or worse."""
    draw, false = np.random.default_rng(6), 0
    for _ in range(studies):
        labels, runs = draw.integers(0, 2, items), {}
        if measure is auroc_of:
            labels, runs = scored(draw, seeds, items)
        elif measure is spans_of:
            runs = with_spans(draw, seeds, items)
        else:
            runs = world(draw, [0.0] * 4, seeds, TEXT, items=items)
        groups = groups_of(items)
        values = {
            arm: np.array([group_values(measure(run, labels), groups) for run in each]) for arm, each in runs.items()
        }
        gaps = compare(values, "0", kinds_of(4)).values()
        false += any(gap.verdict(0.01) in ("better", "worse") for gap in gaps)
    return false / studies


def spans_of(counts, _):
    return of_tags("f1", counts, groups_of(len(counts)))


def with_spans(draw, seeds, items):
    """Spans of rows that are right, found and there, by four arms that are equal, though not on the same spans."""
    there = 1 + draw.poisson(1.5, items)
    hits = world(draw, [0.0] * 4, seeds, TEXT, items=there.sum(), between=0.0096)
    starts, runs = np.cumsum(there) - there, {}
    for arm, values in hits.items():
        right = np.add.reduceat(values, starts, axis=1)
        found = right + draw.binomial((there - right).astype(int), 0.5)
        tokens = np.zeros((*right.shape, 2))
        counts = np.stack([right, found, np.broadcast_to(there, right.shape)], -1)
        runs[arm] = np.concatenate([counts, tokens], -1)
    return runs


@pytest.mark.parametrize("measure", [matthews_of, auroc_of, spans_of])
@pytest.mark.parametrize(("seeds", "items"), [(3, 200), (8, 200), (3, 1_272)])
def test_equal_arms_are_seldom_called_different_by_a_measure_that_is_no_mean(measure, seeds, items, coarse):
    studies = 150
    assert false_calls(measure, studies, seeds, items) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)


@pytest.fixture
def study(tmp_path):
    """Full fine-tuning and rank 8, of which rank 8 answers fewer rows rightly; a measure is recorded of each trial."""

    def make_study(name, score, rows=300):
        draw = np.random.default_rng(7)
        labels = draw.integers(0, 2, rows)
        records = []
        for place, (arm, share) in enumerate({"full": 0.9, "rank=8": 0.7}.items()):
            chosen = searched(place, arm, "full" if arm == "full" else "lora", 0.8, 10 * place)
            chosen = dataclasses.replace(chosen, objective=name, scores={"val": {name: 0.8}})
            records.append(chosen)
            for seed in SEEDS:
                predicted = np.where(draw.random(rows) < share, labels, 1 - labels)
                found = {name: float(score(labels, predicted))}
                entry = dataclasses.replace(again(chosen, place, seed, [1]), scores={"val": {name: 0.8}, "test": found})
                path = tmp_path / f"trials/{entry.trial:04d}/predictions.csv"
                path.parent.mkdir(parents=True)
                lines = [
                    f"{row},{label},{said}\n" for row, (label, said) in enumerate(zip(labels, predicted, strict=True))
                ]
                path.write_text("row,label,predicted\n" + "".join(lines))
                records.append(entry)
        return records

    return make_study


def test_a_confirmation_by_a_measure_that_is_no_mean_counts_test_rows(study, tmp_path):
    records = study("matthews", metrics.matthews_corrcoef)
    found = confirmation(records, tmp_path, margin=0.01)
    assert (found.over_items, found.items, found.groups) == (True, 300, GROUPS)
    (adapter,) = [each for each in found.arms if each.arm == "rank=8"]
    assert adapter.verdict == "worse"
    recorded = [entry.score("test", "matthews") for entry in adapter.runs]
    assert adapter.mean.mean == pytest.approx(np.mean(recorded))
    assert "matthews is no mean over test rows: each of 200 groups of them counts by what it adds." in section_of(found)
    assert "and 300 test rows a difference" in section_of(found)


def test_where_predictions_do_not_give_the_recorded_measure_seeds_alone_count_and_the_report_says_so(study, tmp_path):
    records = study("matthews", lambda labels, said: metrics.matthews_corrcoef(labels, said) + 0.001)
    found = confirmation(records, tmp_path, margin=0.01)
    assert not found.over_items
    given = records[1].score("test", "matthews")
    trial = records[1].trial
    told = f"Test rows are not counted: predictions of trial {trial} give {given - 0.001:.6f}, its record {given:.6f}."
    assert told in section_of(found)


@pytest.mark.parametrize("name", ["bleu", "chrf", "f1", "f1_macro"])
def test_texts_spans_and_sets_count_row_by_row(name, study, tmp_path):
    records, draw = study(name, lambda labels, said: 0.0), np.random.default_rng(9)
    kept = []
    for entry in records:
        if entry.phase == "confirm":
            folder = tmp_path / f"trials/{entry.trial:04d}"
            right = 0.9 if entry.arm == "full" else 0.5
            if name in ("bleu", "chrf"):
                wanted = [f'the "film", number {row} of {row % 7} is here' for row in range(300)]
                written = [text if draw.random() < right else "the film is number 3, here" for text in wanted]
                value = getattr(sacrebleu, f"corpus_{name}")(written, [wanted]).score
                with open(folder / "written.csv", "w", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerows(
                        [("row", "written", "wanted"), *zip(range(300), written, wanted, strict=True)]
                    )
            else:
                make_rows, make_metrics = TALLIED[name]
                metric = make_metrics()
                rows = metric.update(*make_rows(draw, 300, right)).tolist()
                value = metric.compute_and_reset()[name]
                lines = [",".join(map(str, (number, *row))) for number, row in enumerate(rows)]
                (folder / "predictions.csv").write_text("\n".join([",".join(("row", *metric.columns)), *lines]) + "\n")
            entry = dataclasses.replace(entry, scores={**entry.scores, "test": {name: value}})
        kept.append(entry)
    found = confirmation(kept, tmp_path, margin=0.01)
    assert (found.over_items, found.items, found.groups, found.seeds_alone) == (True, 300, GROUPS, "")
    (adapter,) = [each for each in found.arms if each.arm == "rank=8"]
    assert adapter.verdict == "worse"
    assert adapter.mean.mean == pytest.approx(np.mean([entry.score("test", name) for entry in adapter.runs]))


def test_a_measure_of_the_users_own_is_called_that_and_no_other_is(study, tmp_path):
    records = study("package.module:Name", metrics.matthews_corrcoef)
    assert "not counted: package.module:Name is a measure of the user's own." in section_of(
        confirmation(records, tmp_path, margin=0.01)
    )


def test_missing_predictions_are_named(study, tmp_path):
    records = study("f1_macro", OF_CLASSES["f1_macro"])
    path = tmp_path / f"trials/{records[1].trial:04d}/predictions.csv"
    path.unlink()
    told = section_of(confirmation(records, tmp_path, margin=0.01))
    assert f"Test rows are not counted: predictions of trial {records[1].trial} are missing." in told


def test_an_area_is_judged_by_the_probabilities_that_were_written(study, tmp_path):
    records = study("auroc", lambda labels, said: 0.0)
    draw = np.random.default_rng(8)
    written = []
    for entry in records:
        if entry.phase == "confirm":
            folder = tmp_path / f"trials/{entry.trial:04d}"
            labels = np.loadtxt(folder / "predictions.csv", delimiter=",", skiprows=1, usecols=1)
            shares = special.expit(draw.normal(0, 1, 300) + labels)
            lines = [f'"a, b",no,no,{1 - share:.9g},{share:.9g}\n' for share in shares]
            (folder / "answers.csv").write_text("item,label,predicted,p(no),p(yes)\n" + "".join(lines))
            entry = dataclasses.replace(
                entry, scores={**entry.scores, "test": {"auroc": metrics.roc_auc_score(labels, shares)}}
            )
        written.append(entry)
    found = confirmation(written, tmp_path, margin=0.01)
    assert (found.over_items, found.groups) == (True, GROUPS)
