"""The features that a frozen base gives each row, computed once for all steps and evaluations, where that is exact.

Shapes: B rows of a batch, N rows of a split, F features.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, repeat

import numpy as np
import torch
from torch import Tensor

from harness.model import Network
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

_kept: "OrderedDict[str, Tensor]" = OrderedDict()


class FeatureInputs(WrappedInputs):
    """A split whose batches have a `head_input` (B, F) beside what the base reads; it is there for `rows` alone."""

    def __init__(self, inputs: Inputs, rows: np.ndarray, features_NF: Tensor) -> None:
        super().__init__(inputs)
        self._features_NF = features_NF
        self._place = torch.full((len(inputs),), -1)
        self._place[torch.from_numpy(rows)] = torch.arange(len(rows))

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self.own.batch(rows) | self._features(rows)

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self.own.training_batch(rows) | self._features(rows)

    def _features(self, rows: Sequence[int]) -> dict[str, Tensor]:
        places = self._place[list(rows)]
        assert places.min() >= 0, "a row without features"
        return {"head_input": self._features_NF[places]}


class Features:
    """What of a trial's splits is computed once. `said` is `once`, or why it is computed in each step."""

    def __init__(self, trial: RunningTrial) -> None:
        self.trial = trial
        self.reuse = _unusable_reason(trial) or "once"
        self._made_of = identity(trial.config) if self.reuse == "once" else {}

    def training(self, steps: int) -> Inputs:
        """The training split, with the features of the rows of so many steps."""
        inputs: Inputs = self.trial.splits["train"]
        if self.reuse != "once":
            return inputs
        drawn = self.trial.training_batches(inputs).batch_sampler
        assert drawn is not None
        batches = islice(chain.from_iterable(repeat(drawn)), steps)
        return self._with_features("train", np.unique(np.concatenate([np.asarray(batch) for batch in batches])))

    def evaluation(self, split: str) -> Inputs:
        """A split that is evaluated as a whole."""
        inputs: Inputs = self.trial.splits[split]
        return inputs if self.reuse != "once" else self._with_features(split, np.arange(len(inputs)))

    def _with_features(self, split: str, rows: np.ndarray) -> Inputs:
        inputs, key = self.trial.splits[split], _key(self.trial, self._made_of, split, rows)
        if key not in _kept:
            _kept[key] = _computed(self.trial, inputs, rows)
            while len(_kept) > _KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return FeatureInputs(inputs, rows, _kept[key])


def _unusable_reason(trial: RunningTrial) -> str:
    """Why the base has to be run in each step; nothing where its features of a row are always the same."""
    model, train = trial.model, trial.splits["train"]
    if not trial.config.trainer.reuse_features:
        return "in each step"
    if any(tensor.requires_grad for tensor in model.base.parameters()):
        return "in each step: weights of the base, or beside it, are trained"
    if trial.config.task.watches_gradients:
        return "in each step: gradients of the tasks are compared"
    rows = train.sample(_LOOKED_AT)
    if not _alike(train.batch(rows), train.training_batch(rows)):
        return "in each step: training reads other than evaluation"
    batch = on_device(train.batch(rows), trial.device)
    found = list(_passes(trial, model, batch))
    first = found[0]
    if first is None:
        return "in each step: the head reads more of the base than a vector"
    if not all(other is not None and torch.equal(first, other) for other in found[1:]):
        return "in each step: the base drops activations in training; model.dropout=0"
    if first[0].numel() * first.element_size() * max(map(len, trial.splits.values())) > _MOST_BYTES:
        return f"in each step: features of a split have more than {_MOST_BYTES // 2**20} MiB"
    return ""


def _alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Also where labels are missing, NaN in both."""
    same = (torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)
    return one.keys() == other.keys() - {"weights"} and all(same)


@torch.no_grad()
def _passes(trial: RunningTrial, model: Network, batch: dict[str, Tensor]) -> Iterator[Tensor | None]:
    """Features as in training, twice, and as in evaluation; the random state is left as it was."""
    model.to(trial.device)
    with torch.random.fork_rng(devices=[trial.device] if trial.device.type == "cuda" else []):
        for training in (True, True, False):
            model.train(training)
            with autocast(trial.precision, trial.device):
                yield model.head_input(batch)
    model.train()


@torch.no_grad()
def _computed(trial: RunningTrial, inputs: Inputs, rows: np.ndarray) -> Tensor:
    """Features (N, F) of some rows, in batches that follow from the rows alone: a resumed trial has the same."""
    order = np.argsort(-inputs.lengths[rows], kind="stable")
    found: list[Tensor] = []
    trial.model.to(trial.device).eval()
    for start in range(0, len(order), _ROWS):
        raise_if_stop_requested()
        batch = on_device(inputs.batch(rows[order[start : start + _ROWS]].tolist()), trial.device)
        with autocast(trial.precision, trial.device):
            features = trial.model.head_input(batch)
        assert features is not None
        found.append(features.cpu())
    trial.model.train()
    return torch.cat(found)[torch.from_numpy(np.argsort(order))]


def _key(trial: RunningTrial, made_of: Mapping[str, str], split: str, rows: np.ndarray) -> str:
    """Of features that are the same: by data, base, how it reads and computes, and the rows."""
    config = trial.config
    known: dict[str, object] = {
        "made_of": dict(made_of),
        "split": split,
        "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
    }
    known |= {"model": config.model.hashed(), "task": config.task.hashed(), "threads": torch.get_num_threads()}
    if made_of["base"] == "fresh":
        known["seed"] = config.seed
    return json.dumps(known, sort_keys=True)
