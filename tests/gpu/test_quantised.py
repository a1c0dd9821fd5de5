"""The proofs of quantised weights, on a GPU: the tests are those of the CPU, on another device."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from harness.base_layers.quantized import QuantizedLinear
from harness.devices import bytes_of
from tests.model import test_quantization as proofs
from tests.model.small import save_small
from tests.trial.test_hf_trial import SHORT, based_on, reviews, run  # noqa: F401  a fixture

# Layers as small as a test's are no size for the fastest kernels.
pytestmark = pytest.mark.filterwarnings("ignore:inner dimension")

test_levels = proofs.test_nf4_has_the_published_levels_and_takes_the_nearest
test_int8 = proofs.test_int8_has_a_scale_for_each_output
test_layer = proofs.test_a_layer_is_one_of_floats_that_holds_its_weights
test_types = proofs.test_a_change_of_type_keeps_the_bits
test_lora = proofs.test_lora_is_that_over_the_dequantised_base
test_mixed = proofs.test_lora_in_mixed_precision_is_that_over_the_dequantised_base
test_peft = proofs.test_peft_over_the_base_that_transformers_quantises_is_ours
test_merging = proofs.test_merging_gives_floats_and_is_undone
test_counts = proofs.test_parameters_are_counted_as_numbers_and_memory_as_bytes
test_operations = proofs.test_operations_are_those_of_the_base_in_floats


@pytest.fixture
def device() -> str:
    return "cuda"


def test_the_weights_take_the_bytes_that_were_told_and_a_step_no_copy_of_all(device):
    wide = 2048
    layers = torch.nn.Sequential(*(QuantizedLinear(torch.nn.Linear(wide, wide, bias=False), "nf4") for _ in range(8)))
    told, before = bytes_of(layers.parameters()), torch.cuda.memory_allocated()
    layers.to(device)
    assert told <= torch.cuda.memory_allocated() - before < 1.01 * told
    x = torch.randn(4, wide, device=device, requires_grad=True)
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    layers(x).sum().backward()
    assert torch.cuda.max_memory_allocated() - held < 4 * 4 * wide * wide  # of the eight, as floats, fewer than four


def test_the_bits_of_the_cpu_are_those_of_the_gpu(device):
    torch.manual_seed(0)
    plain = torch.nn.Linear(256, 512)
    here = QuantizedLinear(plain, "nf4").qweight
    there = QuantizedLinear(plain.to(device), "nf4").qweight.cpu()
    assert (here != there).float().mean() < 1e-3  # but where a weight lies between two levels


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["model.quantization=nf4", "trainer.precision=32-true"], 1e-3),
        (["model.quantization=int8", "trainer.precision=32-true"], 1e-3),
        (["model.quantization=nf4"], 0.05),
        (["model.quantization=nf4-double", "model.dtype=bfloat16"], 0.05),
        (["model.quantization=nf4", "model.dtype=float16"], 0.05),
        (["model.dtype=float16"], 0.05),
        (["model.dtype=bfloat16", "trainer.activation_checkpointing=true"], 0.05),
    ],
)
def test_a_trial_scores_as_on_a_cpu(words, near, compose_plain, reviews, tmp_path, own_cache):  # noqa: F811
    """Of the same bits in float32, to what the precision leaves."""
    save_small(AutoModelForSequenceClassification, "llama", tmp_path / "base", num_labels=2)
    usual = [*reviews, *based_on(tmp_path / "base"), *SHORT, "lora.targets=all-linear", "lora.rank=2"]
    bits = [word for word in words if word.startswith("model.quantization")]
    gpu = ["trainer.accelerator=gpu", "trainer.precision=auto"]
    there = run(compose_plain(*usual, *gpu, *words), tmp_path / "trials" / "0")
    here = run(compose_plain(*usual, *bits), tmp_path / "trials" / "1")
    assert there.memory.kind == "cuda allocated"
    assert there.scores["test"]["loss"] == pytest.approx(here.scores["test"]["loss"], rel=near)
    assert (there.parameters, there.base.quantization) == (here.parameters, here.base.quantization)
