"""What an adapter's folder says is read as PEFT reads it, or refused by name."""

import copy
import dataclasses
import json
import re

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from harness.lora import SpecError, TaskRouter, import_adapter, pack


class Layers(nn.Module):
    """Three blocks of two layers each."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(6, 6), "down": nn.Linear(6, 6)}) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + layer["down"](torch.tanh(layer["up"](x)))
        return x


def left(folder, **changes):
    """The plain network, and PEFT's own with an adapter that is anything but its start, saved to the folder."""
    torch.manual_seed(0)
    base = Layers()
    theirs = get_peft_model(copy.deepcopy(base), LoraConfig(**({"r": 2, "target_modules": ["up"]} | changes))).eval()
    for name, tensor in theirs.named_parameters():
        if "lora_" in name:
            nn.init.normal_(tensor)
    theirs.save_pretrained(str(folder))
    return base, theirs


def edit(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def same(base, theirs):
    x = torch.randn(4, 6)
    torch.testing.assert_close(base(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers_to_transform": [1], "layers_pattern": "layers"},
        {"target_modules": "all-linear", "exclude_modules": r"layers\.0\..*"},
        {"init_lora_weights": "gaussian", "revision": "main"},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "mica"},
        {"init_lora_weights": False, "inference_mode": True, "lora_dropout": 0.3},
    ],
)
def test_fields_that_only_say_how_it_was_made_change_nothing(changes, tmp_path):
    base, theirs = left(tmp_path, **changes)
    import_adapter(base, tmp_path)
    same(base.eval(), theirs)


# Those a reader of tensors need not know; every other field of the installed PEFT is read or refused.
HARMLESS = {
    *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"),
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config"),
    *("megatron_core", "qalora_group_size"),
    *("target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"),
}
READ = {
    *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "init_lora_weights"),
    *("lora_dropout", "init_r", "modules_to_save", "target_parameters"),
}
FIELDS = sorted({field.name for field in dataclasses.fields(AdaLoraConfig)})


@pytest.mark.parametrize("field", [field for field in FIELDS if field not in READ])
def test_every_field_of_the_installed_peft_is_known(field, tmp_path):
    base, theirs = left(tmp_path)
    edit(tmp_path, **{field: ["set"]})
    if field in HARMLESS:
        import_adapter(base, tmp_path)
        same(base, theirs)
        return
    for read in (lambda: import_adapter(base, tmp_path), lambda: pack(base, [tmp_path], TaskRouter())):
        with pytest.raises(SpecError) as caught:
            read()
        said = str(caught.value)
        assert f'{field}=["set"] (' in said
        assert "not known here" not in said
        assert re.search("merge_and_unload|only PEFT runs it", said)
        assert "\n" not in said


def test_all_fields_that_are_refused_are_named_at_once(tmp_path):
    base, _ = left(tmp_path)
    edit(tmp_path, bias="all", layer_replication=[[0, 1]], brand_new=7, another_new=None, one_more={}, last=False)
    with pytest.raises(SpecError) as caught:
        import_adapter(base, tmp_path)
    said = str(caught.value)
    assert 'bias="all" (trained biases beside LoRA)' in said
    assert "layer_replication=[[0, 1]] (layers of the base that are repeated)" in said
    assert "brand_new=7 (not known here)" in said
    assert "remove a field that is not known here" in said
    assert not re.search("another_new|one_more|last=", said)


def test_fields_of_a_newer_peft_that_are_not_set_are_passed_over(tmp_path):
    base, theirs = left(tmp_path)
    edit(tmp_path, brand_new=None, another_new=False, one_more={}, last=[])
    import_adapter(base, tmp_path)
    same(base, theirs)


@pytest.mark.parametrize("way", ["lora_ga", "corda", "pissa_niter_4", "a_new_one"])
def test_a_start_that_may_have_changed_the_base_is_refused(way, tmp_path):
    base, _ = left(tmp_path)
    edit(tmp_path, init_lora_weights=way)
    with pytest.raises(SpecError, match=f"init_lora_weights={way.partition('_niter')[0]} .*change"):
        import_adapter(base, tmp_path)


def test_fields_that_are_left_out_have_pefts_own_values(tmp_path):
    base, theirs = left(tmp_path, r=8, lora_alpha=8)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "target_modules": ["up"]}))
    import_adapter(base, tmp_path)
    same(base, theirs)


@pytest.mark.parametrize("changes", [{"trainable_token_indices": [1, 2]}, {"alora_invocation_tokens": [3, 4]}])
def test_what_peft_itself_leaves_of_another_kind_is_refused(changes, tmp_path):
    base = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=2, n_positions=8))
    kind = {"target_modules": ["c_attn"], "fan_in_fan_out": True, "task_type": "CAUSAL_LM"}
    theirs = get_peft_model(copy.deepcopy(base), LoraConfig(r=2, **kind, **changes))
    theirs.save_pretrained(str(tmp_path))
    with pytest.raises(SpecError, match=next(iter(changes))):
        import_adapter(base, tmp_path)


def test_a_file_of_before_safetensors_is_read(tmp_path):
    base, theirs = left(tmp_path)
    stored = tmp_path / "adapter_model.safetensors"
    torch.save(load_file(stored), tmp_path / "adapter_model.bin")
    stored.unlink()
    import_adapter(base, tmp_path)
    same(base, theirs)


class Code:
    """A pickle that would run code as it is read."""

    def __reduce__(self):
        return (pytest.fail, ("code of a pickle was run",))


@pytest.mark.parametrize("content", [b"", b"no tensors", {"a": Code()}, {"a": 1}])
def test_a_file_that_holds_no_tensors_is_refused(content, tmp_path):
    base, _ = left(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    path = tmp_path / "adapter_model.bin"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(SpecError, match=r"adapter_model\.bin: (not a file of tensors|expected tensors by name)"):
        import_adapter(base, tmp_path)


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    base, _ = left(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(SpecError, match=r"adapter_model\.safetensors: not a file of tensors"):
        import_adapter(base, tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(SpecError, match=r"it has neither adapter_model\.safetensors nor adapter_model\.bin"):
        import_adapter(base, tmp_path)
    for text in ("{", "[]"):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(SpecError, match=r"adapter_config\.json: "):
            import_adapter(base, tmp_path)
    with pytest.raises(SpecError, match=r"adapter_config\.json: cannot be read"):
        import_adapter(base, tmp_path / "nowhere")


def classifier():
    torch.manual_seed(1)
    shape = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    shape.num_labels = 3
    return BertForSequenceClassification(shape).eval()


def a_classifiers_adapter(folder):
    """PEFT's own adapter of a sequence classifier, its head trained as well; returns PEFT's logits."""
    config = LoraConfig(target_modules=["query", "value"], r=2, init_lora_weights=False, task_type="SEQ_CLS")
    theirs = get_peft_model(classifier(), config).eval()
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            if "modules_to_save" in name:
                tensor.add_(torch.randn(tensor.shape))
    theirs.save_pretrained(folder)
    return theirs(input_ids=IDS).logits.detach()


IDS = torch.tensor([[1, 5, 7, 2], [1, 9, 3, 2]])


def test_a_classifier_that_was_trained_beside_lora_is_read(tmp_path):
    expected = a_classifiers_adapter(tmp_path)
    own = classifier()
    import_adapter(own, tmp_path)
    torch.testing.assert_close(own.eval()(input_ids=IDS).logits, expected, rtol=0, atol=1e-6)
    assert (classifier()(input_ids=IDS).logits - expected).abs().max() > 0.1


def test_a_classifier_that_does_not_fit_is_refused(tmp_path):
    a_classifiers_adapter(tmp_path)
    with pytest.raises(SpecError, match=r"modules_to_save holds classifier\.\w+, and the network has no such tensor"):
        import_adapter(classifier().bert, tmp_path)
    other = classifier()
    other.classifier = torch.nn.Linear(16, 5)
    with pytest.raises(SpecError, match="build the network with as many classes"):
        import_adapter(other, tmp_path)
    edit(tmp_path, modules_to_save=None)
    with pytest.raises(SpecError, match="is not among the tensors that are read"):
        import_adapter(classifier(), tmp_path)
    edit(tmp_path, modules_to_save=["classifier", "score"])
    with pytest.raises(SpecError, match="modules_to_save names classifier, score"):
        pack(classifier(), [tmp_path], TaskRouter())
