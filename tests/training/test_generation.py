"""Scores of language models: the mean over tokens, perplexity, BLEU and chrF."""

import math

import pytest
import torch
from torch.nn import functional as F

from harness.training import TokenMetrics, generate_texts, text_scores


def test_the_mean_is_over_tokens_whatever_the_batches():
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 7, 11), torch.randint(0, 11, (5, 7))
    for row, length in enumerate((7, 1, 3, 6, 2)):
        labels[row, length:] = -100
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    metrics = TokenMetrics()
    rows = [metrics.update(logits[a:b], {"labels": labels[a:b]}) for a, b in ((0, 1), (1, 5))]
    scores = metrics.compute_and_reset()
    assert scores["loss"] == pytest.approx(float(expected), rel=1e-6)
    assert scores["perplexity"] == pytest.approx(math.exp(float(expected)), rel=1e-6)
    items = torch.cat(rows)
    assert items[:, 1].tolist() == [7, 1, 3, 6, 2]
    assert items[2, 0] == pytest.approx(float(F.cross_entropy(logits[2, :3], labels[2, :3])), rel=1e-6)


def test_a_logit_that_is_no_number_shows():
    metrics = TokenMetrics()
    metrics.update(torch.full((1, 2, 3), torch.nan), {"labels": torch.tensor([[1, -100]])})
    assert not math.isfinite(metrics.compute_and_reset()["loss"])


def test_right_texts_score_a_hundred_and_unlike_texts_nothing():
    wanted = ["the page was not found", "delete this item now"]
    scores, items = text_scores(wanted, wanted)
    assert scores == pytest.approx({"bleu": 100, "chrf": 100, "exact": 1})
    assert items == pytest.approx([100, 100])
    scores, items = text_scores(["zzzz", "delete this item now"], wanted)
    assert 0 < scores["bleu"] < 100
    assert scores["exact"] == 0.5
    assert items == pytest.approx([0, 100])


class _Echo(torch.nn.Module):
    def generate(self, batch, max_new_tokens, ends):
        return batch["rows"].unsqueeze(1).repeat(1, max_new_tokens)


class _Split:
    ends = ()

    def batch(self, rows):
        return {"rows": torch.tensor(list(rows))}

    def texts(self, written):
        return [" ".join(map(str, row)) for row in written.tolist()]


def test_texts_are_written_for_the_first_rows_in_order():
    written = generate_texts(_Echo(), _Split(), 5, max_new_tokens=2, device=torch.device("cpu"), size=2)
    assert written == ["0 0", "1 1", "2 2", "3 3", "4 4"]
