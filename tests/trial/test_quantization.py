"""Trials over quantised bases: what is recorded, read back, exported and refused."""

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig

from harness import record
from harness.base_layers.quantized import QuantizedLinear
from harness.config import ConfigError, check
from harness.devices import resolve_precision
from harness.trial.adapt import count, method_of
from harness.trial.export import export_trial
from harness.trial.saved import find_saved
from harness.trial.trained import load_trained
from tests.model.small import IDS, MASK, save_small
from tests.trial.test_export import logits_of, trained  # noqa: F401  a fixture
from tests.trial.test_hf_trial import based_on, reviews  # noqa: F401  a fixture

pytest.importorskip("bitsandbytes")

LORA = ["lora.targets=all-linear", "lora.rank=2"]


@pytest.fixture
def base(tmp_path):
    save_small(AutoModelForSequenceClassification, "llama", tmp_path / "base", num_labels=2)
    return based_on(tmp_path / "base")


def test_a_trial_says_how_its_base_was_held_and_what_that_took(trained, reviews, base, compose_plain, tmp_path):  # noqa: F811
    words = [*reviews, *base, *LORA]
    told = count(compose_plain(*words, "model.quantization=nf4", "run=count"))
    plain = count(compose_plain(*words, "run=count"))
    made = trained(*words, "model.quantization=nf4").entry
    assert made.base.quantization == "nf4"
    assert made.parameters.frozen == told["params"]["frozen"] == plain["params"]["frozen"]
    assert made.memory.parameters == told["memory"]["parameters"] < plain["memory"]["parameters"]
    assert made.merge.max_logit_difference < 1e-3 * made.merge.max_logit
    assert list(record.read(tmp_path / "results" / "s").frame()["quantization"]) == ["nf4"]


def answer_of(network):
    """Logits on the processor: bitsandbytes' networks are on a GPU where there is one."""
    device = next(network.parameters()).device
    return network(IDS.to(device), attention_mask=MASK.to(device)).logits.cpu()


@pytest.mark.parametrize("scheme", ["int8", "nf4-double"])
def test_its_adapter_and_the_whole_of_it_load_elsewhere(scheme, trained, reviews, base, tmp_path):  # noqa: F811
    made = trained(*reviews, *base, *LORA, f"model.quantization={scheme}")
    expected = logits_of(made)
    export_trial(made, tmp_path / "whole", merged=True)
    export_trial(made, tmp_path / "adapter", merged=False)
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    asked = BitsAndBytesConfig(**(four if scheme != "int8" else {"load_in_8bit": True}))
    assert "BitsAndBytesConfig(load_in_" in (tmp_path / "adapter" / "README.md").read_text()
    ours = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole").eval()
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "adapter", num_labels=2, quantization_config=asked, dtype=torch.float32
    ).train()  # in evaluation bitsandbytes rounds the inputs, too
    with torch.no_grad():
        for network in (ours, theirs):
            torch.testing.assert_close(answer_of(network), expected, rtol=1e-3, atol=1e-3)


def test_what_begins_at_its_loss_is_trained_and_loads_elsewhere(trained, reviews, base, tmp_path):  # noqa: F811
    made = trained(*reviews, *base, "lora=loftq", *LORA, "model.quantization=nf4")
    export_trial(made, tmp_path / "adapter", merged=False)
    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "adapter", num_labels=2, quantization_config=four, dtype=torch.float32
    ).train()
    with torch.no_grad():
        found = answer_of(theirs)
    torch.testing.assert_close(found, logits_of(made), rtol=1e-3, atol=1e-3)
    assert made.entry.merge.max_logit_difference < 1e-3 * made.entry.merge.max_logit


def test_layers_that_were_left_in_floats_are_so_elsewhere(trained, reviews, base, compose_plain, tmp_path):  # noqa: F811
    skip = r"model.quantization_skip=[layers\\.0\\.mlp\\..*,layers\\.1\\.self_attn\\.q_proj]"
    made = trained(*reviews, *base, *LORA, "model.quantization=nf4", skip)
    assert made.entry.base.quantization_skip == [r"layers\.0\.mlp\..*", r"layers\.1\.self_attn\.q_proj"]
    export_trial(made, tmp_path / "out", merged=False)
    code = (tmp_path / "out" / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    there = {}
    exec(code.replace("FOLDER", str(tmp_path / "out")), there)
    ours = [layer for layer in load_trained(made).base.modules() if isinstance(layer, QuantizedLinear)]
    theirs = [name for name, tensor in there["model"].named_parameters() if tensor.dtype == torch.uint8]
    assert len(theirs) == len(ours) > 0
    with torch.no_grad():
        found = answer_of(there["model"].train())
    torch.testing.assert_close(found.float(), logits_of(made), rtol=1e-3, atol=1e-3)
    saved = find_saved(str(made.folder / "adapter"))
    config = compose_plain(*reviews, *base, *LORA, "model.quantization=nf4")
    assert saved.notes(made.config) == []
    (note,) = saved.notes(config)
    assert note.endswith(r"_skip of layers\.0\.mlp\..*, layers\.1\.self_attn\.q_proj; here it is none")


REFUSED = {
    "full": (["lora=full"], "model.quantization=nf4: lora=full trains weights of the base"),
    "bitfit": (["lora=bitfit"], "model.quantization=nf4: lora=bitfit trains weights of the base"),
    "peft": (
        ["lora=peft", "lora.method=LOHA", "lora.targets=[query]"],
        "model.quantization=nf4: lora=peft is not known",
    ),
    "fsdp": (["trainer=fsdp"], "model.quantization=nf4: its bits are whole on each device; trainer.strategy=ddp"),
    "skip": (["model.quantization=null", "model.quantization_skip=[a]"], "model.quantization_skip: has no effect"),
    "scheme": (
        ["model.quantization=int4"],
        "model.quantization=\"int4\": input should be 'int8', 'nf4' or 'nf4-double'",
    ),
    "gpt2": (["model=gpt2", "task=seq2seq", "trainer.objective=loss"], "gpt2 has no linear layers of torch's own"),
}


@pytest.mark.parametrize("way", REFUSED)
def test_what_quantised_weights_cannot_do_is_one_line(way, compose_plain):
    words, said = REFUSED[way]
    with pytest.raises(ConfigError) as error:
        compose_plain("task=text_csv", "task.data=x.csv", "model=minilm", "model.quantization=nf4", *words)
    assert said in str(error.value)


SHORT_TEXTS = ["task=text_csv", "task.data=x.csv", "task.max_length=12"]
HALVES = [
    ("float16", "bf16-mixed", "trainer.precision=bf16-mixed: model.dtype=float16, whose gradients"),
    ("float16", "32-true", "trainer.precision=32-true: model.dtype=float16, whose gradients"),
    ("float16", "fastest", "trainer.precision=fastest: model.dtype=float16, whose gradients"),
    ("bfloat16", "16-mixed", "trainer.precision=16-mixed: model.dtype=bfloat16 computes in bfloat16"),
]


@pytest.mark.parametrize(("dtype", "precision", "said"), HALVES)
def test_a_base_of_16_bits_and_a_precision_at_odds_are_one_line(dtype, precision, said, base, compose_plain):
    with pytest.raises(ConfigError) as error:
        compose_plain(*SHORT_TEXTS, *base, f"model.dtype={dtype}", f"trainer.precision={precision}")
    assert str(error.value).startswith(said)


def test_the_device_decides_on_16_bits(monkeypatch):
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    with pytest.raises(ConfigError, match="model.dtype=float16: not on a CPU"):
        resolve_precision("auto", cpu, "float16")
    assert resolve_precision("auto", cpu, "bfloat16") == "32-true"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert [resolve_precision("auto", gpu, base) for base in ("bfloat16", "float16")] == ["bf16-mixed", "16-mixed"]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert resolve_precision("auto", gpu, "float16") == "16-mixed"
    with pytest.raises(ConfigError, match="model.dtype=bfloat16: this GPU does not compute in it"):
        resolve_precision("auto", gpu, "bfloat16")


def test_a_base_of_16_bits_is_recorded_and_merged_as_it_was_trained(trained, reviews, base):  # noqa: F811
    made = trained(*reviews, *base, *LORA, "model.dtype=bfloat16").entry
    assert made.provenance.arithmetic["base"] == "bfloat16"
    assert made.merge.max_logit_difference < 0.1 * made.merge.max_logit


@pytest.mark.parametrize("variant", ["pissa", "olora", "lora_ga", "dora+pissa"])
def test_a_start_out_of_the_weights_is_refused_before_anything_is_made(variant, compose_plain):
    words = ["task=text_csv", "task.data=x.csv", "model=minilm", "model.quantization=nf4", f"lora.variant={variant}"]
    with pytest.raises(ConfigError, match=r"model\.quantization=nf4: lora\.variant=.* must be floats"):
        method_of(compose_plain(*words)).check()


def test_what_gives_back_a_loss_needs_one(compose_plain):
    with pytest.raises(ConfigError, match=r"lora\.variant=loftq: starts from what quantisation takes"):
        method_of(compose_plain("task=text_csv", "task.data=x.csv", "model=minilm", "lora=loftq")).check()


def test_a_pattern_of_no_layer_is_refused_before_anything_is_made(run_here, tiny_data, tmp_path):
    words = ["task=text_csv", f"task.data={tiny_data}", "model=minilm", "trainer=cpu", "tracking=off"]
    code, _, said = run_here(*words, "model.quantization=nf4", "model.quantization_skip=[encoder.layer.9.*]", "study=s")
    assert (code, said.strip().splitlines()[-1].partition(" matches")[0]) == (
        2,
        "model.quantization_skip: pattern encoder.layer.9.*",
    )
    assert not (tmp_path / "results").exists()


def test_the_extra_is_asked_for_by_name(tree, monkeypatch):
    from harness.config import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "bitsandbytes" else name)
    with pytest.raises(ConfigError, match=r"model\.quantization=int8: needs the extra quantization: pip install"):
        extras.check_extras(check(tree("model.quantization=int8")), "")
