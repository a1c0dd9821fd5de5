"""Ranks by group of layers under a budget: groups, costs, refusals, and a study that is trained."""

import dataclasses
import itertools
import re
import sys

import pytest

from harness import __main__ as command
from harness import record
from harness.cluster.study import check_arms, trial_config
from harness.cluster.study_folder import load_study
from harness.config import ConfigError, check, to_dict
from harness.config.arms import arms
from harness.config.layer_ranks import BudgetConfig
from harness.search.checks import check_search
from harness.search.plan import SearchPlan, budget_of
from harness.search.proposals import propose
from harness.trial.adapt import count
from harness.trial.layer_ranks import with_rank_groups
from harness.trial.profiles import with_profiles
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
    budget = BudgetConfig(parameters=500)
    return with_rank_groups(
        dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, budget=budget))
    ).sweep.ranks


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


def memory_of(config, points):
    """What each point's network holds in training, by counting it."""
    tree, arm = to_dict(config), arms(config.sweep)[0]
    return [sum(count(trial_config(tree, arm, point))["memory"].values()) for point in points]


def points_of(config, low):
    """Every point of three roles with ranks from `low` to 3."""
    keys = [f"lora.ranks.{role}" for role in config.sweep.ranks.layers]
    return [dict(zip(keys, ranks, strict=True)) for ranks in itertools.product(range(low, 4), repeat=len(keys))]


def test_a_budget_of_bytes_is_what_counting_says_of_weights_gradients_and_the_optimiser(config_of):
    ranks = "sweep.ranks={by: role, low: 1, high: 3}"
    free, parameters = with_rank_groups(config_of(ranks)), resolved(config_of(ranks)).costs
    points = points_of(free, 1)
    truth = dict(zip(map(str, points), memory_of(free, points), strict=True))
    for most in sorted(set(truth.values()))[::4]:
        config = with_rank_groups(config_of(ranks, f"sweep.budget={{memory: {most}}}"))
        assert config.sweep.ranks.costs == {role: 16 * cost for role, cost in parameters.items()}
        budget = budget_of(config.sweep)
        assert [budget.used(point) for point in points] == list(truth.values())
        for point in points:
            found = budget.project(point)
            higher = [found | {key: rank + 1} for key, rank in found.items() if rank < 3]
            assert truth[str(found)] <= most < min((truth[str(more)] for more in higher), default=most + 1)


def test_a_group_of_rank_0_is_charged_no_less_than_it_costs(config_of):
    ranks = "sweep.ranks={by: role, low: 0, high: 3, log: false}"
    free = with_rank_groups(config_of(ranks))
    (most,) = memory_of(free, [points_of(free, 2)[0]])
    budget = budget_of(with_rank_groups(config_of(ranks, f"sweep.budget={{memory: {most}}}")).sweep)
    points = points_of(free, 0)[1:]
    for point, truth in zip(points, memory_of(free, points), strict=True):
        empty = list(point.values()).count(0)
        assert budget.used(point) - truth == 2 * empty * 2 * 4, "the step counters of A and B in each of two layers"


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
    (
        [
            "sweep.ranks={by: role, high: 4}",
            "sweep.budget={parameters: 300}",
            "+sweep.nuisance.lora.variant='choice(lora,dora)'",
        ],
        "sweep.budget: one price of a rank for all trials, and lora.variant changes it",
    ),
    (
        [
            "sweep.ranks={by: role, high: 4}",
            "sweep.budget={flops: 3000000}",
            "+sweep.nuisance.trainer.batch_size='choice(8,32)'",
        ],
        "sweep.budget: one price of a rank for all trials, and trainer.batch_size changes it",
    ),
    (
        [
            "sweep.ranks={by: role, high: 4}",
            "sweep.budget={memory: 28500}",
            "+sweep.nuisance.optimizer.name='choice(AdamW,SGD)'",
        ],
        "sweep.budget: one price of a rank for all trials, and optimizer.name changes it",
    ),
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
    (["sweep.ranks={by: role, high: 64}"], "sweep.ranks.high=64: no group can have it; the highest rank is 16, by in"),
    (
        ["sweep.ranks={by: role, high: 4}", "sweep.budget={parameters: 100, memory: 9}"],
        "sweep.budget: parameters=100 and memory=9 are given; one of them, the others null, as in sweep.budget.par",
    ),
    (["sweep.ranks={by: role, high: 4}", "sweep.budget={}"], "sweep.budget: of nothing; one of parameters, memory, fl"),
    (["sweep.ranks={by: role, high: 4}", "sweep.budget={memory: 9}"], "sweep.budget.memory=9: ranks from 1 to 4 come"),
    (["sweep.ranks={by: role, high: 4}", "sweep.budget={flops: 9}"], "sweep.budget.flops=9: ranks from 1 to 4 come"),
    (
        ["sweep.ranks={by: role, high: 4}", "sweep.budget={memory: 40MiB}"],
        'sweep.budget.memory="40MiB": input should be a valid integer',
    ),
    (
        ["sweep.ranks={by: role, high: 4}", "sweep.budget={memory: 30000}", "lora.variant=adalora"],
        "sweep.budget.memory: with lora.variant=adalora what ranks cost is no s",
    ),
    (["sweep.allocate={uniform: null}", "sweep.budget={memory: 9}"], "sweep.budget.memory=9: below "),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=[line for _, line in WRONG])
def test_each_mistake_is_a_line(config_of, words, line):
    with pytest.raises(ConfigError) as caught:
        check_arms(with_rank_groups(with_profiles(config_of(*words))))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


ENQUEUED = [
    ({"lora.ranks.query": 8, "lora.scale": 1.0}, None),
    ({"lora.ranks.query": 9}, "sweep.enqueue.0.lora.ranks.query=9: not in its range [1, 8]"),
    ({"lora.ranks.quary": 2}, "sweep.enqueue.0.lora.ranks.quary=2: no dimension; did you mean lora.ranks.query?"),
]


@pytest.mark.parametrize(("point", "line"), ENQUEUED, ids=str)
def test_ranks_by_group_are_tried_first_and_are_checked_once_their_groups_are_known(config_of, point, line):
    config = config_of("sweep.ranks={by: role, high: 8}")
    config = dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, enqueue=[point]))
    check_search(config)
    known = with_rank_groups(config)
    if line is None:
        check_search(known)
        (joint, *_) = arms(known.sweep)
        assert propose(joint, 0, SearchPlan.of(known), []).items() >= point.items()
        return
    with pytest.raises(ConfigError) as caught:
        check_search(known)
    assert str(caught.value).startswith(line)


def test_a_sampler_is_asked_about_ranks_by_group_too(config_of):
    """CMA-ES needs two dimensions, which the ranks are; a grid has the points of them all."""
    words = ["sweep.ranks={by: role, high: 2}", "~sweep.baselines.full", "+sweep.nuisance.optimizer.lr=null"]
    one = [*words, "sweep.sampler=cmaes", "+sweep.nuisance.lora.scale={low: 1.0, high: 2.0}"]
    for config in (config_of(*one), with_rank_groups(config_of(*one))):
        check_search(config)
    grid = config_of(*words, "+sweep.nuisance.lora.scale=null", "sweep.sampler=grid", "sweep.trials=9")
    check_search(grid)
    with pytest.raises(
        ConfigError, match=r"sweep.trials=9: sweep.sampler=grid has 8 points in arm joint; sweep.trials=8"
    ):
        check_search(with_rank_groups(grid))


def test_a_study_of_enqueued_ranks_is_refused_before_it_is_begun(run_here, tiny_base, tiny_data, tmp_path, own_cache):
    words = [*words_of(tiny_base, tiny_data), *WORDS, "run=study", "study=s", "tracking=off", "sweep.confirm=null"]
    code, _, error = run_here(*words, "sweep.ranks={by: role, high: 8}", "sweep.enqueue=[{lora.ranks.query: 9}]")
    assert (code, error.splitlines()[-1].partition(":")[0]) == (2, "sweep.enqueue.0.lora.ranks.query=9")
    assert not (tmp_path / "results/s").exists()


def test_a_budget_of_bytes_counts_the_state_of_adamw_alone(config_of):
    words = ["sweep.ranks={by: role, high: 4}", "sweep.budget={memory: 30000}"]
    check_search(config_of(*words))
    for more in (["optimizer.name=SGD"], ["+optimizer.arguments={amsgrad: true}"]):
        with pytest.raises(ConfigError, match=r"sweep.budget.memory=30000: counts AdamW's two moments, and optimizer"):
            check_search(config_of(*words, *more))


def test_allocated_ranks_keep_a_budget_of_bytes_and_none_could_be_one_higher(config_of):
    words = ["sweep.allocate={uniform: null, gradient: null}", "trainer.batch_size=8", "lora.rank=2"]

    def bytes_with(config, pairs):
        lora = dataclasses.replace(config.lora, ranks=pairs)
        return sum(count(dataclasses.replace(config, lora=lora, sweep=None))["memory"].values())

    plain = config_of()
    most = bytes_with(plain, [(".*", 2)]) + 100
    config = with_profiles(config_of(*words, f"sweep.budget={{memory: {most}}}"))
    assert list(config.sweep.profiles) == ["uniform", "gradient"]
    for pairs in config.sweep.profiles.values():
        assert bytes_with(plain, pairs) <= most
        for place, (layer, rank) in enumerate(pairs):
            more = [*pairs[:place], (layer, rank + 1), *pairs[place + 1 :]]
            assert bytes_with(plain, more) > most


def test_trials_keep_a_budget_of_operations_by_their_own_records(run_here, tiny_base, tiny_data, tmp_path, own_cache):
    """Searched ranks and an allocated arm; what a step takes is counted by torch in each trial that is trained."""
    small = ["trainer.batch_size=8", "trainer.max_steps=1", "trainer.evaluations=1", "trainer.accelerator=cpu"]
    words = [*words_of(tiny_base, tiny_data), *small, *WORDS, "tracking=off", "study=s", "run=study"]
    words += [
        "sweep.ranks={by: role, high: 8}",
        "sweep.confirm=null",
        "sweep.trials=3",
        "sweep.allocate={uniform: null}",
    ]
    code, _, error = run_here(*words, "sweep.budget={flops: 9}")
    least, most = map(int, re.search(r"from 1 to 8 come to (\d+) to (\d+) operations a step", error).groups())
    assert code == 2
    bound = (least + most) // 2
    code, _, error = run_here(*words, f"sweep.budget={{flops: {bound}}}")
    assert code == 0, error
    sweep = load_study("results", "s").sweep
    entries = {entry.arm: entry for entry in record.read(tmp_path / "results/s")}
    searched = [entry for arm, entry in entries.items() if arm not in ("full", "uniform")]
    assert len(searched) == 3
    for entry in searched:
        assert entry.flops.step == budget_of(sweep).used(entry.point) <= bound
        assert all(
            rank == 8 or entry.flops.step + sweep.ranks.costs[key.removeprefix("lora.ranks.")] > bound
            for key, rank in entry.point.items()
            if key.startswith("lora.ranks.")
        )
    cheapest = min(sweep.ranks.costs.values()) // 2  # of two layers
    assert bound - 2 * cheapest < entries["uniform"].flops.step <= bound


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
