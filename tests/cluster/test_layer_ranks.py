"""Ranks by group of layers under a budget of parameters: groups, costs, refusals, and a study that is trained."""

import sys

import pytest

from harness import __main__ as command
from harness import record
from harness.cluster.study import check_arms, trial_config
from harness.config import ConfigError, check, to_dict
from harness.config.arms import arms
from harness.trial.adapt import count
from harness.trial.layer_ranks import with_rank_groups
from tests.cluster import crowd, stub
from tests.tiny import words_of

WORDS = [
    "sweep=rank_alpha_lr",
    "sweep.mode=joint",
    "+sweep.scientific.lora.rank=null",
    "~sweep.baselines.head",
    "sweep.startup=3",
]
WORDS += ["sweep.startup=3", "sweep.trials=6", "sweep.baseline_trials=1", "lora.targets=[query,value,ffn_up]"]


@pytest.fixture
def config_of(tree):
    return lambda *words: check(tree(*WORDS, "run=study", "study=s", *words))


def resolved(config):
    return with_rank_groups(config).sweep.ranks


def test_groups_are_of_all_adapted_layers_and_cost_what_a_rank_adds(config_of):
    config = config_of("sweep.ranks={by: role, high: 8}")
    ranks = resolved(config)
    assert ranks.costs == {"query": 2 * 32, "value": 2 * 32, "ffn_up": 2 * (16 + 32)}, "two layers of width 16"
    by_layer = resolved(config_of("sweep.ranks={by: layer, high: 8}"))
    assert len(by_layer.costs) == 6
    assert sum(by_layer.costs.values()) == sum(ranks.costs.values())
    by_depth = resolved(config_of("sweep.ranks={by: depth, blocks: 2, high: 8}"))
    assert by_depth.costs == {"block1": 32 + 32 + 48, "block2": 32 + 32 + 48}
    groups = "groups: {first: '.*layer\\.0\\..*', rest: '.*'}"
    by_group = resolved(config_of(f"sweep.ranks={{by: group, high: 8, {groups}}}"))
    assert by_group.costs == {"first": 112, "rest": 112}
    for each in (ranks, by_layer, by_depth, by_group):
        assert list(each.space) == [f"lora.ranks.{name}" for name in each.costs]


def test_every_proposed_trial_has_the_ranks_of_its_point_and_keeps_the_budget(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    config = with_rank_groups(config_of("sweep.ranks={by: role, high: 8}", "sweep.budget={parameters: 900}"))
    check_arms(config)
    entries = [entry for entry in crowd.undisturbed(config, tmp_path) if entry.arm != "full"]
    assert len({entry.arm for entry in entries}) > 3
    for entry in entries:
        counted = count(trial_config(to_dict(config), arms(config.sweep)[0], entry.point))
        assert 900 - 64 < counted["params"]["adapter"] <= 900
        ranks = {
            name.split(".")[-2] if "dense" in name else name.split(".")[-1]: r for name, r in counted["ranks"].items()
        }
        assert sorted(ranks.values()) == sorted(
            entry.point[f"lora.ranks.{role}"] for role in ("query", "value", "ffn_up")
        )
        assert entry.arm == ",".join(
            f"{role}={entry.point[f'lora.ranks.{role}']}" for role in ("query", "value", "ffn_up")
        )


def test_workers_agree_under_a_budget(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    words = ["sweep.ranks={by: layer, high: 8}", "sweep.budget={parameters: 900}", "sweep.lag=2", "sweep.trials=8"]
    words += ["sweep.sampler={name: nsgaii, population_size: 3}"]
    crowd.same_for_any_number(with_rank_groups(config_of(*words)), tmp_path, 2, 9)


WRONG = [
    (["sweep.budget={parameters: 9}"], "sweep.budget: of ranks by group; give sweep.ranks, as in"),
    (["sweep.ranks={by: role, high: 1}"], "sweep.ranks=[1, 1]: low must be below high"),
    (["sweep.ranks={by: role, low: 0, high: 4}"], "sweep.ranks.log=true: a log range starts above 0; sweep.ranks.log="),
    (
        ["sweep.ranks={by: rolle, high: 4}"],
        "sweep.ranks.by=\"rolle\": input should be 'role', 'layer', 'depth' or",
    ),
    (["sweep.ranks={by: group, high: 4}"], "sweep.ranks.by=group: sweep.ranks.groups are the patterns of sweep.ranks"),
    (["sweep.ranks={by: group, high: 4, groups: {a: '('}}"], "sweep.ranks.groups.a=(: missing ), unterminated subpat"),
    (["sweep.ranks={by: role, high: 4}", "+sweep.scientific.lora.rank=[1, 2]"], "sweep.ranks: sets ranks by group, "),
    (["sweep.ranks={by: depth, blocks: 5, high: 4}"], "sweep.ranks.blocks=5: the adapted layers stand at 2 depths"),
    (["sweep.ranks={by: group, high: 4, groups: {a: x}}"], "sweep.ranks.groups: no pattern matches the adapted layer"),
    (
        ["sweep.ranks={by: group, high: 4, groups: {a: '.*', b: '.*'}}"],
        "sweep.ranks.groups.b=.*: matches no adapted layer that is left",
    ),
    (
        ["sweep.ranks={by: role, high: 4}", "sweep.budget={parameters: 100}"],
        "sweep.budget.parameters=100: ranks from 1 to 4 come to 224 to 896 parameters",
    ),
    (["sweep.ranks={by: role, high: 64}"], "arm joint: lora: rank 64"),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=[line for _, line in WRONG])
def test_each_mistake_is_a_line(config_of, words, line):
    with pytest.raises(ConfigError) as caught:
        check_arms(with_rank_groups(config_of(*words)))
    assert str(caught.value).startswith(line)


def test_ranks_by_role_are_really_trained(tiny_base, tiny_data, tmp_path, own_cache, monkeypatch):
    small = ["trainer.batch_size=8", "trainer.max_steps=2", "trainer.evaluations=1", "trainer.accelerator=cpu"]
    space = [
        "sweep.ranks={by: role, high: 8}",
        "sweep.budget={parameters: 900}",
        "sweep.confirm=null",
        "sweep.trials=5",
    ]
    words = [*words_of(tiny_base, tiny_data), *small, *WORDS, *space, "tracking=off", "study=s", "run=study"]
    for _ in range(2):  # and taken up again
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        command.main()
    said = (tmp_path / "results/s/table.md").read_text()
    entries = [entry for entry in record.read(tmp_path / "results/s") if entry.arm != "full"]
    assert len(entries) == 5
    assert " rank " in said
    for entry in entries:
        assert entry.state == "complete"
        assert sorted(set(entry.adapter.ranks.values())) == sorted(
            {value for key, value in entry.point.items() if key.startswith("lora.ranks.")}
        )
