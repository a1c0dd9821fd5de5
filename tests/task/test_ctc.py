"""The loss of characters at frames, and how few frames can say a text."""

import itertools
import math

import torch

from harness.task.ctc import ctc_nats, frames_needed, frames_of


def test_the_nats_are_those_of_all_ways_to_say_it():
    """Summed over every path by hand: two labels, one of them twice in a row, over five frames of three characters."""
    torch.manual_seed(0)
    logits = torch.randn(1, 5, 3)
    shares = logits.log_softmax(-1)[0]
    total = 0.0
    for path in itertools.product(range(3), repeat=5):
        said = [one for at, one in enumerate(path) if one and (at == 0 or path[at - 1] != one)]
        if said == [1, 1, 2]:
            total += math.exp(sum(float(shares[frame, one]) for frame, one in enumerate(path)))
    batch = {"labels": torch.tensor([[1, 1, 2, -100]]), "blank": torch.tensor([0])}
    torch.testing.assert_close(ctc_nats(logits, batch), torch.tensor([-math.log(total)]))


def test_sure_blanks_behind_a_recording_cost_nothing():
    torch.manual_seed(1)
    logits = torch.randn(1, 6, 4)
    batch = {"labels": torch.tensor([[2, 3]]), "blank": torch.tensor([1])}
    silent = torch.full((1, 3, 4), -1e4)
    silent[..., 1] = 0.0
    longer = torch.cat([logits, silent], 1)
    torch.testing.assert_close(ctc_nats(longer, batch), ctc_nats(logits, batch), rtol=1e-6, atol=1e-6)


def test_frames():
    assert frames_needed([1, 2, 2, 2, 3]) == 7
    assert (frames_needed([]), frames_needed([4])) == (0, 1)
    assert frames_of(16_000, ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))) == 49
