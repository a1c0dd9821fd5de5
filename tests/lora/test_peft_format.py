"""Exported adapters are PEFT's: loaded by PEFT on the original base they give the same outputs and gradients."""

import copy
import json
import warnings

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from harness.lora import VARIANTS, LoraSpec, SpecError, adapt, export_adapter, import_adapter, updates_of
from tests.lora.networks import KINDS
from tests.lora.test_variants import adapted, disturb, network, refused

PEFT_HAS = [
    "linear",
    "linear without bias",
    "transposed",
    "fused",
    "fused, transposed",
    "embedding",
    "conv1d",
    "conv2d",
    "attention's query and value",
]
CASES = [
    (variant, kind)
    for variant in VARIANTS
    for kind in PEFT_HAS
    if not refused(variant, kind) and not (variant == "dora" and kind.startswith(("fused", "attention")))
]


def peft_tensor(name: str, tensor: torch.Tensor, kind: str) -> str:
    return f"base_model.model.0.{name}.default" if kind == "embedding" else f"base_model.model.0.{name}.default.weight"


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_peft_loads_every_variant_on_the_original_base(variant, kind, tmp_path):
    base, net, x = adapted(variant, KINDS[kind])
    disturb(net)
    export_adapter(net, "path:base", tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval()
    torch.testing.assert_close(loaded(x), net(x), atol=1e-6, rtol=1e-6)
    assert (loaded(x) - base(x)).abs().max() > 0.01


@pytest.mark.parametrize("variant", ["lora", "rslora", "lora_plus", "dora"])
@pytest.mark.parametrize("kind", ["linear", "transposed", "embedding", "conv1d", "conv2d"])
def test_gradients_equal_pefts(variant, kind, tmp_path):
    base, net, x = adapted(variant, KINDS[kind])
    disturb(net)
    export_adapter(net, "path:base", tmp_path)
    theirs = PeftModel.from_pretrained(base, str(tmp_path), is_trainable=True)
    for model in (net, theirs):
        (model(x) - 1).square().mean().backward()
    (update,) = updates_of(net)
    found = {name.split(".")[3]: tensor for name, tensor in theirs.named_parameters() if "lora_" in name}
    for own, tensor in ((update.lora_A, "A"), (update.lora_B, "B")):
        other = found.get(f"lora_{tensor}", found.get(f"lora_embedding_{tensor}"))
        torch.testing.assert_close(own.grad, other.grad.flatten(1), atol=1e-8, rtol=1e-6)
    if variant == "dora":
        torch.testing.assert_close(
            update.lora_m.grad, found["lora_magnitude_vector"].grad.flatten(), atol=1e-8, rtol=1e-6
        )


@pytest.mark.parametrize("variant", ["pissa", "olora"])
@pytest.mark.parametrize("kind", ["linear", "transposed"])
def test_the_start_is_pefts(variant, kind):
    if (variant, kind) == ("olora", "transposed"):
        pytest.skip("PEFT takes the QR of the transposed weight")
    facts = KINDS[kind]
    base = network(facts).float()
    theirs = copy.deepcopy(base)
    config = LoraConfig(
        r=2, lora_alpha=1.4, target_modules=["0"], init_lora_weights=variant, fan_in_fan_out=kind != "linear"
    )
    theirs = get_peft_model(theirs, config)
    adapt(base, LoraSpec(2, 0.7, ("a",), variant=variant), facts.names)
    from harness.lora import initialise

    initialise(base, LoraSpec(2, 0.7, ("a",), variant=variant), lambda gradients: None)
    layer = theirs.base_model.model[0]
    torch.testing.assert_close(base[0].base.weight, layer.base_layer.weight, atol=1e-6, rtol=1e-5)
    (update,) = updates_of(base)
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(update.lora_B @ update.lora_A, product, atol=1e-6, rtol=1e-5)


def test_ranks_and_scales_by_layer_survive_the_exchange(tmp_path):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)))
    net = copy.deepcopy(base)
    spec = LoraSpec(2, None, (r"0|1\.\d",), alpha=4.0, ranks=(("1.0", 3), ("1.1", 1)), alphas=(("1.1", 2.0),))
    adapt(net, spec, {})
    disturb(net)
    export_adapter(net, "path:base", tmp_path)
    x = torch.randn(3, 6)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval()
    torch.testing.assert_close(loaded(x), net(x))
    assert import_adapter(base, tmp_path) == {"0": 2, "1.0": 3, "1.1": 1}
    torch.testing.assert_close(base(x), net(x))


def test_a_name_that_ends_another_is_not_taken_for_it(tmp_path):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6)))
    net, x = copy.deepcopy(base), torch.randn(3, 6)
    adapt(net, LoraSpec(2, 1.0, ("first",)), {"first": "0"})
    disturb(net)
    export_adapter(net, "path:base", tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval()
    torch.testing.assert_close(loaded(x), net(x))


def test_a_peft_adapter_made_elsewhere_is_imported(tmp_path):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 6), nn.Conv2d(2, 3, 1))
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["0"], use_rslora=True, use_dora=True)
    theirs = get_peft_model(copy.deepcopy(base), config)
    for name, tensor in theirs.named_parameters():
        if "lora_" in name:
            nn.init.normal_(tensor)
    theirs.save_pretrained(str(tmp_path))
    assert import_adapter(base, tmp_path) == {"0": 4}
    x = torch.randn(3, 6)
    torch.testing.assert_close(base[0](x), theirs.base_model.model[0](x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "line"),
    [({"peft_type": "VERA"}, "peft_type VERA"), ({"bias": "all"}, "trained biases")],
)
def test_what_cannot_be_read_is_refused(tmp_path, changes, line):
    _, net, _ = adapted("lora", KINDS["linear"])
    export_adapter(net, "path:base", tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SpecError, match=line):
        import_adapter(network(KINDS["linear"]), tmp_path)


def test_an_adapter_of_another_shape_or_place_is_refused(tmp_path):
    _, net, _ = adapted("lora", KINDS["linear"])
    export_adapter(net, "path:base", tmp_path)
    with pytest.raises(SpecError, match="do not fit"):
        import_adapter(nn.Sequential(nn.Linear(7, 5)), tmp_path)
    with pytest.raises(SpecError, match="no such module"):
        import_adapter(nn.Linear(7, 5), tmp_path)


def test_an_adalora_adapter_of_peft_is_imported(tmp_path):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 5))
    config = AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=6, target_modules=["0", "1"], total_step=9, tinit=1, tfinal=1
    )
    theirs = get_peft_model(copy.deepcopy(base), config)
    for name, tensor in theirs.named_parameters():
        if "lora_" in name:
            nn.init.normal_(tensor)
    theirs.save_pretrained(str(tmp_path))
    assert import_adapter(base, tmp_path) == {"0": 4, "1": 4}
    x = torch.randn(3, 6)
    torch.testing.assert_close(base(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Adapter 'default'")  # PEFT of its own bias
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"init_lora_weights": "pissa"}, "init_lora_weights=pissa changes the base"),
        ({"lora_bias": True}, "trained biases"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(tmp_path, changes, line):
    theirs = get_peft_model(network(KINDS["linear"]).float(), LoraConfig(r=2, target_modules=["0"], **changes))
    theirs.save_pretrained(str(tmp_path))
    with pytest.raises(SpecError, match=line):
        import_adapter(network(KINDS["linear"]), tmp_path)


def test_an_attention_of_peft_is_read_only_where_peft_says_what_it_saves(tmp_path):
    base = network(KINDS["attention"]).float()
    theirs = get_peft_model(copy.deepcopy(base), LoraConfig(r=2, lora_alpha=2, target_modules=["attention"]))
    for name, tensor in theirs.named_parameters():
        if "lora_" in name:
            nn.init.normal_(tensor)
    theirs.save_pretrained(str(tmp_path))
    with pytest.raises(SpecError, match="PEFT adds twice"):
        import_adapter(copy.deepcopy(base), tmp_path)
    for name, tensor in theirs.named_parameters():
        if "out_proj.lora_B" in name:
            nn.init.zeros_(tensor)
    theirs.save_pretrained(str(tmp_path))
    x = torch.randn(2, 5, 8)
    expected = theirs(x)
    import_adapter(base, tmp_path)
    torch.testing.assert_close(base(x), expected, atol=1e-5, rtol=1e-5)


def test_a_module_trained_as_a_whole_leaves_what_it_was_tied_to(tmp_path):
    torch.manual_seed(0)
    base = GPT2LMHeadModel(
        GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=16, bos_token_id=1, eos_token_id=1)
    ).eval()
    own = copy.deepcopy(base)
    config = LoraConfig(r=2, target_modules=["c_attn"], modules_to_save=["wte"], fan_in_fan_out=True)
    with warnings.catch_warnings():  # of what this test is about
        warnings.simplefilter("ignore")
        theirs = get_peft_model(base, config)
    with torch.no_grad():
        for tensor in theirs.parameters():
            if tensor.requires_grad:
                tensor.add_(0.3 * torch.randn_like(tensor))
    theirs.save_pretrained(tmp_path)
    import_adapter(own, tmp_path)
    ids = torch.arange(6).unsqueeze(0)
    torch.testing.assert_close(own(ids).logits, theirs.eval()(ids).logits, rtol=1e-4, atol=1e-5)
    assert own.lm_head.weight is not own.transformer.wte.weight
