"""The effect of a study's trials on each layer of their base, measured from the saved weights."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import Tensor

from harness.config import ConfigError
from harness.lora.weight_change import subspace_similarity, weight_change
from harness.record import Record, best_by, trial_path
from harness.report.layers import LayerChange, Similarity
from harness.trial.trained import trained_of
from harness.trial.weights import changed_matrices, has_weights

_DIRECTIONS = (1, 4)
Subspaces = dict[tuple[int, str], tuple[Tensor, Tensor]]
"""The leading output and input directions of ΔW by trial and layer."""


def analysed(records: Sequence[Record], folder: Path) -> list[Record]:
    """The trials to look at: those that confirm an arm, else its best one on validation.

    Trials without weights, as those of a frozen base, are left out.
    """
    best = best_by((entry for entry in records if entry.phase == "search"), lambda entry: entry.arm)
    again = [entry for entry in records if entry.phase == "confirm" and entry.state == "complete"]
    chosen = [entry for arm in best for entry in ([e for e in again if e.arm == arm] or [best[arm]])]
    return [entry for entry in chosen if has_weights(folder / trial_path(entry.trial))]


def analyse_layers(
    records: Sequence[Record], folder: Path, progress: Callable[[Record, str], None]
) -> tuple[list[LayerChange], list[Similarity]]:
    """Every matrix that each trial changed, and how alike the changes of the same matrix are between trials.

    `progress` hears of each trial, and why one is left out whose weights cannot be read as a change of matrices, as
    those of PEFT's other methods. Raises ConfigError where that is so of all.
    """
    changes: list[LayerChange] = []
    subspaces: Subspaces = {}
    for entry in records:
        try:
            changes += _changes(entry, folder, subspaces)
        except ConfigError as error:
            progress(entry, f"left out: {error}")
        else:
            progress(entry, "")
    if not changes:
        raise ConfigError("no trial's weights can be read as changes of matrices: see above")
    return changes, list(_similarities(changes, subspaces))


def _changes(entry: Record, folder: Path, subspaces: Subspaces) -> Iterator[LayerChange]:
    for layer, before, after in changed_matrices(trained_of(entry, folder)):
        found = weight_change(before, after)
        if found is None:
            continue
        subspaces[entry.trial, layer] = found.outputs, found.inputs
        yield LayerChange(
            trial=entry.trial,
            arm=entry.arm,
            seed=entry.seeds.trial,
            layer=layer,
            rank=entry.adapter.ranks.get(layer, min(before.shape)),
            norm=found.norm,
            relative=found.relative,
            stable_rank=found.stable_rank,
            effective_rank=found.effective_rank,
            amplification=found.amplification,
            intruders=found.intruders,
            singular_values=found.singular_values,
        )


def _similarities(changes: Sequence[LayerChange], subspaces: Subspaces) -> Iterator[Similarity]:
    """Pairs of one arm with two seeds, or of two arms with the same seed, so that only one thing differs."""
    for one, other in itertools.combinations(changes, 2):
        same_arm, same_seed = one.arm == other.arm, one.seed == other.seed
        if one.layer != other.layer or same_arm == same_seed:
            continue
        (left, right), (left_2, right_2) = subspaces[one.trial, one.layer], subspaces[other.trial, other.layer]
        for directions in _DIRECTIONS:
            if directions <= min(right.shape[1], right_2.shape[1]):
                yield Similarity(
                    one=one,
                    other=other,
                    directions=directions,
                    inputs=subspace_similarity(right, right_2, directions),
                    outputs=subspace_similarity(left, left_2, directions),
                    chance=directions / len(right),
                )
