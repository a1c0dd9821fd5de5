"""Constant answers, learned from nothing, scored by the same metrics as the trials."""

import math
from collections.abc import Mapping
from functools import partial

from harness.config import TrainerConfig
from harness.record import direction
from harness.system.figures import figure
from harness.task import SPLITS, Inputs, Task
from harness.training import scored_texts
from harness.trial.single import metrics_by

Constants = dict[str, dict[str, dict[str, float]]]
"""By what is said of it the scores by held-out split."""

_found: dict[str, Constants] = {}  # the last ones of this process: the same in all trials of a study


def constant_scores(task: Task, settings: TrainerConfig, inputs: Mapping[str, Inputs]) -> Constants:
    """The scores that are finite numbers. Texts are compared with what `inputs`, where given, want written."""
    key = repr((task.name, task.sha256, settings.objective, settings.measures, sorted(inputs)))
    if key not in _found:
        _found.clear()
        _found[key] = _scores(task, settings, inputs)
    return _found[key]


def _scores(task: Task, settings: TrainerConfig, inputs: Mapping[str, Inputs]) -> Constants:
    found: Constants = {}
    names = [name for name in (settings.objective, *settings.measures) if ":" not in name]  # a user's may be costly
    for split in SPLITS[1:]:
        scores = task.constant_scores(split, partial(metrics_by, task, names))
        for said, by_name in (scores | _of_texts(task, settings, inputs, split)).items():
            finite = {name: value for name, value in by_name.items() if math.isfinite(value)}
            if finite:
                found.setdefault(said, {})[split] = finite
    return found


def _of_texts(
    task: Task, settings: TrainerConfig, inputs: Mapping[str, Inputs], split: str
) -> dict[str, dict[str, float]]:
    generation = task.generation_of(split)
    if generation is None:
        return {}
    wanted = generation.references
    references = inputs[split].wanted_texts(wanted) if split in inputs else wanted
    return {
        said: scored_texts(generation, texts, references, settings.text_measures).scores
        for said, texts in task.constant_texts(split).items()
    }


def constant_lines(task: Task, settings: TrainerConfig, inputs: Mapping[str, Inputs]) -> list[str]:
    """A line on what is best on validation by the objective; none where nothing has a score by it, and of accuracy,
    which every summary of classes has.
    """
    name = settings.objective
    if name == "accuracy" and task.classes:
        return []
    known = {
        said: {split: scores[name] for split, scores in by_split.items() if name in scores}
        for said, by_split in constant_scores(task, settings, inputs).items()
    }
    known = {said: scores for said, scores in known.items() if "validation" in scores}
    if not known:
        return []
    best = max(known, key=lambda said: direction(name) * known[said]["validation"])
    told = ", ".join(f"{figure(value)} on {split}" for split, value in known[best].items())
    return [f"best by {name} without having learned anything: {best}, {told}"]
