"""Texts that a language model generates for the sources of a split, and their scores against the references."""

import re
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.task import Generation, ScoredTexts
from harness.task.answers import Extract, answer_scores
from harness.training.distributed import raise_if_stop_requested_on_all


class _Writer(Protocol):
    def generate(self, batch: dict[str, Tensor], max_new_tokens: int, ends: Sequence[int]) -> Tensor: ...


class _Split(Protocol):
    @property
    def ends(self) -> tuple[int, ...]: ...

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]: ...

    def texts(self, written: Tensor) -> list[str]: ...


def generate_texts(
    model: Any,
    inputs: Any,
    rows: int,
    max_new_tokens: int,
    device: torch.device,
    *,
    size: int = 32,
    patience_s: float = 0.0,
) -> list[str]:
    """The texts that `model` generates for the first `rows` rows of `inputs`.

    Raises Interrupted where a stop was requested `patience_s` ago.
    """
    writer: _Writer = model.eval()
    split: _Split = inputs
    texts = []
    for start in range(0, rows, size):
        raise_if_stop_requested_on_all(patience_s)
        batch = split.batch(range(start, min(start + size, rows)))
        written = writer.generate(
            {name: tensor.to(device) for name, tensor in batch.items()}, max_new_tokens, split.ends
        )
        texts += split.texts(written)
    return texts


def scored_texts(
    generation: Generation, written: Sequence[str], references: Sequence[str], further: Collection[str] = ()
) -> ScoredTexts:
    """Score texts by the task's measures, with `further` measures if they are scored as translations."""
    if generation.score is not None:
        return generation.score(written, references)
    scores, chrf = text_scores(written, references, further, generation.extract)
    columns = {"chrf": chrf, "exact": [float(text == wanted) for text, wanted in zip(written, references, strict=True)]}
    if "rouge_l" in further:
        columns["rouge_l"] = [rouge_l([text], [wanted]) for text, wanted in zip(written, references, strict=True)]
    return ScoredTexts(scores, tuple(columns), list(map(list, zip(*columns.values(), strict=True))))


def text_scores(
    written: Sequence[str], references: Sequence[str], further: Collection[str] = (), extract: Extract | None = None
) -> tuple[dict[str, float], list[float]]:
    """BLEU and chrF of all texts (0 to 100), the share that is exactly right, and each text's own chrF.

    BLEU: Papineni et al. (2002), chrF: Popović (2015), both with sacrebleu's defaults (Post, 2018). With rouge_l among
    the `further` ones its mean over texts, too (0 to 1), and with `extract` the scores of the answers in them.
    """
    import sacrebleu  # imported where it is needed: only test splits are generated

    bleu = sacrebleu.corpus_bleu(list(written), [list(references)])
    chrf = sacrebleu.corpus_chrf(list(written), [list(references)])
    items = [sacrebleu.sentence_chrf(text, [wanted]).score for text, wanted in zip(written, references, strict=True)]
    exact = sum(text == wanted for text, wanted in zip(written, references, strict=True)) / len(written)
    scores = {"bleu": bleu.score, "chrf": chrf.score, "exact": exact}
    if "rouge_l" in further:
        scores["rouge_l"] = rouge_l(written, references)
    return scores | (answer_scores(written, references, extract) if extract is not None else {}), items


def rouge_l(written: Sequence[str], references: Sequence[str]) -> float:
    """The mean F1 of the longest common subsequence of words (Lin, 2004), by torchmetrics, without stemming.

    Words are runs of letters and digits in lower case. Of other alphabets than the Latin one without accents, the
    package rouge-score takes none for letters; here they are.
    """
    from torchmetrics.functional.text.rouge import rouge_score

    found = rouge_score(
        list(written), list(references), normalizer=str.lower, tokenizer=_WORD.findall, rouge_keys="rougeL"
    )
    return float(found["rougeL_fmeasure"])


_WORD = re.compile(r"[^\W_]+")
