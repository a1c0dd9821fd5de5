"""Features of each row from a frozen base or its first layers, computed once for all steps and evaluations if exact.

Shapes: B rows of a batch, N rows of a split, F features, L tokens of a row, H hidden units.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice, repeat

import numpy as np
import torch
from torch import Tensor

from harness.model.frozen_prefix import FrozenPrefix, frozen_prefix
from harness.system.signals import raise_if_stop_requested
from harness.task import Inputs
from harness.task.wrapped_inputs import WrappedInputs
from harness.training import autocast
from harness.trial.fingerprints import identity
from harness.trial.passes import on_device
from harness.trial.running import RunningTrial

_ROWS = 64
_LOOKED_AT = 8
_MOST_BYTES = 2**30  # of a split; more is computed in every step, as without
_KEPT = 4  # splits of the trials before

_kept: "OrderedDict[str, Tensor | States]" = OrderedDict()


class FeatureInputs(WrappedInputs):
    """A split whose batches have a `head_input` (B, F) beside what the base reads; it is there for `rows` alone."""

    def __init__(self, inputs: Inputs, rows: np.ndarray, features_NF: Tensor) -> None:
        super().__init__(inputs)
        self._features_NF, self._place = features_NF, _places(len(inputs), rows)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self.own.batch(rows) | self._features(rows)

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self.own.training_batch(rows) | self._features(rows)

    def _features(self, rows: Sequence[int]) -> dict[str, Tensor]:
        places = self._place[list(rows)]
        assert places.min() >= 0, "a row without features"
        return {"head_input": self._features_NF[places]}


class PrefixInputs(WrappedInputs):
    """A split whose batches have the `prefix` (B, L, H), what its first layers give; it is there for `rows` alone."""

    def __init__(self, inputs: Inputs, rows: np.ndarray, states: "States") -> None:
        super().__init__(inputs)
        self._states, self._place = states, _places(len(inputs), rows)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self._with_states(self.own.batch(rows), rows)

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self._with_states(self.own.training_batch(rows), rows)

    def _with_states(self, batch: dict[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
        places = self._place[list(rows)]
        assert places.min() >= 0, "a row without states"
        found = torch.cat([self._states.of(place) for place in places.tolist()])
        mask = batch.get("mask")
        if mask is None:
            return batch | {"prefix": found.view(len(rows), -1, found.shape[-1])}
        prefix = found.new_zeros(*mask.shape, found.shape[-1])
        prefix[mask.bool()] = found
        return batch | {"prefix": prefix}


class States:
    """States of the tokens of rows: `tokens` (T, H), those of row n from `ends[n - 1]` to `ends[n]`."""

    def __init__(self, rows: Sequence[Tensor]) -> None:
        self.tokens = torch.cat(list(rows))
        self.ends = [0, *np.cumsum([len(row) for row in rows]).tolist()]

    def of(self, row: int) -> Tensor:
        """The states of one row (L, H)."""
        return self.tokens[self.ends[row] : self.ends[row + 1]]


def _places(count: int, rows: np.ndarray) -> Tensor:
    """Return the position of each of so many rows of a split among some of them; -1 for the others."""
    place = torch.full((count,), -1)
    place[torch.from_numpy(rows)] = torch.arange(len(rows))
    return place


class Features:
    """The features of a trial's splits that are computed once: a row's output of a frozen base, or of its first layers.

    `reuse` says which, or why it is computed in each step. While it is `opened` the network reads it.
    """

    def __init__(self, trial: RunningTrial) -> None:
        self.trial = trial
        self._prefix = frozen_prefix(trial.model) if trial.config.trainer.reuse_features else None
        why = _unusable_reason(trial, self._prefix)
        below = "" if self._prefix is None else f", below layer {self._prefix.count}"
        self.reuse = why or f"once{below}"
        self._once = not why
        self._made_of = identity(trial.config) if self._once else {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Inside, the network passes over the layers whose states batches have."""
        if not self._once or self._prefix is None:
            yield
            return
        self._prefix.open()
        try:
            yield
        finally:
            self._prefix.close()

    def training(self, steps: int) -> Inputs:
        """The training split, with the features of the rows of so many steps."""
        inputs: Inputs = self.trial.splits["train"]
        if not self._once:
            return inputs
        drawn = self.trial.training_batches(inputs).batch_sampler
        assert drawn is not None
        batches = islice(chain.from_iterable(repeat(drawn)), steps)
        return self._with_features("train", np.unique(np.concatenate([np.asarray(batch) for batch in batches])))

    def evaluation(self, split: str) -> Inputs:
        """A split that is evaluated as a whole."""
        inputs: Inputs = self.trial.splits[split]
        return inputs if not self._once else self._with_features(split, np.arange(len(inputs)))

    def _with_features(self, split: str, rows: np.ndarray) -> Inputs:
        inputs, prefix = self.trial.splits[split], self._prefix
        key = _key(self.trial, self._made_of, split, rows, prefix.count if prefix else None)
        if key not in _kept:
            computed = list(_computed(self.trial, inputs, rows, prefix))
            _kept[key] = States(computed) if prefix else torch.stack(computed)
            while len(_kept) > _KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        found = _kept[key]
        return PrefixInputs(inputs, rows, found) if isinstance(found, States) else FeatureInputs(inputs, rows, found)


def _unusable_reason(trial: RunningTrial, prefix: FrozenPrefix | None) -> str:
    """Return why the base has to run in each step; empty if its frozen layers always give the same for a row."""
    model, train = trial.model, trial.splits["train"]
    if not trial.config.trainer.reuse_features:
        return "in each step"
    if prefix is None and any(tensor.requires_grad for tensor in model.base.parameters()):
        return "in each step: weights of the base, or beside it, are trained from its first layer on"
    if prefix is not None and trial.config.trainer.activation_checkpointing:
        return "in each step: trainer.activation_checkpointing=true"
    if trial.config.task.watches_gradients:
        return "in each step: gradients of the tasks are compared"
    rows = train.sample(_LOOKED_AT)
    if not _alike(train.batch(rows), train.training_batch(rows)):
        return "in each step: training reads other than evaluation"
    batch = on_device(train.batch(rows), trial.device)
    found = list(_passes(trial, batch, prefix))
    first = found[0]
    if first is None and prefix is not None:
        return "in each step: its layers give more than a vector for each token"
    if first is None:
        return "in each step: the head reads more of the base than a vector"
    if not all(other is not None and torch.equal(first, other) for other in found[1:]):
        return "in each step: the base drops activations in training; model.dropout=0"
    if prefix is not None and not _passed_over_alike(trial, batch, prefix, first):
        return "in each step: its upper layers read more than what the lower ones give"
    if _bytes_of(first, trial, prefix) > _MOST_BYTES:
        return f"in each step: features of a split have more than {_MOST_BYTES // 2**20} MiB"
    return ""


def _alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Also where labels are missing, NaN in both."""
    same = (torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)
    return one.keys() == other.keys() - {"weights"} and all(same)


def _bytes_of(found: Tensor, trial: RunningTrial, prefix: FrozenPrefix | None) -> int:
    """Return the bytes kept of the largest split: a vector a row or, for states (B, L, H), one a token."""
    splits = trial.splits.values()
    if prefix is None:
        return found[0].numel() * found.element_size() * max(map(len, splits))
    tokens = max(int(np.maximum(split.lengths, 1).sum()) for split in splits)
    return tokens * found.shape[-1] * found.element_size()


@torch.no_grad()
def _passes(trial: RunningTrial, batch: dict[str, Tensor], prefix: FrozenPrefix | None) -> Iterator[Tensor | None]:
    """Yield the kept outputs, as in training, twice, and as in evaluation; the random state is restored."""
    model = trial.model.to(trial.device)
    with torch.random.fork_rng(devices=[trial.device] if trial.device.type == "cuda" else []):
        for training in (True, True, False):
            model.train(training)
            with autocast(trial.precision, trial.device):
                yield _frozen(trial, batch, prefix)
    model.train()


def _frozen(trial: RunningTrial, batch: dict[str, Tensor], prefix: FrozenPrefix | None) -> Tensor | None:
    """Return the frozen layers' output for a batch: features (B, F), or states (B, L, H) with their tokens."""
    if prefix is None:
        return trial.model.head_input(batch)
    states, mask = prefix.states(batch), batch.get("mask")
    placed = "images" in batch if mask is None else states is not None and mask.shape == states.shape[:2]
    return states if placed else None


@torch.no_grad()
def _passed_over_alike(trial: RunningTrial, batch: dict[str, Tensor], prefix: FrozenPrefix, states: Tensor) -> bool:
    """Return whether the network gives the same output for states as for the batch."""
    trial.model.eval()
    with autocast(trial.precision, trial.device):
        whole = trial.model(batch)
        prefix.open()
        try:
            found = trial.model(batch | {"prefix": states})
        finally:
            prefix.close()
    trial.model.train()
    return torch.equal(whole, found)


@torch.no_grad()
def _computed(trial: RunningTrial, inputs: Inputs, rows: np.ndarray, prefix: FrozenPrefix | None) -> Iterator[Tensor]:
    """The features (F) of some rows, or the states of their tokens (L, H), in the order of `rows`.

    They are computed in batches that follow from the rows alone: a resumed trial has the same.
    """
    order = np.argsort(-inputs.lengths[rows], kind="stable")
    found: list[Tensor] = []
    trial.model.to(trial.device).eval()
    for start in range(0, len(order), _ROWS):
        raise_if_stop_requested()
        own = inputs.batch(rows[order[start : start + _ROWS]].tolist())
        batch = on_device(own, trial.device)
        with autocast(trial.precision, trial.device):
            computed = _frozen(trial, batch, prefix)
        assert computed is not None
        kept, mask = computed.cpu(), own.get("mask")
        found += (
            list(kept)
            if prefix is None or mask is None
            else [states[known] for states, known in zip(kept, mask.bool(), strict=True)]
        )
    trial.model.train()
    return (found[place] for place in np.argsort(order).tolist())


def _key(trial: RunningTrial, made_of: Mapping[str, str], split: str, rows: np.ndarray, below: int | None) -> str:
    """The cache key of features: the data, the base, how it reads and computes, and the rows."""
    config = trial.config
    known: dict[str, object] = {
        "made_of": dict(made_of),
        "split": split,
        "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
        "below": below,
    }
    known |= {"model": config.model.hashed(), "task": config.task.hashed(), "threads": torch.get_num_threads()}
    if made_of["base"] == "fresh":
        known["seed"] = config.seed
    return json.dumps(known, sort_keys=True)
