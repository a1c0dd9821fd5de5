"""What tasks gain together against each alone, as a score: by its formula, as an objective, refused without scores."""

import re

import pytest

from harness.config import ConfigError
from harness.record.figures import figure
from harness.trial import TrialContext
from harness.trial.run import run_trial
from tests.trial.test_dense import TRAINED, compose_dense  # noqa: F401  a fixture

ALONE = {"good": 0.8, "size": 0.5, "again": 0.9}


def gains(scores, alone, measures, errors=()):
    """Maninis et al. (2019), from the scores of a record."""
    each = {task: 100 * (scores[f"{task}/{name}"] - alone[task]) / alone[task] for task, name in measures.items()}
    return sum(-gain if task in errors else gain for task, gain in each.items()) / len(each)


@pytest.fixture
def trial(tmp_path, own_cache):
    def go(config, reported=None):
        def report(step, scores):
            (reported if reported is not None else []).append(scores.get("delta_m"))
            return False

        (tmp_path / "trial").mkdir()
        entry = run_trial(config, TrialContext("s", 0, "arm", tmp_path / "trial"), report)
        assert (entry.state, entry.reason) == ("complete", "")
        return entry

    return go


def test_of_tasks_of_texts_it_is_the_mean_gain_and_can_be_searched_by(compose_mixture, trial):
    words = ("trainer.objective=delta_m", "trainer.max_steps=24", "trainer.evaluations=2", "lora.rank=2")
    reported: list[float] = []
    entry = trial(compose_mixture(*words, alone=ALONE), reported)
    measures = {"good": "accuracy", "size": "r2", "again": "accuracy"}
    for split in ("val", "test"):
        assert entry.scores[split]["delta_m"] == pytest.approx(gains(entry.scores[split], ALONE, measures))
    assert entry.objective == "delta_m"
    assert figure(entry, "val") == entry.scores["val"]["delta_m"] == pytest.approx(max(reported), abs=1e-6)


def test_of_tasks_of_pixels_less_error_is_a_gain(compose_dense, trial):  # noqa: F811
    alone = {"segmentation": 0.2, "depth": 0.4, "normals": 50.0}
    words = [f"task.answers=[{','.join(alone)}]", f"task.alone={{{','.join(f'{k}: {v}' for k, v in alone.items())}}}"]
    entry = trial(compose_dense("lora=mtlora", *TRAINED, *words))
    measures = {"segmentation": "miou", "depth": "rmse", "normals": "angle"}
    found = gains(entry.scores["val"], alone, measures, errors=("depth", "normals"))
    assert entry.scores["val"]["delta_m"] == pytest.approx(found)


@pytest.mark.parametrize(
    ("alone", "message"),
    [
        ({"good": 0.8, "size": 0.5}, "task.alone: again has none; the validation score of the task by itself"),
        (ALONE | {"gud": 1.0}, "no task gud; did you mean good?"),
        (ALONE | {"size": 0.0}, "task.alone.size=0: a gain in percent of nothing"),
    ],
)
def test_it_needs_a_score_of_each_task(compose_mixture, alone, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        compose_mixture(alone=alone)


def test_without_scores_of_tasks_alone_it_is_no_objective(compose_mixture):
    with pytest.raises(ConfigError, match="delta_m"):
        compose_mixture("trainer.objective=delta_m")
