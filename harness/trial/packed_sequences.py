"""A test before training that a base keeps the examples apart that share a row of a batch.

Shapes: B examples, T places that are looked at of each, V vocabulary.
"""

import torch
from torch import Tensor

from harness.config import ConfigError
from harness.model import Network
from harness.task import Inputs
from harness.task.ignored import IGNORED
from harness.task.packed_sequences import packed
from harness.training.accounting import is_out_of_memory
from harness.training.module import in_evaluation_mode
from harness.trial.passes import on_device

_FIRST = torch.arange(2)
_ROUNDING = {True: 1e-3, False: 0.05}
"""The most that logits may be apart, of their size, for sums in another order: in float32, and in fewer bits."""
_NOTHING = {True: 1e-5, False: 0.02}
"""The most that other tokens in another example may move them, as where an expert then has more rows to multiply."""


def check_packs_sequences(name: str, model: Network, train: Inputs, device: torch.device) -> None:
    """Raise ConfigError where the network gives the tokens of packed examples other logits than by themselves."""
    padded, together = _examples(train)
    if problem := _problem(model, on_device(padded, device), on_device(together, device)):
        rule = "trainer.pack_sequences=false, which pads them"
        raise ConfigError(f"trainer.pack_sequences=true: model={name}: {problem}; {rule}")


def _examples(train: Inputs) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The two longest examples and the two shortest, each in a row of its own, with the `places` (B, T) of their first
    and last tokens; and the same packed, in as long a row as there can be and one that is filled up.
    """
    order = (-train.training_lengths).argsort(kind="stable").tolist()
    rows = [*order[:2], *order[2:][-2:]]
    batch = train.batch(rows)
    lengths_B1 = batch["mask"].sum(1, keepdim=True)
    ends_BT = torch.cat([_FIRST.expand(len(rows), -1), lengths_B1 - 1 - _FIRST], 1)
    places_BT = ends_BT.clamp(min=torch.zeros_like(lengths_B1), max=lengths_B1 - 1)
    batch |= {"places": places_BT, "labels": torch.zeros_like(places_BT)}
    first = max(1, len(rows) - 1)
    groups = [group for group in (range(first), range(first, len(rows))) if group]
    return batch, packed(batch, groups, train.padding.get("ids", 0))


def _problem(model: Network, padded: dict[str, Tensor], together: dict[str, Tensor]) -> str:
    kind, in_full = type(model.base).__name__, model.compute_dtype is None
    try:
        with in_evaluation_mode(model):
            wanted, found, moved = (
                _logits(model, batch) for batch in (padded, together, _with_another_first(together))
            )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return f"a {kind} fails with several examples in a row: {type(error).__name__}: {error}"
    others = padded["places"].shape[1]  # behind the places of the first
    if _alike(found, wanted, _ROUNDING[in_full]) and _alike(found[others:], moved[others:], _NOTHING[in_full]):
        return ""
    return f"a {kind} gives an example in a row with others not what it gives it alone: it reads or counts on from them"


def _with_another_first(together: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tokens of the first example in reverse order."""
    ids = together["ids"].clone()
    _, border = [*(together["positions"][0] == 0).nonzero().flatten().tolist(), ids.shape[1]][:2]
    ids[0, :border] = ids[0, :border].flip(0)
    return together | {"ids": ids}


def _alike(one: Tensor, other: Tensor, most: float) -> bool:
    return bool(((one - other).norm(dim=-1) <= most * other.norm(dim=-1)).all())


def _logits(model: Network, batch: dict[str, Tensor]) -> Tensor:
    """Those at the places, in the order of the examples, without what softmax takes out."""
    logits: Tensor = model(batch)[batch["labels"] != IGNORED].float()
    return logits - logits.mean(-1, keepdim=True)
