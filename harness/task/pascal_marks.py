"""Human parts (Chen et al., 2014) and label maps in PASCAL-Context's MATLAB files, and edges between classes.

Shapes: H × W pixels of a file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import ConfigError
from harness.task.dense_answers import VOID

_OF_THE_HEAD = ("head", "hair", "nose", "mouth", *(side + part for side in "lr" for part in ("eye", "ear", "ebrow")))
_OF_A_SIDE = {"uarm": 3, "larm": 4, "hand": 4, "uleg": 5, "lleg": 6, "foot": 6}
PARTS: Mapping[str, int] = {
    **dict.fromkeys(_OF_THE_HEAD, 1),
    **dict.fromkeys(("torso", "neck"), 2),
    **{side + part: number for side in "lr" for part, number in _OF_A_SIDE.items()},
}
"""The class of each part of a person: 1 head, 2 torso, 3 upper and 4 lower arms, 5 upper and 6 lower legs; 0: none."""


def human_parts(path: Path) -> np.ndarray:
    """Classes (H, W) of people's parts; VOID everywhere where no person has parts, as the published evaluation has it.

    Raises ConfigError for a file that does not say it, and for a part that no person has.
    """
    try:
        objects = _listed(_loaded(path, "anno")["objects"])
        people = [each for each in objects if each["class"] == "person"]
        parts = [part for each in people for part in _listed(each["parts"])]
        found = np.full(np.asarray(objects[0]["mask"]).shape, 0 if parts else VOID, dtype=np.int64)
        for part in parts:
            found[np.asarray(part["mask"], dtype=bool)] = PARTS[part["part_name"]]
    except (KeyError, IndexError, TypeError) as error:
        rule = "anno.objects with class, mask and parts of part_name and mask, as in PASCAL-Part"
        raise ConfigError(f"{path}: {error} is not what was looked for: {rule}") from None
    return found


def label_map(path: Path) -> np.ndarray:
    """Classes (H, W) of everything in an image, of which there are 459."""
    return np.asarray(_loaded(path, "LabelMap")).astype(np.int64)


def edges_between(labels: np.ndarray) -> np.ndarray:
    """1 (H, W) where the pixel to the right or below is of another class, else 0.

    A pixel without a class counts to the class that is nearest; not a number where none has one.
    """
    from scipy.ndimage import distance_transform_edt

    void = labels == VOID
    if void.all():
        return np.full(labels.shape, np.nan, dtype=np.float32)
    if void.any():
        nearest = distance_transform_edt(void, return_distances=False, return_indices=True)
        labels = labels[tuple(nearest)]
    found = np.zeros(labels.shape, dtype=bool)
    found[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    found[:-1] |= labels[1:] != labels[:-1]
    return found.astype(np.float32)


def _loaded(path: Path, name: str) -> Any:
    """A variable of a MATLAB file, its structs as dictionaries."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path, simplify_cells=True)[name]
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, KeyError) as error:
        raise ConfigError(f"{path}: no MATLAB file with {name}: {error}") from None


def _listed(value: Any) -> list[Any]:
    """A struct array as a list of its structs: of one struct MATLAB keeps no list."""
    return [value] if isinstance(value, dict) else list(value)
