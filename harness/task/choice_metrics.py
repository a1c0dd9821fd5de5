"""The metrics of multiple choice by likelihood.

Shapes: B questions, N options of all of them, T tokens of an option, V vocabulary, C options of the question with most.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.task.ignored import IGNORED
from harness.task.metrics import Metrics, SumMetrics


class ChoiceMetrics(Metrics):
    """Metrics of logits (N, T, V) of all options: the share of questions whose likeliest option is the right one, by
    the sum of its tokens' log-probabilities (`acc` of lm-evaluation-harness) and by that divided by its size
    (`acc_norm`).

    `loss` is the cross-entropy in nats a token of the right options. The probability of an option is its share of the
    options' likelihoods, by the sums; 0 beyond the last one of a question. Columns number options from 1.
    """

    names = ("accuracy", "accuracy_norm", "loss")

    def __init__(self, options: int) -> None:
        super().__init__()
        self.options = options
        shares = (f"p_{n}" for n in range(1, options + 1))
        self.columns = ("label", "predicted", "predicted_norm", "loss", "tokens", *shares)
        # Questions, right answers, right ones normalised, nats and tokens of the right options.
        self.sums = SumMetrics(5)

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        labels, right_B = batch["labels"], batch["answers"]
        nats_NT = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none", ignore_index=IGNORED)
        nats_N, tokens_N = nats_NT.double().sum(1), (labels != IGNORED).sum(1).double()
        sums_BC = self.by_question(-nats_N, batch)
        predicted_B = sums_BC.argmax(1)
        normed_B = self.by_question(-nats_N / batch["sizes"], batch).argmax(1)
        of_right_B = (batch["place"] == right_B[batch["question"]]).nonzero().squeeze(1)
        nats_B, tokens_B = nats_N[of_right_B], tokens_N[of_right_B]
        hits = [(said == right_B).double() for said in (predicted_B, normed_B)]
        self.sums.add([torch.ones_like(nats_B), *hits, nats_B, tokens_B])
        answered = torch.stack([right_B, predicted_B, normed_B], 1).double() + 1
        return torch.cat([answered, torch.stack([nats_B / tokens_B, tokens_B], 1), sums_BC.softmax(1)], 1)

    def by_question(self, scores_N: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The scores of options by question (B, C), minus infinity where it has no such option."""
        found = scores_N.new_full((len(batch["rows"]), self.options), -torch.inf)
        found[batch["question"], batch["place"]] = scores_N
        return found

    def compute_and_reset(self) -> dict[str, float]:
        rows, right, normed, nats, tokens = self.sums.compute_and_reset()
        return {"accuracy": right / rows, "accuracy_norm": normed / rows, "loss": nats / tokens}
