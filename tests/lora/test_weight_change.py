"""What training did to a matrix, against matrices whose singular values and directions are known, and against SciPy."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from harness.lora.weight_change import intruders, subspace_similarity, weight_change


def orthogonal(size: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(drawn).Q


LEFT, RIGHT = orthogonal(12, 0), orthogonal(20, 1)
SPECTRUM = torch.linspace(6.0, 0.5, 12, dtype=torch.float64)
W = LEFT @ torch.diag(SPECTRUM) @ RIGHT[:12]


def test_a_change_of_known_spectrum_is_measured():
    change = 3.0 * torch.outer(LEFT[:, 2], RIGHT[2]) + 1.0 * torch.outer(LEFT[:, 5], RIGHT[5])
    found = weight_change(W, W + change)
    assert found.singular_values == pytest.approx((3.0, 1.0))
    assert found.norm == pytest.approx(math.sqrt(10))
    assert found.relative == pytest.approx(math.sqrt(10) / float(SPECTRUM.norm()))
    assert found.stable_rank == pytest.approx(10 / 9)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found.effective_rank == pytest.approx(math.exp(entropy))
    # Both directions are W's own third and sixth: its part there has their singular values.
    assert found.amplification == pytest.approx(math.sqrt(10) / math.hypot(SPECTRUM[2], SPECTRUM[5]))
    assert found.intruders == 0
    assert found.outputs.shape == (12, 2)
    assert found.inputs.shape == (20, 2)
    assert float((found.inputs[:, 0] @ RIGHT[2]).abs()) == pytest.approx(1.0)


def test_directions_that_the_base_does_not_have_are_amplified_and_intrude():
    new = torch.ones(12, dtype=torch.float64) / math.sqrt(12)
    direction = LEFT @ new  # its cosine with each of W's left singular vectors is 1/√12
    change = 100.0 * torch.outer(direction, RIGHT[15])
    found = weight_change(W, W + change)
    assert found.intruders == 1
    assert found.amplification > 1e6  # W has nothing in the direction of the inputs at all
    assert intruders(W, W + change, cosine=0.1) == 0
    assert intruders(W, W) == 0


def test_a_matrix_that_did_not_move_has_no_change():
    assert weight_change(W, W.clone()) is None


def test_noise_of_float32_is_no_rank():
    change = torch.outer(LEFT[:, 0], RIGHT[0])
    after = (W + change).float().double()
    assert len(weight_change(W.float().double(), after).singular_values) == 1


@pytest.mark.parametrize("directions", [1, 3])
def test_subspace_similarity_is_the_mean_squared_cosine_of_the_principal_angles(directions):
    one, other = orthogonal(9, 2)[:, :4], orthogonal(9, 3)[:, :4]
    angles = scipy.linalg.subspace_angles(one[:, :directions].numpy(), other[:, :directions].numpy())
    wanted = float(np.mean(np.cos(angles) ** 2))
    assert subspace_similarity(one, other, directions) == pytest.approx(wanted)
    turned = one[:, :directions] @ orthogonal(directions, 4)
    assert subspace_similarity(one, turned, directions) == pytest.approx(1.0)
