"""Attributions of a prediction to tokens, before and after the base was adapted: integrated gradients.

Shapes: B texts, L tokens, C classes.
"""

import csv
import dataclasses
import html
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from harness.config import ConfigError
from harness.model import Network, model_tokens
from harness.trial.trained import Trained, load_trained, untrained

_STEPS = (64, 128, 256, 512, 1024)
"""Points of the path, more of them until what is left over is less than `_LEFT` of a logit."""
_LEFT = 0.01


@dataclasses.dataclass(frozen=True)
class Attribution:
    """A text, and how much each of its tokens adds to the logit of the class that the trained network predicts.

    `predicted` is that class, or the number in standardised units; `before` and `after` are by token, of the base as it
    was (under the trained head) and as it is. They add up to the logit less that of the text with the embedding of
    padding for every token, up to `error`, the larger of the two.
    """

    text: str
    tokens: tuple[str, ...]
    predicted: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    error: float


def attribute(trained: Trained, texts: Sequence[str]) -> list[Attribution]:
    """Integrated gradients (Sundararajan et al., 2017) along the word embeddings, by captum.

    The start of the path has padding in place of every token but the special ones. Raises ConfigError for a trial that
    does not classify texts with a network of transformers.
    """
    tokens = model_tokens(trained.config.model)
    what = f"study={trained.entry.study}: task={trained.config.task.name}, model={trained.config.model.name}"
    length = vars(trained.config.task).get("max_length")
    task = trained.config.task
    others = task.tags_tokens or task.marks_answers or task.known_outputs == 0
    if tokens is None or tokens.tokenizer is None or not isinstance(length, int) or others:
        raise ConfigError(f"{what}: attributions are of texts that are classified or rated")
    after = load_trained(trained)
    before = untrained(trained)
    embeddings = [embedding_of(network, what) for network in (before, after)]
    tokenizer = Tokenizer.from_file(str(tokens.tokenizer))
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    found = []
    for text in texts:
        encoded = tokenizer.encode(text)
        ids, special = torch.tensor([encoded.ids]), torch.tensor([encoded.special_tokens_mask], dtype=torch.bool)
        batch, start = {"ids": ids, "mask": torch.ones_like(ids)}, torch.where(special, ids, tokens.pad)
        with torch.no_grad():
            logits = after(batch)[0]
        target = int(logits.argmax())
        (first, left), (second, left_2) = (
            _integrated(network, embedding, batch, start, target)
            for network, embedding in zip((before, after), embeddings, strict=True)
        )
        predicted = trained.classes[target] if trained.classes else f"{float(logits[0]):+.3f}"
        found.append(Attribution(text, tuple(encoded.tokens), predicted, first, second, max(left, left_2)))
    return found


def _integrated(
    network: Network, embedding: nn.Module, batch: dict[str, Tensor], start: Tensor, target: int
) -> tuple[tuple[float, ...], float]:
    """The attribution of each of the L tokens, and how far their sum is from the difference of the logits.

    The path is of the embeddings alone. Whatever else the network takes from the ids, the place of the last token or
    the numbers of positions, is that of the text all along.
    """
    from captum.attr import IntegratedGradients  # an extra

    def logits(vectors: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        with _embedded(network, embedding, ids, vectors):
            found: Tensor = network({"ids": ids, "mask": mask})
        return found

    with torch.no_grad():
        vectors, before = embedding(batch["ids"]), embedding(start)
    method = IntegratedGradients(logits)
    for steps in _STEPS:
        scores, left = method.attribute(
            vectors,
            baselines=before,
            target=target,
            additional_forward_args=(batch["ids"], batch["mask"]),
            n_steps=steps,
            internal_batch_size=_STEPS[0],
            return_convergence_delta=True,
        )
        if abs(float(left)) < _LEFT:
            break
    return tuple(scores[0].sum(-1).tolist()), abs(float(left))


@contextmanager
def _embedded(network: Network, embedding: nn.Module, ids: Tensor, vectors: Tensor) -> Iterator[None]:
    """Inside, the embeddings of `ids` (B, L) are `vectors` (B, L, H); also where a decoder reads them one place on."""

    def replaced(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        read = given[0]
        if torch.equal(read, ids):
            return vectors
        if read.shape == ids.shape and torch.equal(read[:, 1:], ids[:, :-1]):
            return torch.cat([output[:, :1], vectors[:, :-1]], 1)
        return output

    weight = getattr(embedding, "weight", None)
    tied = [each for each in network.modules() if isinstance(each, nn.Embedding) and each.weight is weight]
    hooks = [each.register_forward_hook(replaced) for each in {embedding, *tied}]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def embedding_of(network: Network, what: str) -> nn.Module:
    """The word embeddings of a base of transformers. Raises ConfigError for another."""
    find = getattr(network.base, "get_input_embeddings", None)
    found = find() if callable(find) else None
    if not isinstance(found, nn.Module):
        raise ConfigError(f"{what}: its base has no word embeddings that could be found")
    return found


def write_attributions(found: Sequence[Attribution], folder: Path) -> list[Path]:
    """Write attributions.csv (a token a row) and attributions.html (the texts, coloured); returns their paths."""
    table, page = folder / "attributions.csv", folder / "attributions.html"
    with open(table, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "position", "token", "predicted", "before", "after"])
        for number, each in enumerate(found):
            for place, (token, before, after) in enumerate(zip(each.tokens, each.before, each.after, strict=True)):
                rows.writerow([number, place, token, each.predicted, before, after])
    page.write_text(_PAGE.format(body="\n".join(map(_shown, found))), encoding="utf-8")
    return [table, page]


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Attributions</title>
<style>
body {{ font: 16px/1.7 sans-serif; margin: 2em auto; max-width: 60em; color: #111; background: #fff }}
span {{ padding: 1px 3px; border-radius: 3px }} b {{ display: inline-block; width: 4em; font-weight: 600 }}
</style>
<h1>Which tokens a prediction rests on</h1>
<p>Integrated gradients of the predicted class's logit. Blue: for the prediction, orange: against it; one scale a text.
Before: the base as it was, under the trained head.</p>
{body}
</html>
"""


def _shown(each: Attribution) -> str:
    most = max((abs(value) for value in (*each.before, *each.after)), default=0.0) or 1.0

    def line(name: str, values: Sequence[float]) -> str:
        spans = "".join(
            f'<span style="background:rgba({"0,114,178" if value > 0 else "213,94,0"},{0.6 * abs(value) / most:.3f})" '
            f'title="{value:+.4f}">{html.escape(token)}</span> '
            for token, value in zip(each.tokens, values, strict=True)
        )
        return f"<p><b>{name}</b> {spans}</p>"

    title = f"<h2>{html.escape(each.predicted)}</h2>" + (
        f"<p>Left over: {each.error:.3f}</p>" if each.error > _LEFT else ""
    )
    return f"<section>{title}{line('before', each.before)}{line('after', each.after)}</section>"
