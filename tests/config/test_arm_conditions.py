"""Dimensions of an arm alone: a condition that names a compared key, or one that a baseline sets."""

import pytest

from harness.cluster.study import check_arms
from harness.config import ConfigError, check
from harness.config.arms import arms
from harness.config.space import Range, settled
from harness.search.checks import check_search
from harness.search.proposals import startup_point

RATIO = "+sweep.nuisance.lora.lr_ratio={low: 1.5, high: 16.0, log: true, when: {lora.variant: lora_plus}}"
FIRST = "+sweep.nuisance.lora.initial_rank={low: 2, high: 8, integer: true, when: {lora.variant: [adalora, dora]}}"
COMMON = ["optimizer.lr", "lora.scale"]
BARE = ["~sweep.baselines.loha", "~sweep.baselines.full", "~sweep.baselines.head"]


@pytest.fixture
def config_of(tree):
    return lambda *words: check(tree("sweep=variants", "run=study", "study=s", "lora.rank=2", *words))


def by_name(config):
    return {arm.name: arm for arm in arms(config.sweep)}


def test_each_arm_has_the_dimensions_whose_condition_its_own_value_meets(config_of):
    found = by_name(config_of(RATIO, FIRST))
    assert list(found["variant=lora"].nuisance) == COMMON
    assert list(found["variant=lora_plus"].nuisance) == [*COMMON, "lora.lr_ratio"]
    assert (
        list(found["variant=adalora"].nuisance)
        == list(found["variant=dora"].nuisance)
        == [*COMMON, "lora.initial_rank"]
    )
    assert found["variant=lora_plus"].nuisance["lora.lr_ratio"] == Range(low=1.5, high=16.0, log=True)
    assert found["full"].nuisance == by_name(config_of())["full"].nuisance


def test_arms_have_like_draws_at_startup_whatever_dimensions_are_their_own(config_of):
    found = by_name(config_of(RATIO, FIRST))
    compared = [arm for arm in found.values() if not arm.baseline]
    for index in range(3):
        points = [startup_point(arm, index, 0) for arm in compared]
        assert len({tuple(point[key] for key in COMMON) for point in points}) == 1
        assert [list(point) for point in points] == [list(arm.nuisance) for arm in compared]


def test_the_networks_of_all_arms_can_be_built_and_any_sampler_takes_them(config_of):
    config = config_of(
        "+sweep.scientific.lora.variant=[lora,lora_plus,adalora]",
        *(RATIO, FIRST.replace("[adalora, dora]", "adalora"), "~sweep.baselines.loha", "sweep.trials=8"),
    )
    check_arms(config)
    check_search(config)
    for sampler in ("gp", "cmaes"):  # which take no conditions, and there is none within an arm
        check_search(config_of(RATIO, f"sweep.sampler={sampler}", *BARE, "sweep.trials=8"))


def test_a_baseline_sets_what_a_condition_of_its_own_names(config_of):
    words = (
        "{set: {lora.variant: dora, lora: {name: lora}}, nuisance: {lora.dropout: {low: 0.0, high: 0.3, when: WHEN}}}"
    )
    found = by_name(
        config_of("+sweep.baselines.own=" + words.replace("WHEN", "{lora.variant: [dora, lora], lora.name: lora}"))
    )
    assert list(found["own"].nuisance) == ["lora.dropout"]
    across = "{set: {}, nuisance: {lora.dropout: {low: 0.0, high: 0.3, when: {lora.variant: dora}}}}"
    found = by_name(
        config_of(f"+sweep.baselines.own={across}", "+sweep.across=[lora.variant]", "~sweep.baselines.full")
    )
    own = {name: list(arm.nuisance) for name, arm in found.items() if name.startswith("own,")}
    assert own == {name: ["lora.dropout"] if name == "own,variant=dora" else [] for name in own}
    assert len({*map(str, own.values())}) == 2


def test_in_the_joint_mode_a_single_value_of_a_compared_key_decides(config_of):
    words = ["sweep.mode=joint", "+sweep.scientific.lora.variant=[lora_plus]", "sweep.trials=8"]
    joint = by_name(config_of(*words, RATIO))["joint"]
    assert list(joint.nuisance) == [*COMMON, "lora.lr_ratio"]
    assert all("lora.lr_ratio" in startup_point(joint, index, 0) for index in range(3))


def test_a_dimension_of_one_that_is_not_there_is_not_there_either():
    space = {"b": Range(low=0, high=1, when={"a": 1}), "a": Range(low=0, high=3, when={"arm": "x"})}
    assert settled(space, {"arm": "y"}) == {}
    assert settled(space, {"arm": "x"}) == {"b": space["b"], "a": Range(low=0, high=3)}
    assert settled(space, {}) == {}


WRONG = [
    (
        RATIO.replace("lora_plus}", "loraplus}"),
        'sweep.nuisance.lora.lr_ratio.when.lora.variant="loraplus": never so; lora.variant is "lora" or "lora_plus" or',
    ),
    (
        RATIO.replace("lora.variant:", "lora.varint:"),
        "sweep.nuisance.lora.lr_ratio.when.lora.varint: no other dimension of this space; did you mean lora.variant?",
    ),
    (
        "+sweep.baselines.head.nuisance.optimizer.lr={low: 1.0, high: 2.0, when: {lora.name: full}}",
        'sweep.baselines.head.nuisance.optimizer.lr.when.lora.name="full": never so; lora.name is "head"',
    ),
]


@pytest.mark.parametrize(("word", "line"), WRONG, ids=[line for _, line in WRONG])
def test_a_condition_that_no_arm_meets_is_refused(config_of, word, line):
    with pytest.raises(ConfigError) as caught:
        config_of(word)
    assert str(caught.value).startswith(line)
