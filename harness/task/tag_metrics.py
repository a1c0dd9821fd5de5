"""Metrics of tagged tokens: spans as seqeval counts them, and tokens one by one.

Shapes: B rows, L tokens of the longest as the model reads them, W tokens of the longest as the data have them, C tags.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.task.ignored import IGNORED
from harness.task.metrics import Metrics, VectorSum
from harness.task.tags import rates, scheme_of, spans


class TagMetrics(Metrics):
    """F1, precision and recall of all spans together, the share of tokens that are right, and the mean cross-entropy of
    a token that is read.

    A span is right if type, first and last token are; the names of the classes say how spans are written. A token that
    the model does not read, beyond the longest row, is answered with the `usual` tag. A row has its loss, the tokens
    that are read, and of its spans and of all its tokens how many are right, found and there.
    """

    columns = ("loss", "tokens", "right", "found", "there", "right_tokens", "all_tokens")
    counts_by = ("f1", "accuracy")

    def __init__(self, classes: Sequence[str], usual: int, *, with_spans: bool) -> None:
        super().__init__()
        self.classes, self.usual, self.with_spans = tuple(classes), usual, with_spans
        self.scheme = (scheme_of(classes) or "bio") if with_spans else "bio"
        self.names = (*(("f1", "precision", "recall") if with_spans else ()), "accuracy", "loss")
        # Spans that are right, found, there; tokens that are right, all; nats, tokens that are read.
        self.counts = VectorSum(7)

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        labels = batch["labels"]
        loss_BL = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none", ignore_index=IGNORED)
        nats_B, read_B = loss_BL.double().sum(1), (labels != IGNORED).sum(1).double()
        found, there = self.tags(logits, batch), _rows(batch["tags"].cpu())
        pairs = list(zip(found, there, strict=True))
        counts_B5 = torch.tensor([self._counts(*pair) for pair in pairs], dtype=torch.float64).to(logits.device)
        self.counts.update(torch.cat([counts_B5.sum(0), torch.stack([nats_B.sum(), read_B.sum()])]))
        return torch.cat([torch.stack([nats_B / read_B.clamp(min=1), read_B], 1), counts_B5], 1)

    def _counts(self, row: list[int], wanted: list[int]) -> list[int]:
        """Count, for one row, the spans that are right, found, and there; the tokens that are right, and all."""
        right = sum(one == other for one, other in zip(row, wanted, strict=True))
        if not self.with_spans:
            return [0, 0, 0, right, len(wanted)]
        mine, theirs = (set(spans([self.classes[tag] for tag in tags], self.scheme)) for tags in (row, wanted))
        return [len(mine & theirs), len(mine), len(theirs), right, len(wanted)]

    def beside(self, rows: Tensor) -> Tensor:
        """Counts of its spans, or of its tokens with plain tags: there, found, and right."""
        right, found, there, right_tokens, tokens = rows[:, 2:].unbind(1)
        return torch.stack([there, found, right] if self.with_spans else [tokens, tokens, right_tokens], 1)

    def tags(self, logits: Tensor, batch: Mapping[str, Tensor]) -> list[list[int]]:
        return tags_of(logits, batch["places"], self.usual)

    def answers(self, logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The labels (N) and logits (N, C) of the tokens that are read, one after another."""
        read = batch["labels"] != IGNORED
        return batch["labels"][read], logits[read].float()

    def compute_and_reset(self) -> dict[str, float]:
        right, found, there, tokens_right, tokens, nats, read = self.counts.compute().tolist()
        self.counts.reset()
        f1, precision, recall = rates(right, found, there)
        ours = {"f1": f1, "precision": precision, "recall": recall} if self.with_spans else {}
        return {**ours, "accuracy": tokens_right / max(1.0, tokens), "loss": nats / max(1.0, read)}


def tags_of(logits_BLC: Tensor, places_BW: Tensor, usual: int) -> list[list[int]]:
    """The most likely tag of each token by row; `places` are those of their first pieces, −1 of none, −2 past the end.

    A token without a place has the `usual` tag.
    """
    best_BL = logits_BLC.argmax(-1).cpu()
    places_BW = places_BW.cpu()
    chosen_BW = torch.where(places_BW >= 0, best_BL.gather(1, places_BW.clamp(min=0)), usual)
    return [row[place > -2].tolist() for row, place in zip(chosen_BW, places_BW, strict=True)]


def _rows(tags_BW: Tensor) -> list[list[int]]:
    return [row[row != IGNORED].tolist() for row in tags_BW]
