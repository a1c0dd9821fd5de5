"""A text encoder's shapes without transformers are those of the network that transformers builds."""

import pytest

from harness.config import TextModelConfig, TokenClasses
from harness.model import build_model, build_shapes
from harness.trial.adapt import count


def layers_of(network):
    """Tensors and layers by name: kind, shape, type."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    own = {name: type(module) for name, module in network.named_modules() if list(module.parameters(recurse=False))}
    return {name: (tensor.shape, tensor.dtype, tensor.device.type) for name, tensor in tensors}, own


@pytest.mark.parametrize(
    "words",
    [["model=minilm"], ["model=roberta_base"], ["model=bert_base", "model.pooling=pooler", "model.head=dense"]],
)
@pytest.mark.parametrize("outputs", [3, {"movie": 2, "nyt": 5}])
def test_layers_are_those_that_transformers_builds(compose_plain, words, outputs):
    config = compose_plain(*words).model
    ours, theirs = build_shapes(config, outputs), build_model(config, outputs, weights=False)
    assert layers_of(ours) == layers_of(theirs)
    assert ours.targets == theirs.targets
    assert type(theirs.base).__module__.startswith("transformers.")
    assert not type(ours.base).__module__.startswith("transformers.")


@pytest.mark.parametrize(
    "words",
    [
        ["lora.targets=[query,key,value,output,ffn_up,ffn_down]", "lora.variant=dora"],
        ["lora.targets=['embeddings\\.word_embeddings',ffn_up]", "lora.rank=2"],
        ["lora=norms"],
        ["lora=bitfit"],
        ["lora=full"],
        ["lora=head"],
        ["task=mixture", "lora=task_fork"],
        ["lora=peft", "lora.method=IA3"],
        ["model.attention=eager"],
    ],
)
def test_counts_are_those_of_the_network_of_transformers(compose_plain, monkeypatch, words):
    config = compose_plain("run=count", *words)
    found = count(config)
    monkeypatch.setattr(TextModelConfig, "shapes_module", None)
    assert count(config) == found


def test_a_tagger_is_that_of_transformers(compose_plain):
    network = build_shapes(compose_plain().model, TokenClasses(3))
    assert type(network.base).__module__.startswith("transformers.")
