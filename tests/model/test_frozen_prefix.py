"""What a network gives of the states of its lower layers is what it gives of the text or the picture itself."""

import pytest
import torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from harness.model import build_model
from harness.model.frozen_prefix import frozen_prefix
from tests.model.hf_inputs import BATCH, named
from tests.model.small import MASK, save_small

PICTURES = {"images": torch.randint(0, 255, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()}


def thawed(network, at):
    """The network with a bias of the layer at that place trained."""
    network.requires_grad_(False)
    (stack,) = [part for part in network.base.modules() if isinstance(part, torch.nn.ModuleList)]
    next(stack[at].parameters()).requires_grad_(True)
    return network.eval()


@pytest.mark.parametrize(
    ("kind", "model_type", "batch"),
    [
        *((AutoModelForSequenceClassification, name, BATCH) for name in ("bert", "deberta-v2", "modernbert", "xlnet")),
        *((AutoModelForSequenceClassification, name, BATCH) for name in ("gpt2", "llama", "falcon")),
        *((AutoModelForImageClassification, name, PICTURES) for name in ("vit", "dinov2")),
    ],
)
def test_states_stand_for_what_they_are_of(kind, model_type, batch, tmp_path):
    save_small(kind, model_type, tmp_path, num_labels=3)
    network = thawed(build_model(named(tmp_path, head="stored"), 3), -1)
    prefix = frozen_prefix(network)
    assert prefix is not None
    assert prefix.count == 1
    with torch.no_grad():
        whole, states = network(batch), prefix.states(batch)
        other = {"ids": 7 * MASK, "mask": MASK} if "ids" in batch else {"images": torch.zeros_like(batch["images"])}
        prefix.open()
        found = network(other | {"prefix": states})
        unlike = network(other)
        prefix.close()
        assert torch.equal(found, whole)
        assert not torch.equal(unlike, whole), "without states the network reads the batch"
        assert torch.equal(network(batch), whole)


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_a_base_that_is_called_past_its_network_reads_what_it_is_given(model_type, tmp_path):
    """As it is to write texts, between two evaluations of batches with states."""
    save_small(AutoModelForSequenceClassification, model_type, tmp_path, num_labels=3)
    network = thawed(build_model(named(tmp_path, head="stored"), 3), -1)
    prefix = frozen_prefix(network)
    assert prefix is not None
    names = list(network.state_dict())
    with torch.no_grad():
        wanted, states = network.whole(7 * MASK, attention_mask=MASK).logits, prefix.states(BATCH)
        prefix.open()
        network(BATCH | {"prefix": states})
        assert torch.equal(network.whole(7 * MASK, attention_mask=MASK).logits, wanted)
        assert list(network.state_dict()) == names, "what is saved in between is the whole network"
        with pytest.raises(KeyError):
            network({"prefix": states})
        assert torch.equal(network.whole(7 * MASK, attention_mask=MASK).logits, wanted), "a pass that failed, too"
        prefix.close()


@pytest.mark.parametrize("model_type", ["bloom", "gpt_neo"])
def test_layers_that_give_more_than_states_have_none(model_type, tmp_path):
    save_small(AutoModelForSequenceClassification, model_type, tmp_path, num_labels=3)
    prefix = frozen_prefix(thawed(build_model(named(tmp_path, head="stored"), 3), -1))
    assert prefix is not None
    assert prefix.states(BATCH) is None


def test_there_is_none_where_the_first_layer_or_what_is_before_it_is_trained(tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path, num_labels=3)
    network = build_model(named(tmp_path, head="stored"), 3)
    assert frozen_prefix(thawed(network, 0)) is None
    network = thawed(network, -1)
    next(network.base.parameters()).requires_grad_(True)
    assert frozen_prefix(network) is None
    network.requires_grad_(False)
    assert frozen_prefix(network) is None, "all of it is frozen: its features are computed once, not its states"
