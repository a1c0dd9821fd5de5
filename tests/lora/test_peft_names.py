"""Adapters of PEFT that were saved another way than by its save_pretrained, or with a part of the base."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from harness.lora import SpecError, import_adapter
from tests.lora.test_adapter_config import IDS, a_classifiers_adapter, classifier, edit, left, same

TENSORS = "adapter_model.safetensors"


def change(folder, each):
    """The file again, with what `each` makes of the name and the tensor."""
    made = dict(each(name, tensor) for name, tensor in load_file(folder / TENSORS).items())
    save_file({name: tensor.contiguous() for name, tensor in made.items()}, folder / TENSORS)


@pytest.mark.parametrize(
    "saved",
    [
        lambda name: name.replace("base_model.model.", "base_model.model.base_model.model."),
        lambda name: name.removeprefix("base_model.model."),
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
        lambda name: f"module.{name}",
        lambda name: name.replace("lora_magnitude_vector", "lora_magnitude_vector.default.weight"),
    ],
)
def test_names_of_a_state_dict_are_read_as_pefts_own(saved, tmp_path):
    base, theirs = left(tmp_path, use_dora=True)
    change(tmp_path, lambda name, tensor: (saved(name), tensor))
    import_adapter(base, tmp_path)
    same(base.eval(), theirs)


def test_two_names_of_one_tensor_are_refused(tmp_path):
    base, _ = left(tmp_path)
    tensors = load_file(tmp_path / TENSORS)
    save_file(tensors | {f"module.{name}": tensor + 1 for name, tensor in tensors.items()}, tmp_path / TENSORS)
    with pytest.raises(SpecError, match="without its prefix, too"):
        import_adapter(base, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora_alpha": "16"}, 'lora_alpha="16": expected a number'),
        ({"r": "2"}, 'r="2": expected a number'),
        ({"alpha_pattern": ["up"]}, r'alpha_pattern=\["up"\]: expected numbers by names of layers'),
        ({"rank_pattern": {"up": "2"}}, "expected numbers by names of layers"),
        ({"modules_to_save": "classifier"}, 'modules_to_save="classifier": expected a list of names'),
    ],
)
def test_a_field_of_another_kind_is_refused_by_name(changes, said, tmp_path):
    base, _ = left(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(SpecError, match=said):
        import_adapter(base, tmp_path)


def test_a_configuration_that_begins_with_a_byte_order_mark_is_read(tmp_path):
    base, theirs = left(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    import_adapter(base, tmp_path)
    same(base.eval(), theirs)


def test_tensors_that_are_no_numbers_are_refused(tmp_path):
    base, _ = left(tmp_path)
    change(tmp_path, lambda name, tensor: (name, tensor / 0 if "layers.1" in name else tensor))
    with pytest.raises(SpecError, match=r"no numbers \(NaN, or infinite\) in 2 tensors \(.*layers\.1\."):
        import_adapter(base, tmp_path)


def test_a_pointer_of_git_lfs_and_a_file_without_an_adapter_are_named(tmp_path):
    base, _ = left(tmp_path)
    save_file({}, tmp_path / TENSORS)
    with pytest.raises(SpecError, match="holds no A and no B of any layer"):
        import_adapter(base, tmp_path)
    (tmp_path / TENSORS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(SpecError, match="a Git LFS pointer"):
        import_adapter(base, tmp_path)


def writer(tied, tokens=40):
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    made = LlamaForCausalLM(LlamaConfig(vocab_size=tokens, pad_token_id=0, tie_word_embeddings=tied, **shape))
    return made.eval()


@pytest.mark.filterwarnings("ignore")  # PEFT, of tied embeddings
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_embeddings_that_peft_saves_beside_their_adapter_are_read(target, tied, tmp_path):
    base = writer(tied)
    config = LoraConfig(r=2, target_modules=[target, "q_proj"], init_lora_weights=False)
    theirs = get_peft_model(copy.deepcopy(base), config).eval()
    theirs.save_pretrained(tmp_path)
    assert any(name.endswith("base_layer.weight") for name in load_file(tmp_path / TENSORS))
    import_adapter(base, tmp_path)
    torch.testing.assert_close(base(input_ids=IDS).logits, theirs(input_ids=IDS).logits)


@pytest.mark.filterwarnings("ignore")  # PEFT, of embeddings that have grown
def test_tokens_that_were_added_to_the_base_are_refused_as_such(tmp_path):
    theirs = get_peft_model(writer(False, 44), LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"]))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(SpecError, match=r"\(44, 16\), the network's is \(40, 16\); tokens were added to the base"):
        import_adapter(writer(False), tmp_path)


def test_a_tensor_that_the_network_has_not_is_refused(tmp_path):
    a_classifiers_adapter(tmp_path)
    tensors = load_file(tmp_path / TENSORS)
    save_file(tensors | {"base_model.model.other.weight": torch.zeros(2)}, tmp_path / TENSORS)
    assert "classifier" in json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"]
    with pytest.raises(SpecError, match=r"other\.weight is not among the tensors that are read"):
        import_adapter(classifier(), tmp_path)
