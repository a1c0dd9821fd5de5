"""Answer spans in windows of tokens: their loss, and the likeliest span over all windows of a question.

Shapes: N windows of B questions, L tokens of the longest window.
"""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def span_nats(logits_NL2: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The cross-entropy of each window (N), the mean of beginning and end, 0 where it is not learned from; and which
    are (N).

    As transformers computes it, but that padding is no place for an answer: a loss does not depend on what else is in
    its batch.
    """
    logits_N2L = logits_NL2.float().transpose(1, 2).masked_fill(batch["mask"][:, None] == 0, -torch.inf)
    nats_N2 = F.cross_entropy(logits_N2L.flatten(0, 1), batch["labels"].flatten(), reduction="none").view(-1, 2)
    return nats_N2.mean(1), batch["labels"][:, 0] >= 0


def span_loss(logits_NL2: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The mean over windows that are learned from; 0 of none."""
    nats_N, learned_N = span_nats(logits_NL2, batch)
    return nats_N.sum() / learned_N.sum().clamp(min=1)


@dataclasses.dataclass(frozen=True)
class Found:
    """The answer to each question (B): its first and last token, in which window, its probability; of no answer −1.

    `nothing` is the probability that the windows hold no answer.
    """

    window: Tensor
    first: Tensor
    last: Tensor
    probability: Tensor
    nothing: Tensor


def find_spans(logits_NL2: Tensor, batch: Mapping[str, Tensor], longest: int, *, may_be_none: bool) -> Found:
    """The likeliest span of at most `longest` tokens, over all windows of a question.

    The probability of a span is that of its beginning times that of its end, among the tokens of the context in its
    window and the first token, which stands for no answer; that of no answer is the least of its windows. With
    `may_be_none`, no answer is given where that is likelier. So does the pipeline of transformers 4.
    """
    candidates_NL = batch["context"].bool()
    places_NL = candidates_NL.clone()
    places_NL[:, 0] = True
    shares_NL2 = logits_NL2.double().masked_fill(~places_NL[..., None], -torch.inf).log_softmax(1)
    nothing_N = shares_NL2[:, 0].sum(1)
    begins_NL, ends_NL = (shares_NL2[..., side].masked_fill(~candidates_NL, -torch.inf) for side in (0, 1))
    best_N, first_N, size_N = (torch.full_like(nothing_N, value) for value in (-torch.inf, 0.0, 0.0))
    for more in range(min(longest, begins_NL.shape[1])):
        score_N, at_N = (begins_NL[:, : begins_NL.shape[1] - more] + ends_NL[:, more:]).max(1)
        better_N = score_N > best_N
        best_N = torch.where(better_N, score_N, best_N)
        first_N = torch.where(better_N, at_N.double(), first_N)
        size_N = torch.where(better_N, float(more), size_N)
    question_N, questions = batch["question"], len(batch["rows"])
    window_B = _best_window(best_N, question_N, questions)
    nothing_B = torch.full((questions,), torch.inf, dtype=nothing_N.dtype, device=nothing_N.device)
    nothing_B = nothing_B.scatter_reduce(0, question_N, nothing_N, "amin")
    none_B = (nothing_B > best_N[window_B]) if may_be_none else torch.zeros_like(window_B, dtype=torch.bool)
    first_B = first_N[window_B].long()
    return Found(
        window=window_B,
        first=first_B.masked_fill(none_B, -1),
        last=(first_B + size_N[window_B].long()).masked_fill(none_B, -1),
        probability=torch.where(none_B, nothing_B, best_N[window_B]).exp(),
        nothing=nothing_B.exp(),
    )


def _best_window(best_N: Tensor, question_N: Tensor, questions: int) -> Tensor:
    """The window of each question (B) with the best span, of equal ones the first."""
    top_B = best_N.new_full((questions,), -torch.inf).scatter_reduce(0, question_N, best_N, "amax")
    count = len(best_N)
    places_N = torch.arange(count, device=best_N.device)
    chosen_N = torch.where(best_N == top_B[question_N], places_N, count)
    first_B = torch.full((questions,), count, device=best_N.device).scatter_reduce(0, question_N, chosen_N, "amin")
    return first_B.clamp(max=count - 1)
