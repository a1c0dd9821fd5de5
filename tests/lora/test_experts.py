"""LoRA on the experts of a mixture: held against PEFT's LoRA on parameters, and against weights changed by hand."""

import copy
import json

import peft
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from harness.lora import LoraSpec, SpecError, adapt, export_adapter, import_adapter, named_updates, updates_of
from harness.lora.update import LowRankUpdate
from harness.model.roles import targets_of

SIZES = {"hidden_size": 16, "intermediate_size": 24, "moe_intermediate_size": 8, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 50}
FAMILIES = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 4},
}
PARAMETERS = ["experts.gate_up_proj", "experts.down_proj"]
IDS = torch.arange(1, 25).view(2, 12)


def built(family: str) -> nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES, **HEADS, **FAMILIES[family])
    config._experts_implementation = "eager"  # the usual kernel knows no float64
    return AutoModel.from_config(config).double().eval()


def adapted(family: str, *targets: str, **keys) -> nn.Module:
    net = built(family)
    adapt(net, LoraSpec(**{"rank": 2, "scale": 1.5, "targets": targets or ("experts",)} | keys), targets_of(net))
    torch.manual_seed(1)
    for update in updates_of(net):
        nn.init.normal_(update.lora_B, std=0.1)
    return net


def hidden(net: nn.Module) -> torch.Tensor:
    return net(input_ids=IDS).last_hidden_state


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_is_that_of_weights_changed_by_hand(family):
    net, plain = adapted(family), built(family)
    with torch.no_grad():
        for name, update in named_updates(net):
            module, _, key = name.rpartition(".")
            weight, _, expert = key.rpartition("_")
            change = 1.5 * update.lora_B @ update.lora_A
            matrix = plain.get_submodule(module).get_parameter(weight)[int(expert)]
            matrix += change.t() if family == "gpt_oss" else change
    torch.testing.assert_close(hidden(net), hidden(plain), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(hidden(net), hidden(built(family)), atol=1e-3)


@pytest.mark.parametrize("targets", [("experts",), ("all-linear", "experts")], ids=["alone", "beside linear layers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_loads_what_is_written_and_computes_the_same(family, targets, tmp_path):
    net = adapted(family, *targets)
    export_adapter(net, "", tmp_path)
    theirs = peft.PeftModel.from_pretrained(built(family), str(tmp_path)).eval()
    torch.testing.assert_close(hidden(theirs), hidden(net), rtol=1e-6, atol=1e-6)


# PEFT heeds them, and says that it does not.
@pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match:RuntimeWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_what_peft_writes_is_read(family, tmp_path):
    asked = peft.LoraConfig(
        r=2,
        lora_alpha=3,
        target_modules=["q_proj"],
        target_parameters=PARAMETERS,
        rank_pattern={"experts.down_proj": 3},
        alpha_pattern={"experts.down_proj": 8},
    )
    theirs = peft.get_peft_model(built(family), asked).eval()
    torch.manual_seed(1)
    for name, tensor in theirs.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(tensor, std=0.1)
    theirs.save_pretrained(str(tmp_path))
    ours = built(family)
    ranks = import_adapter(ours, tmp_path)
    torch.testing.assert_close(hidden(ours), hidden(theirs), rtol=1e-6, atol=1e-6)
    assert {rank for name, rank in ranks.items() if "down_proj" in name} == {3}


def test_three_steps_are_those_of_peft():
    net = adapted("qwen3_moe")
    asked = peft.LoraConfig(r=2, lora_alpha=3, target_modules=[], target_parameters=PARAMETERS)
    theirs = peft.get_peft_model(built("qwen3_moe"), asked)
    with torch.no_grad():
        for layer in range(2):
            experts = net.get_submodule(f"layers.{layer}.mlp.experts")
            for weight, place in (("gate_up_proj", ".base_layer"), ("down_proj", "")):
                updates = [experts.updates[f"{weight}_{expert}"] for expert in range(4)]
                there = theirs.get_submodule(f"base_model.model.layers.{layer}.mlp.experts{place}")
                there.lora_A["default"].weight.copy_(torch.cat([update.lora_A for update in updates]))
                there.lora_B["default"].weight.copy_(torch.stack([update.lora_B for update in updates], -1).flatten(1))
    losses = []
    for model in (net.train(), theirs.train()):
        optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 0.01)
        own = []
        for _ in range(3):
            loss = hidden(model).square().mean()
            own.append(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(torch.stack(own))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=1e-8)
    assert losses[0][-1] < losses[0][0]


def test_experts_of_ranks_of_their_own_are_written_by_name_and_read_back(tmp_path):
    net = adapted("mixtral", ranks=((r".*down_proj_\d", 0), (r".*_0", 3)))
    assert {update.rank for update in updates_of(net)} == {2, 3}
    export_adapter(net, "", tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "lora-harness"
    other = built("mixtral")
    import_adapter(other, tmp_path)
    torch.testing.assert_close(hidden(other), hidden(net), rtol=1e-9, atol=1e-9)


def test_no_expert_is_copied_to_make_its_factors(monkeypatch):
    """Of a mixture in bfloat16 one expert at a time becomes float32, not the weight of them all."""
    sizes, made = [], LowRankUpdate.reset

    def reset(update, matrix):
        sizes.append(matrix.untyped_storage().nbytes())
        made(update, matrix)

    monkeypatch.setattr(LowRankUpdate, "reset", reset)
    net = built("mixtral").bfloat16()
    adapt(net, LoraSpec(2, 1.0, ("experts",)), targets_of(net))
    assert set(sizes) == {4 * 16 * 48, 4 * 16 * 24}


def test_a_change_of_a_parameter_that_is_no_experts_is_refused(tmp_path):
    export_adapter(adapted("mixtral"), "", tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_parameters"] = ["norm.weight"]
    path.write_text(json.dumps(config))
    with pytest.raises(SpecError, match=r"target_parameters: norm\.weight: the network has no experts"):
        import_adapter(copy.deepcopy(built("mixtral")), tmp_path)


def test_dropout_has_no_place_there():
    with pytest.raises(SpecError, match="needs a branch beside numbers; MixtralExperts has none"):
        adapted("mixtral", dropout=0.1)
