"""Connectionist temporal classification (Graves et al., 2006): a character or a blank at each frame of a recording.

Shapes: B recordings, F frames of the longest, T characters of the longest transcript, V vocabulary.
"""

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def ctc_nats(logits_BFV: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The nats of each transcript (B), of `labels` (B, T) that are negative on padding.

    At frames that are none of a recording's own, logits give `blank` (B) alone: these cost nothing.
    """
    labels_BT = batch["labels"]
    shares = logits_BFV.float().log_softmax(-1).transpose(0, 1)
    frames_B = torch.full((len(labels_BT),), logits_BFV.shape[1], device=labels_BT.device)
    lengths_B = (labels_BT >= 0).sum(1)
    with torch.backends.cudnn.flags(enabled=False):  # its form takes fewer lengths, and another order of sums
        return F.ctc_loss(
            shares, labels_BT.clamp(min=0), frames_B, lengths_B, blank=int(batch["blank"][0]), reduction="none"
        )


def frames_of(samples: int, convolutions: tuple[tuple[int, int], ...]) -> int:
    """Return the number of frames that layers of kernels and strides make of samples."""
    for kernel, stride in convolutions:
        samples = (samples - kernel) // stride + 1
    return samples


def frames_needed(ids: list[int]) -> int:
    """The fewest frames that can say these characters: one each, and a blank between two that are the same."""
    return len(ids) + sum(one == other for one, other in itertools.pairwise(ids))
