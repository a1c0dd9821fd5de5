"""An exported adapter is PEFT's: loaded by PEFT on the plain base it gives the same outputs and gradients."""

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from transformers import BertModel

from harness.lora import LoraSpec, adapt, adapter_parameters, export_adapter
from harness.model import TARGETS

SPEC = LoraSpec(3, 1.5, ("query", "value", "ffn_up"))
IDS = torch.arange(4, 16).reshape(2, 6)


@pytest.fixture
def adapted(tiny_base):
    base = BertModel.from_pretrained(tiny_base, attn_implementation="sdpa").eval()
    adapt(base, SPEC, TARGETS["bert"])
    torch.manual_seed(1)
    for tensor in adapter_parameters(base):
        torch.nn.init.normal_(tensor, std=0.3)
    return base


def test_peft_loads_the_export_and_agrees(tiny_base, adapted, tmp_path):
    export_adapter(adapted, SPEC, f"path:{tiny_base}", tmp_path)
    plain = BertModel.from_pretrained(tiny_base, attn_implementation="sdpa").eval()
    loaded = PeftModel.from_pretrained(plain, str(tmp_path))
    ours, theirs = adapted(IDS).last_hidden_state, loaded(IDS).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    bare = BertModel.from_pretrained(tiny_base).eval()(IDS).last_hidden_state
    assert (ours - bare).abs().max() > 0.01


def test_output_and_gradients_equal_pefts_on_the_same_weights(tiny_base, adapted):
    plain = BertModel.from_pretrained(tiny_base, attn_implementation="sdpa").eval()
    targets = ["query", "value", "intermediate.dense"]
    theirs = get_peft_model(plain, PeftConfig(r=3, lora_alpha=4.5, target_modules=targets)).eval()
    ours = dict(adapted.named_parameters())
    pairs = {}
    for name, tensor in theirs.named_parameters():
        if "lora_" in name:
            own = name.removeprefix("base_model.model.").replace(".default.weight", "")
            tensor.data.copy_(ours[own])
            pairs[name] = ours[own]
    assert len(pairs) == 2 * 3 * 2
    left, right = adapted(IDS).last_hidden_state, theirs(IDS).last_hidden_state
    torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-5)
    left.square().sum().backward()
    right.square().sum().backward()
    for name, tensor in theirs.named_parameters():
        if name in pairs:
            torch.testing.assert_close(pairs[name].grad, tensor.grad, atol=1e-5, rtol=1e-4)
