"""The schema refuses what is wrong, all at once, with the key, the value and the rule."""

import copy
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import ConfigError, apply_overrides, check, dotted_keys, fingerprint, to_dict

BAD = [
    ("lora.rank", 0, "lora.rank=0: input should be greater than or equal to 1"),
    ("lora.rank", -1, "lora.rank=-1: input should be greater than or equal to 1"),
    ("lora.rank", "abc", 'lora.rank="abc": input should be a valid integer'),
    ("lora.rank", "", 'lora.rank="": input should be a valid integer'),
    ("lora.rank", 8.0, "lora.rank=8.0: input should be a valid integer"),
    ("lora.rank", True, "lora.rank=true: input should be a valid integer"),
    ("lora.rank", None, "lora.rank=null: input should be a valid integer"),
    ("lora.alpha", 0, "lora.alpha=0: input should be greater than 0"),
    ("lora.alpha", -2.0, "lora.alpha=-2.0: input should be greater than 0"),
    ("lora.alpha", math.nan, "lora.alpha=NaN: input should be a finite number"),
    ("lora.scale", math.inf, "lora.scale=Infinity: input should be a finite number"),
    ("lora.dropout", 1.0, "lora.dropout=1.0: input should be less than 1"),
    ("lora.targets", [], "lora.targets=[]: list should have at least 1 item"),
    ("lora.targets", ["query", "query"], "query named twice"),
    ("lora.name", "lroa", "lora={"),
    ("optimizer.lr", 0.0, "optimizer.lr=0.0: input should be greater than 0"),
    ("optimizer.lr", "1e-3", 'optimizer.lr="1e-3": input should be a valid number'),
    ("optimizer.warmup", 1.5, "optimizer.warmup=1.5: input should be less than 1"),
    ("trainer.batch_size", 0, "trainer.batch_size=0"),
    ("trainer.devices", 0, "trainer.devices=0"),
    ("trainer.precision", "64", 'trainer.precision="64": input should be'),
    ("trainer.objective", "f1_marco", "did you mean f1_macro?"),
    ("task.test_share", 0.9, "task.test_share=0.9"),
    ("model.pooling", "max", 'model.pooling="max": input should be'),
    ("tracking.mode", False, "tracking.mode=false"),
    ("seed", -1, "seed=-1"),
    ("study", "a/b", 'study="a/b"'),
    ("study", "..", 'study=".."'),
]


@pytest.mark.parametrize(("key", "value", "line"), BAD, ids=lambda value: str(value)[:30])
def test_a_bad_value_is_named_with_its_key_and_rule(tree, key, value, line):
    with pytest.raises(ConfigError) as caught:
        check(apply_overrides(tree(), {key: value}))
    assert line.lower() in str(caught.value).lower()
    assert len(str(caught.value).splitlines()) == 1


def test_all_mistakes_are_named_at_once(tree):
    with pytest.raises(ConfigError) as caught:
        check(apply_overrides(tree(), {"lora.rank": 0, "optimizer.lr": -1.0, "seed": "x"}))
    assert [line.split("=")[0] for line in str(caught.value).splitlines()] == ["seed", "lora.rank", "optimizer.lr"]


def test_an_unknown_key_gets_the_nearest_name(tree):
    bad = tree()
    bad["lora"]["rnk"] = 4
    with pytest.raises(ConfigError, match=r"lora\.rnk: no such key; did you mean lora\.rank\?"):
        check(bad)


def test_a_missing_key_is_named(tree):
    bad = tree()
    del bad["optimizer"]["lr"]
    with pytest.raises(ConfigError, match=r"optimizer\.lr: missing"):
        check(bad)


def test_scale_and_alpha_are_never_both_given(tree):
    with pytest.raises(ConfigError, match="never both"):
        check(apply_overrides(tree(), {"lora.scale": 2.0, "lora.alpha": 16.0}))


@pytest.mark.parametrize(
    ("space", "rule"),
    [
        ({"low": 1.0, "high": 0.1, "log": True}, "low must be below high"),
        ({"low": 1.0, "high": 1.0}, "low must be below high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "a log range starts above 0"),
    ],
)
def test_a_range_upside_down_or_log_from_zero_is_refused(tree, space, rule):
    bad = tree("sweep=rank_alpha_lr")
    bad["sweep"]["nuisance"]["optimizer.lr"] = space
    with pytest.raises(ConfigError, match=rule):
        check(bad)


def test_a_searched_key_that_does_not_exist_is_refused(tree):
    bad = tree("sweep=rank_alpha_lr")
    bad["sweep"]["scientific"] = {"lora.rnk": [1, 2]}
    with pytest.raises(ConfigError, match=r"lora\.rnk: no such key; did you mean lora\.rank\?"):
        check(bad)


def test_an_empty_search_is_refused(tree):
    bad = tree("sweep=rank_alpha_lr")
    bad["sweep"] |= {"scientific": {}, "baselines": {}}
    with pytest.raises(ConfigError, match="an empty search space"):
        check(bad)
    with pytest.raises(ConfigError, match="sweep is empty"):
        check(apply_overrides(tree(), {"run": "study"}))


def test_lay_over_sets_one_key_and_leaves_the_original_alone(tree):
    before = tree()
    kept = copy.deepcopy(before)
    after = apply_overrides(before, {"lora.rank": 4, "lora": {"name": "head"}})
    assert after["lora"] == {"name": "head"}
    assert before == kept
    with pytest.raises(ConfigError, match="no such key"):
        apply_overrides(before, {"lora.name.rank": 4})


def test_plain_and_check_are_inverse(tree):
    config = check(tree("sweep=rank_alpha_lr"))
    assert check(to_dict(config)) == config


IDENTITY = {"data": "d", "base": "b"}


def test_one_experiment_said_in_three_ways_has_one_fingerprint(tree):
    ways = [{"lora.scale": None}, {"lora.scale": 2.0}, {"lora.alpha": 4.0}]  # at rank 2
    assert len({fingerprint(check(apply_overrides(tree(), way)), IDENTITY) for way in ways}) == 1
    assert fingerprint(check(apply_overrides(tree(), {"lora.alpha": 8.0})), IDENTITY) != fingerprint(
        check(tree()), IDENTITY
    )


def test_the_fingerprint_changes_with_what_changes_the_outcome_and_with_nothing_else(tree):
    base = fingerprint(check(tree()), IDENTITY)
    same = {"study": "other", "results": "elsewhere", "trainer.threads": 1, "tracking.project": "p", "run": "count"}
    assert fingerprint(check(apply_overrides(tree(), same)), IDENTITY) == base
    for key, value in {"lora.rank": 3, "optimizer.lr": 2e-3, "seed": 1, "task.max_length": 9}.items():
        assert fingerprint(check(apply_overrides(tree(), {key: value})), IDENTITY) != base
    assert fingerprint(check(tree()), IDENTITY | {"data": "e"}) != base


_LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.lists(st.integers(), max_size=2)
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_tree_is_a_configuration_or_a_configuration_error(composed_tree, data):
    changed = copy.deepcopy(composed_tree)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(dotted_keys(composed_tree)))
        *path, last = key.split(".")
        node = changed
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node[last] = data.draw(_LEAF | st.dictionaries(st.text(max_size=4), _LEAF, max_size=2))
    try:
        config = check(changed)
    except ConfigError as error:
        assert str(error)
    else:
        assert check(to_dict(config)) == config


@pytest.fixture(scope="module")
def composed_tree():
    import hydra
    from omegaconf import OmegaConf

    from harness.config import composition

    with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose("config", overrides=["sweep=rank_alpha_lr"]), resolve=True)
