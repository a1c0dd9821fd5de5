"""Weights of 4 and 8 bits: what bitsandbytes unpacks is what is computed with, and what is counted is what is held."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from harness.base_layers.quantized import QuantizedLinear, dequantize, sizes_of
from harness.config import ConfigError
from harness.devices import bytes_of
from harness.lora import LoraSpec, SpecError, adapt, export_adapter, import_adapter, merge, updates_of
from harness.model import build_model
from harness.trial.counting import flops_of, memory_needed, parameters_by_group
from tests.model.hf_inputs import BATCH, named
from tests.model.small import save_small

bits = pytest.importorskip("bitsandbytes.functional")

SCHEMES = ("int8", "nf4", "nf4-double")
LINEAR = ("all-linear",)
LEVELS = (  # Dettmers et al. (2023), appendix E
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


@pytest.fixture
def device() -> str:
    return "cpu"


def layer(inputs=96, outputs=80, seed=0, **keys) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, **keys).requires_grad_(False)


def plain_twin(network):
    """The same network with layers of floats that hold the dequantised weights."""
    twin = copy.deepcopy(network)
    dequantize(twin)
    assert not any(isinstance(module, QuantizedLinear) for module in twin.modules())
    return twin


def test_nf4_has_the_published_levels_and_takes_the_nearest(device):
    plain = layer(64, 64)
    found = QuantizedLinear(plain, "nf4").to(device).weight.cpu()
    most = plain.weight.abs().amax(1, keepdim=True)  # a row of 64 is a block
    levels = torch.tensor(LEVELS)
    nearest = levels[(plain.weight[..., None] / most[..., None] - levels).abs().argmin(-1)]
    torch.testing.assert_close(found, nearest * most, rtol=1e-6, atol=0)


def test_int8_has_a_scale_for_each_output(device):
    plain = layer()
    found = QuantizedLinear(plain, "int8").to(device).weight.cpu()
    scale = plain.weight.half().float().abs().amax(1, keepdim=True) / 127
    steps = found / scale
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    assert steps.round().abs().amax(1).eq(127).all()
    assert ((found - plain.weight) / scale).abs().max() < 0.55  # it rounds in float16


@pytest.mark.parametrize(("inputs", "outputs"), [(96, 80), (7, 9), (256, 300)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_bytes_are_those_of_the_formula_and_told_before(scheme, inputs, outputs):
    weights, blocks = inputs * outputs, -(-inputs * outputs // 64)
    expected = {
        "int8": weights + 4 * outputs,
        "nf4": -(-weights // 2) + 4 * blocks,
        "nf4-double": -(-weights // 2) + blocks + 4 * -(-blocks // 256) + 4,
    }
    held = QuantizedLinear(layer(inputs, outputs), scheme)
    told = QuantizedLinear(layer(inputs, outputs, device="meta"), scheme)
    for made in (held, told):
        assert bytes_of([*made.parameters(), *made.buffers()]) == expected[scheme] + 4 * outputs  # and the bias
        assert sum(sizes_of(made).values()) == weights + outputs
        assert made.weight.shape == (outputs, inputs)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_layer_is_one_of_floats_that_holds_its_weights(scheme, kind, device):
    own = QuantizedLinear(layer(dtype=kind), scheme).to(device)
    x, y = torch.randn(3, 5, 96, device=device, dtype=kind), torch.randn(3, 5, 80, device=device, dtype=kind)
    results = []
    for made in (own, own.in_floats()):
        given = x.clone().requires_grad_()
        out = made(given)
        out.backward(y)
        results.append((out.detach(), given.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_change_of_type_keeps_the_bits(scheme, device):
    own = QuantizedLinear(layer(), scheme).to(device)
    before = own.weight
    own.bfloat16()
    assert own.weight.dtype == torch.bfloat16
    torch.testing.assert_close(own.float().weight, before, rtol=0, atol=0)
    torch.testing.assert_close(own.double().weight, before.double(), rtol=0, atol=0)


def test_no_pass_keeps_a_weight_of_floats():
    own, kept = QuantizedLinear(layer(512, 512), "nf4"), []
    x = torch.randn(4, 512, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()), lambda _: None):
        own(x)
    assert sum(kept) < own.in_features * own.out_features


def small(tmp_path, model_type="llama", *, kind=AutoModelForSequenceClassification, outputs=3, **keys):
    save_small(kind, model_type, tmp_path, num_labels=3)
    return build_model(named(tmp_path, **({"head": "stored"} if outputs else {}) | keys), outputs).eval()


def adapted(network, variant, device):
    torch.manual_seed(3)
    size = {"scale": None, "alpha": 2.0} if variant == "rslora" else {"scale": 1.5}
    adapt(network.base, LoraSpec(rank=2, targets=LINEAR, variant=variant, **size), network.targets)
    for update in updates_of(network.base):
        nn.init.normal_(update.lora_B, std=0.2)
    return network.to(device)


def on(device):
    return {name: tensor.to(device) for name, tensor in BATCH.items()}


def outputs_and_gradients(network, device, precision=None):
    with torch.autocast(device, precision or torch.bfloat16, enabled=precision is not None):
        loss = F.cross_entropy(network(on(device)).float(), torch.tensor([0, 1, 2], device=device))
    loss.backward()
    grads = {name: tensor.grad for name, tensor in network.named_parameters() if tensor.requires_grad}
    return loss.detach(), grads


@pytest.mark.parametrize("variant", ["lora", "dora", "rslora", "lora_fa", "lora_plus", "dylora", "adalora"])
@pytest.mark.parametrize("scheme", ["int8", "nf4"])
def test_lora_is_that_over_the_dequantised_base(scheme, variant, tmp_path, device):
    network = adapted(small(tmp_path, quantization=scheme), variant, device)
    twin = plain_twin(network)
    torch.manual_seed(5)  # DyLoRA draws a rank
    loss, grads = outputs_and_gradients(network, device)
    torch.manual_seed(5)
    expected, others = outputs_and_gradients(twin, device)
    torch.testing.assert_close(loss, expected)
    assert grads.keys() == others.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, others[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_lora_in_mixed_precision_is_that_over_the_dequantised_base(kind, tmp_path, device):
    network = adapted(small(tmp_path, quantization="nf4", dtype=kind), "lora", device)
    loss, grads = outputs_and_gradients(network, device, torch.bfloat16)
    expected, others = outputs_and_gradients(plain_twin(network), device, torch.bfloat16)
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2)
    for name, grad in grads.items():
        assert grad.dtype == torch.float32
        torch.testing.assert_close(grad, others[name], rtol=0.1, atol=0.05 * float(others[name].abs().max()))


@pytest.mark.parametrize(("scheme", "own"), [("int8", False), ("nf4", False), ("nf4", True), ("nf4-double", False)])
def test_peft_over_the_base_that_transformers_quantises_is_ours(scheme, own, tmp_path, device):
    """In training mode: bitsandbytes rounds the inputs of int8, on a CPU in evaluation alone, on a GPU always."""
    from peft import PeftModel
    from transformers import BitsAndBytesConfig

    network = adapted(small(tmp_path / "base", quantization=scheme), "dora" if own else "lora", device).eval()
    export_adapter(network.base, "", tmp_path / "adapter")
    four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": scheme == "nf4-double"}
    asked = BitsAndBytesConfig(load_in_8bit=scheme == "int8", load_in_4bit=scheme != "int8", **four)
    theirs = AutoModel.from_pretrained(
        tmp_path / "base", quantization_config=asked, dtype=torch.float32, device_map={"": device}
    )
    kinds = {type(module).__name__ for module in theirs.modules()}
    assert ("Linear8bitLt" if scheme == "int8" else "Linear4bit") in kinds
    theirs = PeftModel.from_pretrained(theirs, str(tmp_path / "adapter")).train()
    given = on(device)
    with torch.no_grad():
        found = network.base(input_ids=given["ids"], attention_mask=given["mask"]).last_hidden_state
        expected = theirs(input_ids=given["ids"], attention_mask=given["mask"]).last_hidden_state
    near = 0.1 if (scheme, device) == ("int8", "cuda") else 1e-4
    torch.testing.assert_close(found, expected, rtol=near, atol=near)


def test_the_adapter_goes_over_the_base_in_floats(tmp_path):
    network = adapted(small(tmp_path, quantization="int8"), "lora", "cpu")
    export_adapter(network.base, "", tmp_path / "adapter")
    whole = small(tmp_path)
    import_adapter(whole.base, tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(whole(BATCH), network(BATCH), rtol=0.05, atol=0.1)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_merging_gives_floats_and_is_undone(scheme, kind, tmp_path, device):
    network = adapted(small(tmp_path, quantization=scheme, dtype=kind), "lora", device)
    held = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        apart = network(on(device))
        undo = merge(network.base)
        assert not any(
            isinstance(module, QuantizedLinear) for name, module in network.base.named_modules() if "q_" in name
        )
        tolerance = 1e-4 if kind == "float32" else 0.1 * float(apart.abs().max())
        torch.testing.assert_close(network(on(device)), apart, rtol=0, atol=tolerance)
        undo()
        torch.testing.assert_close(network(on(device)), apart, rtol=0, atol=0)
    after = network.state_dict()
    assert held.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) and tensor.dtype == after[name].dtype for name, tensor in held.items())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_parameters_are_counted_as_numbers_and_memory_as_bytes(scheme, tmp_path, device):
    network, whole = (adapted(small(tmp_path, quantization=kind), "lora", device) for kind in (scheme, None))
    counts = [parameters_by_group(each, [], each.head.parameters()) for each in (network, whole)]
    assert counts[0] == counts[1]
    told = build_model(named(tmp_path, head="stored", quantization=scheme), 3, weights=False)
    told = adapted(told, "lora", "meta")
    assert memory_needed(told) == memory_needed(network)
    assert memory_needed(network)["parameters"] < memory_needed(whole)["parameters"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_operations_are_those_of_the_base_in_floats(scheme, tmp_path, device):
    found = []
    for kind in (scheme, None):
        network = adapted(small(tmp_path, quantization=kind), "lora", device)
        passes = (lambda: network(on(device)), lambda: network(on(device)).sum().backward())  # noqa: B023
        found.append([flops_of(work, torch.device(device)) for work in passes])
    assert found[0] == found[1]
    assert found[0][1] > found[0][0]


@pytest.mark.parametrize(
    ("model_type", "kind", "outputs"),
    [
        ("llama", AutoModelForCausalLM, 0),
        ("t5", AutoModelForSeq2SeqLM, 0),
        ("bert", AutoModelForSequenceClassification, 3),
    ],
)
def test_the_layers_are_those_that_transformers_takes(model_type, kind, outputs, tmp_path):
    from transformers import BitsAndBytesConfig

    network = small(tmp_path, model_type, kind=kind, outputs=outputs, quantization="nf4")
    theirs = kind.from_pretrained(tmp_path, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    theirs = theirs.base_model if outputs else theirs  # of some architectures it quantises the head, too
    ours = {name for name, module in network.base.named_modules() if isinstance(module, QuantizedLinear)}
    assert ours == {name for name, module in theirs.named_modules() if type(module).__name__ == "Linear4bit"}
    assert ours


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_the_file_of_the_weights_in_floats_is_let_go(tmp_path):
    network = small(tmp_path, quantization="nf4")
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    del network


def test_layers_are_left_out_by_name(tmp_path):
    network = small(tmp_path, quantization="nf4", quantization_skip=[r".*\.mlp\..*"])
    names = [name for name, module in network.base.named_modules() if isinstance(module, QuantizedLinear)]
    assert names
    assert not any("mlp" in name for name in names)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"quantization_skip": ["nothing"]},
            r"quantization_skip: pattern nothing matches no linear layer; a layer's name",
        ),
        ({"quantization_skip": ["("]}, r"quantization_skip: pattern \(: "),
        ({"quantization_skip": [".*"]}, r"leaves no layer to quantise"),
    ],
)
def test_what_cannot_be_left_out_is_one_line(keys, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        small(tmp_path, quantization="nf4", **keys)


@pytest.mark.parametrize(("scheme", "weight"), [("int8", 1e5), ("nf4", float("inf")), ("nf4-double", float("inf"))])
def test_a_weight_that_the_bits_cannot_hold_is_refused_by_its_layer(scheme, weight, tmp_path):
    save_small(AutoModelForSequenceClassification, "llama", tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    (name,) = (name for name in stored if name.endswith("layers.1.mlp.up_proj.weight"))
    stored[name][3, 5] = weight
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=rf"^model\.quantization={scheme}: layers\.1\.mlp\.up_proj: a weight is not"):
        build_model(named(tmp_path, quantization=scheme), 2)
    build_model(named(tmp_path, quantization=scheme, quantization_skip=["layers.1.mlp.up_proj"]), 2)


def test_a_base_without_linear_layers_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="model.quantization=nf4: model=hf has no linear layer"):
        small(tmp_path, "gpt2", quantization="nf4")


@pytest.mark.parametrize("variant", ["pissa", "olora", "lora_ga"])
def test_a_start_that_is_taken_out_of_the_weights_is_refused(variant, tmp_path):
    network = small(tmp_path, quantization="nf4")
    with pytest.raises(SpecError, match="few bits"):
        adapt(network.base, LoraSpec(rank=2, scale=1.0, targets=LINEAR, variant=variant), network.targets)


def test_a_base_of_timm_is_quantised(tmp_path):
    pytest.importorskip("timm")
    from harness.config import TimmModelConfig

    keys = {"address": None, "sha256": None, "image_size": 32, "architecture": "vit_tiny_patch16_224"}
    network = build_model(TimmModelConfig(kind="timm", name="timm", quantization="nf4", **keys), 2).eval()
    assert any(isinstance(module, QuantizedLinear) for module in network.base.modules())
    twin, images = plain_twin(network), {"images": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)}
    with torch.no_grad():
        torch.testing.assert_close(network(images), twin(images))
