"""Every configuration class says where its data are read or its network is built, and every option names one."""

import importlib

import pytest
import yaml

from harness.config import MODELS, MaskedProbeConfig, PerplexityProbeConfig, composition
from harness.config.registry import GUEST
from harness.config.tasks import TASKS


@pytest.mark.parametrize("reader", TASKS)
def test_the_builder_of_a_task_is_there(reader):
    module, _, name = TASKS[reader].builder.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("reader", [reader for reader in TASKS if TASKS[reader].predictor is not None])
def test_the_predictor_of_a_task_is_there(reader):
    module, _, name = TASKS[reader].predictor.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("kind", MODELS)
def test_the_module_of_a_model_is_there(kind):
    module = importlib.import_module(MODELS[kind].module)
    assert all(callable(getattr(module, name)) for name in ("build", "base_file", "tokens"))


@pytest.mark.parametrize("probe", [MaskedProbeConfig, PerplexityProbeConfig])
def test_the_module_of_a_probe_is_there(probe):
    module = importlib.import_module(probe.module)
    assert all(callable(getattr(module, name)) for name in ("probe_loss", "probe_digest"))


@pytest.mark.parametrize(("group", "key", "known"), [("task", "reader", TASKS), ("model", "kind", MODELS)])
def test_every_kind_has_an_option_and_every_option_a_kind(group, key, known):
    trees = [yaml.safe_load(path.read_text()) for path in (composition.CONF / group).glob("*.yaml")]
    assert {tree[key] for tree in trees if key in tree} == set(known) - {GUEST}
