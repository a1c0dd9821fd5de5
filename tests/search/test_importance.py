"""Importances of a search's dimensions: the one that decides is found, noise is not, and few trials give no figure."""

import dataclasses
import json
import random

import pytest

from harness.commands.importance import write_importances
from harness.config import check, to_dict, to_yaml
from harness.report.importance import section
from harness.report.page import read_page, write_report
from harness.search.importance import LEAST_TRIALS, importances
from harness.system.study_files import CONFIG, IMPORTANCES
from tests.report.studies import write_study
from tests.test_record import make

COMPARED = {
    "scientific": {"lora.rank": [1, 4, 16], "lora.dropout": [0.0, 0.1]},
    "nuisance": {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "lora.scale": {"low": 0.5, "high": 4.0}},
    "baselines": {"full": {"set": {"lora": {"name": "full"}}, "nuisance": {}}},
    "trials": 8,
    "startup": 3,
    "prune_after": None,
}


@pytest.fixture
def config_of(tree):
    return lambda **changes: check(tree("sweep=rank_alpha_lr", "run=study") | {"sweep": COMPARED | changes})


def trials(decided_by, joint=False, each=8, seed=0):
    """Scores that one dimension decides, with a little noise; baselines that score best."""
    draw, found = random.Random(seed), []
    for number in range(6 * each):
        rank, dropout = (1, 4, 16)[number % 3], (0.0, 0.1)[number // 3 % 2]
        point = {"optimizer.lr": 10 ** draw.uniform(-4, -2), "lora.scale": draw.uniform(0.5, 4.0)}
        compared = {"lora.rank": rank, "lora.dropout": dropout}
        value = (compared | point)[decided_by]
        score = 0.8 - 0.1 * abs(value - 4) / 12 if decided_by == "lora.rank" else 0.8 - 0.05 * abs(value - 1.2)
        point = compared | point if joint else point
        arm = f"rank={rank},dropout={dropout}"
        found.append(entry(number, arm, point, score + draw.gauss(0, 0.002)))
    return [*found, *(entry(6 * each + at, "full", {}, 0.95) for at in range(3))]


def entry(number, arm, point, score):
    return make(number, arm=arm, point=point, scores={"val": {"accuracy": score, "loss": 1 - score}})


@pytest.mark.parametrize("decided_by", ["lora.rank", "lora.scale"])
@pytest.mark.parametrize("mode", ["compared", "joint"])
def test_the_dimension_that_decides_is_found_and_the_others_are_chance(config_of, decided_by, mode):
    found = importances(config_of(mode=mode).sweep, trials(decided_by, mode == "joint"))
    assert found.trials == 48, "without baselines"
    assert set(found.shares) == {"lora.rank", "lora.dropout", "optimizer.lr", "lora.scale"}
    assert next(iter(found.shares)) == decided_by
    assert found.shares[decided_by] > 0.6
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.p[decided_by] <= 0.04
    assert sum(found.p[key] < 0.05 for key in found.p) == 1


def test_noise_alone_decides_nothing(config_of):
    draw = random.Random(1)
    noise = [entry(each.trial, each.arm, each.point, draw.random()) for each in trials("lora.rank")]
    assert min(importances(config_of().sweep, noise).p.values()) > 0.05


def test_a_lower_loss_is_the_better_one(config_of):
    by_score = trials("lora.rank")
    by_loss = [dataclasses.replace(each, objective="loss") for each in by_score]
    found, same = (importances(config_of().sweep, each) for each in (by_loss, by_score))
    assert (found.metric, found.shares) == ("loss", same.shares)


def test_the_report_has_a_table_a_picture_and_a_section_of_the_page(config_of, tmp_path):
    folder = write_study(tmp_path / "s", trials("lora.rank"))
    (folder / CONFIG).write_text(to_yaml(to_dict(config_of())))
    write_importances(folder)
    text = write_report(folder)
    assert "What decided whether a trial was among the best 25 % by validation accuracy (48 trials):" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| lora.rank ")]
    assert row.endswith("| more than chance     |")
    assert (folder / "importances.png").stat().st_size > 5000
    assert "importances.png" in text
    assert read_page(folder)["importances"] == json.loads((folder / IMPORTANCES).read_text())


def test_too_few_trials_are_said_in_place_of_a_figure(config_of, tmp_path):
    folder = write_study(tmp_path / "s", trials("lora.rank", each=3))
    (folder / CONFIG).write_text(to_yaml(to_dict(config_of())))
    write_importances(folder)
    assert section(folder) == [
        f"Which dimension mattered: too few trials, 18 complete ones of at least {LEAST_TRIALS}."
    ]
    assert "importances.png" not in write_report(folder)
    one = config_of(scientific={"lora.rank": [1, 4, 16]}, nuisance={}, trials=1, startup=1)
    assert importances(one.sweep, [entry(at, "rank=1", {}, 0.5) for at in range(30)]) is None
    (folder / CONFIG).unlink()
    write_importances(folder)
    assert section(folder) == []
