"""What ranks by group cost is what the built network counts, for every variant, or is refused with the reason."""

import dataclasses

import pytest

from harness.config import ConfigError, check
from harness.config.layer_ranks import PREFIX, overrides
from harness.lora.variants import VARIANTS
from harness.search.plan import budget_of
from harness.trial.adapt import count
from harness.trial.layer_ranks import with_rank_groups
from harness.trial.profiles import before_training, with_profiles

SEARCH = [
    *("sweep=rank_alpha_lr", "sweep.mode=joint", "+sweep.scientific.lora.rank=null", "run=study", "study=s"),
    *("lora.targets=[query,ffn_up]", "lora.rank=2"),
]
GROUPS = ["sweep.ranks={by: group, low: 0, high: 8, log: false, groups: {first: '.*0.*', q: '.*query', up: '.*'}}"]
"""Layers of both shapes, and one of each."""
WORDS = {"rslora": ["lora.alpha=16"], "dora+rslora": ["lora.alpha=16"], "adalora": ["lora.initial_rank=4"]}
WORDS |= {"loftq": ["model.quantization=nf4"]}


def counted(config, point):
    """The adapter's parameters of the network that has the ranks of a point."""
    ranks = overrides(config.sweep.ranks, point)["lora.ranks"]
    lora = dataclasses.replace(config.lora, ranks=[(pattern, rank) for pattern, rank in ranks])
    return count(dataclasses.replace(config, lora=lora, sweep=None))["params"]["adapter"]


def points():
    """Mixed ranks, some of them 0."""
    keys = [PREFIX + name for name in ("first", "q", "up")]
    return [dict(zip(keys, ranks, strict=True)) for ranks in ((0, 3, 8), (1, 0, 1), (5, 2, 1))]


@pytest.mark.parametrize("variant", [*VARIANTS, "dora+lora_plus", "dora+rslora"])
def test_a_budget_of_parameters_is_what_the_network_of_each_variant_counts(tree, variant):
    words = [*SEARCH, *GROUPS, f"lora.variant={variant}", *WORDS.get(variant, [])]
    config = with_rank_groups(check(tree(*words, "sweep.budget={parameters: 600}")))
    budget = budget_of(config.sweep)
    for point in points():
        assert budget.used(point) == counted(config, point)
        found = budget.project(point)
        assert counted(config, found) <= 600
        for key, rank in found.items():
            assert rank == 8 or counted(config, found | {key: rank + 1}) > 600


@pytest.mark.parametrize("variant", ["dora", "lora_fa", "adalora", "lora_ga"])
def test_allocated_ranks_keep_a_budget_of_parameters_and_none_could_be_one_higher(tree, variant):
    most = 300
    words = [*SEARCH, f"lora.variant={variant}", *WORDS.get(variant, []), "trainer.batch_size=8"]
    words += ["sweep.allocate={uniform: null, gradient: null}", f"sweep.budget={{parameters: {most}}}"]
    config = with_profiles(check(tree(*words)))

    def size(pairs):
        return count(dataclasses.replace(config, lora=dataclasses.replace(config.lora, ranks=pairs), sweep=None))

    for pairs in config.sweep.profiles.values():
        assert size(pairs)["params"]["adapter"] <= most
        for place, (layer, rank) in enumerate(pairs):
            more = [*pairs[:place], (layer, rank + 1), *pairs[place + 1 :]]
            assert rank == 8 or size(more)["params"]["adapter"] > most


def test_a_file_of_ranks_is_of_the_variant_that_the_command_names(tree):
    config = check(tree("lora=dora", "lora.targets=[query,ffn_up]"))
    found = before_training(config, "uniform", 300)
    lora = dataclasses.replace(config.lora, ranks=found.pairs)
    assert found.used == count(dataclasses.replace(config, lora=lora))["params"]["adapter"] <= 300


NO_SUM = "with lora.variant=adalora what ranks cost is no sum over them; lora.initial_rank=4, a multiple of lora.rank"
WRONG = [
    (["lora.variant=adalora"], f"sweep.budget.parameters: {NO_SUM}"),
    (["lora.variant=adalora", "lora.rank=7", "lora.initial_rank=8"], "sweep.budget.parameters: with lora.variant=ada"),
    (["lora.variant=eva", "lora.redistribute=2.0"], "sweep.budget.parameters: lora.redistribute=2: EVA moves ranks be"),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=[line for _, line in WRONG])
def test_where_ranks_cost_other_than_a_sum_a_budget_is_refused(tree, words, line):
    for more in (GROUPS, ["sweep.allocate={uniform: null}"]):
        config = check(tree(*SEARCH, *more, "sweep.budget={parameters: 600}", *words))
        with pytest.raises(ConfigError) as caught:
            with_profiles(with_rank_groups(config))
        assert str(caught.value).startswith(line)
        assert "\n" not in str(caught.value)


def test_ranks_are_searched_without_a_budget_whatever_they_cost(tree):
    words = [*SEARCH, *GROUPS, "lora.variant=adalora"]
    assert list(with_rank_groups(check(tree(*words))).sweep.ranks.space) == [
        PREFIX + name for name in ("first", "q", "up")
    ]


def test_what_is_tuned_for_an_allocated_arm_does_not_change_what_ranks_cost(tree):
    words = [*SEARCH, "sweep.allocate={uniform: null}", "sweep.budget={parameters: 600}"]
    with pytest.raises(ConfigError, match=r"sweep.budget: one price of a rank for all trials, and lora.variant"):
        check(tree(*words, "+sweep.nuisance.lora.variant='choice(lora,dora)'"))


NARROW = ["model.shape={hidden: 16, layers: 2, heads: 2, ffn: 8, vocabulary: 40, positions: 40, types: 2}"]
"""The feed-forward layers have no more than rank 8, by LoRA-GA 4; the others 16, and 8."""


@pytest.mark.parametrize(("variant", "most"), [("lora", 8), ("lora_ga", 4), ("adalora", 4)])
@pytest.mark.parametrize("unit", ["parameters", "memory"])
def test_a_group_has_no_higher_rank_than_its_layers_and_its_variant_allow(tree, variant, most, unit):
    words = [*SEARCH, *NARROW, f"lora.variant={variant}", *WORDS.get(variant, [])]
    ranks = f"sweep.ranks={{by: role, high: {2 * most}}}"
    free = with_rank_groups(check(tree(*words, ranks)))
    assert free.sweep.ranks.limits == {"ffn_up": most}
    assert {key: bounds.high for key, bounds in free.sweep.ranks.space.items()} == {
        "lora.ranks.query": 2 * most,
        "lora.ranks.ffn_up": most,
    }
    top = {"lora.ranks.query": 2 * most, "lora.ranks.ffn_up": most}

    def used(point):
        pairs = [tuple(pair) for pair in overrides(free.sweep.ranks, point)["lora.ranks"]]
        found = count(dataclasses.replace(free, lora=dataclasses.replace(free.lora, ranks=pairs), sweep=None))
        return found["params"]["adapter"] if unit == "parameters" else sum(found["memory"].values())

    bound = used(top)
    config = with_rank_groups(check(tree(*words, ranks, f"sweep.budget={{{unit}: {bound}}}")))
    budget = budget_of(config.sweep)
    assert budget.project({"lora.ranks.query": 1, "lora.ranks.ffn_up": 1}) == top
    for point in (top, {"lora.ranks.query": 3, "lora.ranks.ffn_up": 2}):
        assert budget.used(point) == used(point)
    with pytest.raises(ConfigError, match=f"sweep.budget.{unit}={bound + 1}: ranks from 1 to {2 * most} come to "):
        with_rank_groups(check(tree(*words, ranks, f"sweep.budget={{{unit}: {bound + 1}}}")))


def test_a_group_without_a_choice_of_ranks_is_refused(tree):
    words = [*SEARCH, *NARROW, "sweep.ranks={by: role, low: 8, high: 16}"]
    with pytest.raises(
        ConfigError, match=r"^sweep.ranks.low=8: .*0.*dense has no rank above 8, so that nothing of ffn_u"
    ):
        with_rank_groups(check(tree(*words)))
