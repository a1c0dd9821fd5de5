"""Measures of dense tasks against their definitions in plain NumPy and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score, precision_recall_fscore_support

from harness.task.dense_answers import VOID, Classes, Mask, Normals, Numbers
from harness.task.dense_metrics import DenseMetrics

CHANNELS = {"segmentation": 4, "saliency": 1, "depth": 1, "normals": 3, "edges": 1}
ANSWERS = {
    "segmentation": Classes(4),
    "saliency": Mask(0.3),
    "depth": Numbers(3.0, 2.0, "m"),
    "normals": Normals(),
    "edges": Mask(1.0),
}


def drawn(rows: int, size: int = 9) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    make = torch.Generator().manual_seed(rows)
    outputs = torch.randn(rows, sum(CHANNELS.values()), size, size, generator=make)
    normals = torch.randn(rows, 3, size, size, generator=make)
    return outputs, {
        "segmentation": torch.randint(4, (rows, size, size), generator=make),
        "saliency": (torch.rand(rows, 1, size, size, generator=make) > 0.7).float(),
        "depth": torch.randn(rows, 1, size, size, generator=make) + 3,
        "normals": normals / normals.norm(dim=1, keepdim=True),
        "edges": (torch.rand(rows, 1, size, size, generator=make) > 0.9).float(),
    }


def test_scores_are_those_of_the_whole_split_whatever_the_batches():
    outputs, batch = drawn(7)
    metrics = DenseMetrics(ANSWERS, CHANNELS)
    rows = [
        metrics.update(outputs[part], {name: values[part] for name, values in batch.items()})
        for part in (slice(0, 3), slice(3, 4), slice(4, 7))
    ]
    found = metrics.compute_and_reset()
    predicted = outputs[:, :4].argmax(1)
    miou = jaccard_score(batch["segmentation"].flatten(), predicted.flatten(), average="macro")
    assert found["segmentation/miou"] == pytest.approx(miou)
    error = (outputs[:, 5:6] * 2 + 3 - batch["depth"]).square().mean()
    assert found["depth/rmse"] == pytest.approx(float(error.sqrt()), rel=1e-5)
    answer = outputs[:, 6:9].double()
    cosine = (answer / answer.norm(dim=1, keepdim=True) * batch["normals"]).sum(1)
    angle = float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).mean())
    assert found["normals/angle"] == pytest.approx(angle, rel=1e-5)
    for name, place, beta in (("saliency", 4, math.sqrt(0.3)), ("edges", 9, 1.0)):
        chance, truth = torch.sigmoid(outputs[:, place]).flatten(), batch[name].flatten()
        best = max(
            precision_recall_fscore_support(truth, chance > cut, beta=beta, average="binary", zero_division=0)[2]
            for cut in np.arange(0.05, 1, 0.05)
        )
        assert found[f"{name}/max_f"] == pytest.approx(best, rel=1e-6)
    shares = [miou, found["saliency/max_f"], 1 - error / batch["depth"].var(correction=0), 1 - angle / 90]
    assert found["score"] == pytest.approx(float(np.mean([*map(float, shares), found["edges/max_f"]])), rel=1e-5)
    assert torch.cat(rows).shape == (7, len(metrics.columns))
    assert set(found) == set(metrics.names)
    one = DenseMetrics(ANSWERS, CHANNELS)
    one.update(outputs[2:3], {name: values[2:3] for name, values in batch.items()})
    alone = one.compute_and_reset()
    torch.testing.assert_close(torch.cat(rows)[2], torch.tensor([alone[name] for name in metrics.columns]).double())


def test_perfect_answers_have_the_score_one():
    _, batch = drawn(3)
    perfect = [
        torch.nn.functional.one_hot(batch["segmentation"], 4).permute(0, 3, 1, 2) * 9.0,
        batch["saliency"] * 20 - 10,
        (batch["depth"] - 3) / 2,
        batch["normals"] * 3,
        batch["edges"] * 20 - 10,
    ]
    metrics = DenseMetrics(ANSWERS, CHANNELS)
    metrics.update(torch.cat(perfect, 1), batch)
    found = metrics.compute_and_reset()
    assert found["score"] == pytest.approx(1, abs=1e-3)
    assert found["loss"] < 1e-2


def test_pixels_without_an_answer_count_for_nothing():
    outputs, batch = drawn(2)
    kinds = {"segmentation": Classes(4), "saliency": Mask(0.3), "depth": Numbers(0.0, 1.0, "m"), "normals": Normals()}
    places = {"segmentation": slice(0, 4), "saliency": slice(4, 5), "depth": slice(5, 6), "normals": slice(6, 9)}
    for name, kind in kinds.items():
        labels, out = batch[name].clone(), outputs[:, places[name]].clone()
        labels[..., :4] = VOID if name == "segmentation" else math.nan
        cut = kind.loss(out[..., 4:], labels[..., 4:]), kind.sums(out[..., 4:], labels[..., 4:])
        out[..., :4] += 5
        torch.testing.assert_close((kind.loss(out, labels), kind.sums(out, labels)), cut)


@pytest.mark.parametrize("kind", [Mask(1.0), Numbers(0.0, 1.0, "m"), Normals(), Classes(3)])
def test_a_loss_leads_to_the_answer(kind):
    make = torch.Generator().manual_seed(0)
    labels = {
        Mask: (torch.rand(2, 1, 4, 4, generator=make) > 0.8).float(),
        Numbers: torch.rand(2, 1, 4, 4, generator=make),
        Normals: torch.nn.functional.normalize(torch.randn(2, 3, 4, 4, generator=make), dim=1),
        Classes: torch.randint(3, (2, 4, 4), generator=make),
    }[type(kind)]
    channels = {Normals: 3, Classes: 3}.get(type(kind), 1)
    outputs = torch.zeros(2, channels, 4, 4).add(0.1).requires_grad_()
    optimizer = torch.optim.Adam([outputs], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        kind.loss(outputs, labels).backward()
        optimizer.step()
    assert kind.measured(kind.sums(outputs.detach(), labels).sum(0)).share > 0.98
