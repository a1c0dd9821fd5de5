"""Metrics of extractive question answering: exact match and F1 as SQuAD has them, item by item.

Shapes: N windows of B questions, L tokens of the longest window.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from harness.task.answer_spans import Found, find_spans, span_nats
from harness.task.metrics import Metrics, VectorSum
from harness.task.qa_inputs import Question
from harness.task.squad import scores_of


class QaMetrics(Metrics):
    """F1 and exact match of logits (N, L, 2), the means over questions, and the mean cross-entropy of a window.

    `splits` are the questions of each split, by its number; answers have at most `longest` tokens, and with
    `may_be_none` a question may have none. A row has its scores, the loss of its windows and how many of them are
    learned from, the first character of what is answered and the one after its last, −1 of no answer, and its
    probability.
    """

    names = ("f1", "exact", "loss")
    columns = ("f1", "exact", "loss", "tokens", "begin", "end", "p")

    def __init__(self, splits: Sequence[Sequence[Question]], longest: int, *, may_be_none: bool) -> None:
        super().__init__()
        self.splits, self.longest, self.may_be_none = splits, longest, may_be_none
        # Questions, F1, exact matches; nats, windows that are learned from.
        self.sums = VectorSum(5)

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        found = find_spans(logits, batch, self.longest, may_be_none=self.may_be_none)
        spans_B2 = characters(found, batch)
        asked = self.splits[int(batch["split"][0])]
        scores = [
            scores_of(question.context[max(0, begin) : max(0, end)], question.wanted)
            for question, (begin, end) in zip(
                (asked[row] for row in batch["rows"].tolist()), spans_B2.tolist(), strict=True
            )
        ]
        exact_B, f1_B = (logits.new_tensor(side, dtype=torch.float64) for side in zip(*scores, strict=True))
        nats_B, windows_B = self._losses(logits, batch)
        self.sums.update(torch.stack([torch.ones_like(f1_B), f1_B, exact_B, nats_B, windows_B]).sum(1))
        mean_B = nats_B / windows_B.clamp(min=1)
        return torch.stack([f1_B, exact_B, mean_B, windows_B, *spans_B2.double().unbind(1), found.probability], 1)

    def _losses(self, logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The nats of the windows of each question (B), and how many they are of."""
        nats_N, learned_N = span_nats(logits, batch)
        sums = torch.zeros(2, len(batch["rows"]), dtype=torch.float64, device=logits.device)
        nats_B, windows_B = sums.index_add(1, batch["question"], torch.stack([nats_N.double(), learned_N.double()]))
        return nats_B, windows_B

    def compute_and_reset(self) -> dict[str, float]:
        questions, f1, exact, nats, windows = self.sums.compute().tolist()
        self.sums.reset()
        return {"f1": f1 / questions, "exact": exact / questions, "loss": nats / max(1.0, windows)}


def characters(found: Found, batch: Mapping[str, Tensor]) -> Tensor:
    """The first character of each answer in its context and the one after its last (B, 2), −1 of no answer."""
    spans_BL2 = batch["spans"][found.window]
    rows = torch.arange(len(spans_BL2), device=spans_BL2.device)
    begin_B, end_B = spans_BL2[rows, found.first, 0], spans_BL2[rows, found.last, 1]
    return torch.stack([begin_B, end_B], 1).masked_fill(found.first[:, None] < 0, -1)
