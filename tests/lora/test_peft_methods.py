"""PEFT's methods in the same base: counted, trained, saved; PEFT itself loads what was saved."""

import copy

import pytest
import torch
from peft import PeftModel
from transformers import BertModel

from harness.lora import SpecError
from harness.lora.peft_methods import adapt_peft, peft_parameters, save_peft
from harness.model.text_parts import TARGETS

IDS = torch.arange(4, 16).reshape(2, 6)
# method, arguments, parameters for each of 4 adapted 16 × 16 layers
METHODS = [
    ("LORA", {"r": 2}, 2 * 32),
    ("VERA", {"r": 4}, 4 + 16),
    ("LOHA", {"r": 2}, 2 * 2 * 32),
    ("IA3", {"feedforward_modules": []}, 16),
    ("OFT", {"r": 0, "oft_block_size": 4}, 4 * 6),
    ("MISS", {"r": 2}, 2 * 16),
    ("HRA", {"r": 2}, 2 * 16),
    ("C3A", {"block_size": 4}, 16 * 16 // 4),
    ("FOURIERFT", {"n_frequency": 5}, 5),
]


@pytest.fixture
def plain(tiny_base):
    return BertModel.from_pretrained(tiny_base).eval()


@pytest.mark.parametrize(("method", "arguments", "each"), METHODS)
def test_a_method_is_counted_trained_and_loaded_by_peft(plain, method, arguments, each, tmp_path):
    net = adapt_peft(copy.deepcopy(plain), method, arguments, ["query", "value"], TARGETS["bert"])
    trained = [tensor for tensor in net.parameters() if tensor.requires_grad]
    assert sum(tensor.numel() for tensor in trained) == 4 * each
    assert {id(tensor) for tensor in trained} <= {id(tensor) for tensor in peft_parameters(net)}
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        (net(IDS).last_hidden_state - 1).square().mean().backward()
        optimizer.step()
    save_peft(net, tmp_path)
    loaded = PeftModel.from_pretrained(plain, str(tmp_path)).eval()
    torch.testing.assert_close(loaded(IDS).last_hidden_state, net.eval()(IDS).last_hidden_state)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize(
    ("method", "arguments", "targets", "line"),
    [
        ("VRA", {}, ["query"], "method VRA: no such method; did you mean VERA?"),
        ("LOHA", {"rank": 2}, ["query"], "arguments.rank: LOHA has no such argument"),
        ("LOHA", {"r": 0}, ["query"], "PEFT's LOHA: `r` should be a positive integer"),
        ("LOHA", {"r": 2}, ["nothing"], "target nothing: matches no module"),
        ("PREFIX_TUNING", {}, ["query"], "method PREFIX_TUNING: no such method"),
        ("ADALORA", {}, ["query"], "method ADALORA: no such method"),
    ],
)
def test_a_mistake_is_named(plain, method, arguments, targets, line):
    with pytest.raises(SpecError) as caught:
        adapt_peft(plain, method, arguments, targets, TARGETS["bert"])
    assert line in str(caught.value)
