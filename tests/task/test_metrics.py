"""Scores of numbers and of several tasks, against their definitions over all examples at once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import ConfigError
from harness.task.metrics import LabelSetMetrics
from harness.training import ClassMetrics, MixtureMetrics, RegressionMetrics, TokenMetrics


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(-5, 5), st.floats(0.1, 9))
def test_numbers_are_scored_in_their_own_unit_whatever_the_batches(seed, mean, sd):
    torch.manual_seed(seed)
    labels, guess = torch.randn(17), torch.randn(17, 1)
    metrics = RegressionMetrics(mean, sd)
    rows = [metrics.update(guess[a:b], {"labels": labels[a:b]}) for a, b in ((0, 3), (3, 17))]
    truth, said = (labels.double().numpy() * sd + mean, guess[:, 0].double().numpy() * sd + mean)
    assert np.allclose(torch.cat(rows).numpy(), np.stack([truth, said], 1))
    scores = metrics.compute_and_reset()
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean((truth - said) ** 2)))
    assert scores["r2"] == pytest.approx(1 - np.sum((truth - said) ** 2) / np.sum((truth - truth.mean()) ** 2))
    assert scores["loss"] == pytest.approx(np.mean((truth - said) ** 2) / sd**2)


@pytest.mark.parametrize(("labels", "guess"), [
    ([7.3] * 20, [7.0] * 20),
    ([7.3] * 20, [7.3] * 20),
    ([-1.4 + i * 1e-9 for i in range(20)], [-1.4] * 20),
    ([1e6 + i / 1e3 for i in range(20)], [1e6] * 20),
])  # fmt: skip
def test_r2_of_numbers_that_hardly_differ_is_that_of_scikit_learn(labels, guess):
    from sklearn.metrics import r2_score

    metrics = RegressionMetrics(0.0, 1.0)
    truth, said = torch.tensor(labels, dtype=torch.float64), torch.tensor(guess, dtype=torch.float64)
    for part in (slice(0, 7), slice(7, 20)):
        metrics.update(said[part].unsqueeze(1), {"labels": truth[part]})
    shifted = truth.numpy() - labels[0], said.numpy() - labels[0]  # or NumPy's mean of equal numbers is not theirs
    assert metrics.compute_and_reset()["r2"] == pytest.approx(r2_score(*shifted), rel=1e-5)


def test_r2_of_a_single_number_is_none():
    metrics = RegressionMetrics(0.0, 1.0)
    metrics.update(torch.zeros(1, 1), {"labels": torch.ones(1)})
    assert np.isnan(metrics.compute_and_reset()["r2"])


def test_each_task_has_scores_of_its_own_and_the_whole_is_their_mean():
    metrics = MixtureMetrics({"a": ClassMetrics(2), "b": RegressionMetrics(0.0, 2.0)})
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    numbers, answers = torch.randn(4, 1), torch.randn(4)
    rows = metrics.update(logits, {"labels": labels, "tasks": torch.zeros(5, dtype=torch.long)})
    assert rows[:, 0].tolist() == [0] * 5
    assert rows[:, 2].tolist() == logits.argmax(-1).tolist()
    metrics.update(numbers, {"labels": answers, "tasks": torch.ones(4, dtype=torch.long)})
    alone = ClassMetrics(2), RegressionMetrics(0.0, 2.0)
    alone[0].update(logits, {"labels": labels})
    alone[1].update(numbers, {"labels": answers})
    classes, values = alone[0].compute_and_reset(), alone[1].compute_and_reset()
    scores = metrics.compute_and_reset()
    assert set(scores) == set(metrics.names)
    assert scores["score"] == pytest.approx((classes["accuracy"] + values["r2"]) / 2)
    assert scores["loss"] == pytest.approx((classes["loss"] + values["loss"]) / 2)
    assert scores["a/accuracy"] == classes["accuracy"]
    assert scores["b/rmse"] == values["rmse"]


def test_several_labels_count_by_their_f1_beside_other_tasks():
    metrics = MixtureMetrics({"a": ClassMetrics(2), "b": LabelSetMetrics(2)})
    right = torch.tensor([[9.0, -9.0], [-9.0, 9.0]])
    metrics.update(right, {"labels": torch.tensor([0, 1]), "tasks": torch.zeros(2, dtype=torch.long)})
    # Of two labels one is said, and nothing else: precision 1, recall 1/2.
    sets, said = torch.tensor([[1.0, 1.0]]), torch.tensor([[9.0, -9.0]])
    metrics.update(said, {"labels": sets, "tasks": torch.ones(1, dtype=torch.long)})
    assert metrics.compute_and_reset()["score"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_task_without_a_share_is_refused_beside_others():
    with pytest.raises(ConfigError, match=r"task\.tasks\.b: it has loss, perplexity, .* accuracy, r2 or f1_micro"):
        MixtureMetrics({"a": ClassMetrics(2), "b": TokenMetrics()})
