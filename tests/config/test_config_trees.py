"""Whatever is done to a composed tree, the answer is a configuration or a configuration error, never anything else."""

import copy

import hydra
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from harness.config import Config, ConfigError, apply_overrides, check, composition, dotted_keys, fingerprint, to_dict

COMPOSITIONS = [
    ["sweep=rank_alpha_lr"],
    ["sweep=variants", "lora=adalora"],
    ["task=mixture", "trainer.objective=score", "lora=task_fork"],
    ["task=digits", "model=vit_b_16", "task.image_size=32", "lora=full"],
    ["task=spoken_digits", "model=lstm_speech", "sweep=lstm_rank"],
    ["task=seq2seq", "model=gpt2", "trainer.objective=loss", "lora=peft"],
    ["task=catalogue_pt", "model=opus_mt", "trainer.objective=loss", "trainer=fsdp"],
]

_LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**20),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["lora", "full", "peft", "text", "vision", "table", "mixture", "${x}", "_target_", "dora+adalora"]),
)
_VALUE = st.recursive(
    _LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def trees():
    composition.register_sweeps()
    with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
        made = [hydra.compose("config", overrides=words) for words in COMPOSITIONS]
    return [OmegaConf.to_container(one, resolve=True) for one in made]


def node_of(tree, path):
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else None


def edit(draw, tree, others):
    """Set, delete, add or move one thing."""
    *path, last = draw(st.sampled_from(dotted_keys(tree))).split(".")
    if (node := node_of(tree, path)) is None or last not in node:
        return
    match draw(st.sampled_from(["set", "delete", "add", "rename", "graft", "wrap"])):
        case "set":
            node[last] = draw(_VALUE)
        case "delete":
            del node[last]
        case "add":
            node[draw(st.text(max_size=6) | st.integers())] = draw(_VALUE)
        case "rename":
            node[last + draw(st.text(min_size=1, max_size=2))] = node.pop(last)
        case "graft":  # what stands at the same place, or at the top, of another composition
            other = draw(st.sampled_from(others))
            node[last] = copy.deepcopy(other.get(last, draw(st.sampled_from(list(other.values())))))
        case "wrap":
            node[last] = draw(st.sampled_from([[node[last]], {last: node[last]}, str(node[last])]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_edited_trees_are_configurations_or_configuration_errors(trees, data):
    tree = copy.deepcopy(data.draw(st.sampled_from(trees)))
    for _ in range(data.draw(st.integers(1, 4))):
        edit(data.draw, tree, trees)
    try:
        config = check(tree)
    except ConfigError as error:
        assert str(error).strip()
        return
    assert isinstance(config, Config)
    assert check(to_dict(config)) == config
    assert len(fingerprint(config, {})) == 16
    assert all(most > 0 for most in (config.model.rank_limits or {}).values())


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_what_a_search_lays_over_a_tree_is_a_tree_or_a_configuration_error(trees, data):
    tree = data.draw(st.sampled_from(trees))
    keys = st.sampled_from(dotted_keys(tree)) | st.text(max_size=8)
    values = data.draw(st.dictionaries(keys, _VALUE, max_size=3))
    try:
        check(apply_overrides(tree, values))
    except ConfigError as error:
        assert str(error).strip()
