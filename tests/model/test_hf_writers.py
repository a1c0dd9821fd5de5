"""Bases that write, see, or compute in fewer bits, against transformers' own."""

import json

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)
from transformers.models.auto.image_processing_auto import (
    IMAGE_PROCESSOR_MAPPING_NAMES,
    get_image_processor_class_from_name,
)

from harness.config import ConfigError
from harness.lora import LoraSpec, adapt
from harness.model import build_model, model_tokens
from harness.model.architectures import BARE_DECODERS, DECODERS, IMAGES, SEQ2SEQ, small_config
from harness.model.hf import HfGenerator, HfImageClassifier
from harness.model.hf_images import image_input
from harness.model.roles import targets_of
from tests.model.hf_inputs import BATCH, named
from tests.model.small import IDS, MASK, random_network, save_small, write_tokenizer


@pytest.mark.parametrize("model_type", [*DECODERS, *BARE_DECODERS])
def test_a_causal_model_writes_what_it_writes_in_transformers(model_type, tmp_path):
    save_small(AutoModelForCausalLM, model_type, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path), 0).eval()
    prompt = torch.tensor([3, 2, 2])
    with torch.no_grad():
        logits = own({"ids": IDS, "mask": MASK})
        torch.testing.assert_close(logits, theirs(IDS, attention_mask=MASK).logits, rtol=0, atol=0)
        written = own.generate({"ids": IDS, "prompt": prompt}, 5)
        expected = theirs.generate(IDS[:1, :3], attention_mask=MASK[:1, :3], max_new_tokens=5, do_sample=False)
    alone = expected[0, 3:].tolist()
    assert written[0].tolist()[: len(alone)] == alone


@pytest.mark.parametrize("model_type", DECODERS)
def test_a_causal_model_computes_its_output_only_where_labels_are(model_type):
    """Whatever an architecture does with its logits after the output layer."""
    network = random_network(AutoModelForCausalLM, model_type)
    own = HfGenerator(network, targets_of(network), 1)
    places = torch.tensor([[2, 3, 4], [1, 2, 0], [0, 0, 0]])
    sizes = []
    head = network.get_output_embeddings()
    head.register_forward_hook(lambda _, states, logits: sizes.append(logits.shape[:2]))
    with torch.no_grad():
        everywhere = own(BATCH)
        chosen = own({**BATCH, "places": places})
        torch.testing.assert_close(own(BATCH), everywhere, rtol=0, atol=0)
    assert sizes[1] == places.shape
    expected = everywhere.gather(1, places.unsqueeze(2).expand(-1, -1, everywhere.shape[2]))
    torch.testing.assert_close(chosen, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model_type", SEQ2SEQ)
def test_an_encoder_with_a_decoder_writes_what_it_writes_in_transformers(model_type, tmp_path):
    save_small(AutoModelForSeq2SeqLM, model_type, tmp_path)
    theirs = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path), 0).eval()
    batch = {"ids": IDS, "mask": MASK, "decoder_ids": IDS[:, :4]}
    with torch.no_grad():
        expected = theirs(IDS, attention_mask=MASK, decoder_input_ids=IDS[:, :4]).logits
        torch.testing.assert_close(own(batch), expected, rtol=0, atol=0)
        written = own.generate(batch, 5)
        row = theirs.generate(IDS[:1], attention_mask=MASK[:1], max_new_tokens=5, do_sample=False, bad_words_ids=None)
    assert model_type == "marian" or written[0].tolist()[: row.shape[1] - 1] == row[0, 1:].tolist()


def test_a_decoder_starts_from_the_begin_of_texts_where_nothing_else_is_named(tmp_path):
    """T5Gemma: neither configuration has a decoder_start_token_id; the loss is that of transformers' own shift."""
    theirs = save_small(AutoModelForSeq2SeqLM, "t5gemma", tmp_path)
    facts = [json.loads((tmp_path / name).read_text()) for name in ("config.json", "generation_config.json")]
    assert all(each.get("decoder_start_token_id") is None for each in facts)
    assert model_tokens(named(tmp_path)).decoder_start == 2
    own = build_model(named(tmp_path), 0).eval()
    labels = IDS[:, 1:5].contiguous()
    shifted = torch.cat([torch.full((3, 1), 2), labels[:, :-1]], 1)
    with torch.no_grad():
        logits = own({"ids": IDS, "mask": MASK, "decoder_ids": shifted})
        expected = theirs(IDS, attention_mask=MASK, labels=labels).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize("model_type", IMAGES)
def test_image_logits_equal_those_of_transformers(model_type, tmp_path):
    save_small(AutoModelForImageClassification, model_type, tmp_path, num_labels=3)
    said = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(said[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = theirs((images / 255 - mean) / std).logits
        torch.testing.assert_close(own({"images": images}), expected, rtol=1e-5, atol=1e-5)
        assert own({"images": images[:, :1, :, :]}).shape == (2, 3)


def test_a_table_of_positions_is_resampled_for_other_sizes(tmp_path):
    save_small(AutoModelForImageClassification, "vit", tmp_path, num_labels=3)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        expected = theirs((images / 255 - 0.5) / 0.5, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(own({"images": images}), expected, rtol=1e-5, atol=1e-5)


PROCESSORS = {
    "without a file": ("vit", {}),
    "of other means without a file": ("resnet", {}),
    "BGR without a file": ("mobilevit", {}),
    "another factor": ("vit", {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}),
    "bytes": ("vit", {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0] * 3}),
    "as they are": ("vit", {"do_normalize": False}),
    "BGR": ("vit", {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": True}),
}


@pytest.mark.parametrize("case", PROCESSORS)
def test_images_are_read_as_transformers_reads_them(case, tmp_path):
    model_type, said = PROCESSORS[case]
    kind = get_image_processor_class_from_name(IMAGE_PROCESSOR_MAPPING_NAMES[model_type]["torchvision"])
    if said:
        kind = get_image_processor_class_from_name(said.get("image_processor_type", "ViTImageProcessor"))
        said = {"image_processor_type": kind.__name__} | said
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    reads = image_input(tmp_path, model_type)
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    plain = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
    expected = kind(**said)(image, **plain)["pixel_values"][0]
    save_small(AutoModelForImageClassification, "vit", tmp_path / "net", num_labels=2)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path / "net").eval()
    own = HfImageClassifier(theirs, reads).eval()
    with torch.no_grad():
        torch.testing.assert_close(own({"images": image[None]}), theirs(expected[None]).logits, rtol=1e-4, atol=1e-5)
    exported = get_image_processor_class_from_name(reads.settings(32)["image_processor_type"])(**reads.settings(32))
    torch.testing.assert_close(exported(image, return_tensors="pt")["pixel_values"][0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "model_type", "message"),
    [
        ({"do_color_quantize": True}, "vit", "do_color_quantize: images are not read so here"),
        ({"rescale_offset": True}, "vit", "rescale_offset: images are not read so here"),
        ({"image_mean": [0.5]}, "vit", "image_mean and image_std are not of three channels"),
        (None, "nonesuch", "no such file, and transformers has no image processor for nonesuch"),
    ],
)
def test_images_that_are_read_otherwise_are_refused(said, model_type, message, tmp_path):
    if said is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(ConfigError, match=message):
        image_input(tmp_path, model_type)


def test_a_model_of_several_parts_writes(tmp_path):
    text = small_config("gemma3_text").to_dict() | {"sliding_window": 8}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    vision |= {"image_size": 16, "patch_size": 8}
    made = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(made).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    own = build_model(named(tmp_path), 0).eval()
    assert own.generate({"ids": IDS, "mask": MASK, "prompt": torch.tensor([3, 2, 2])}, 4).shape[0] == 3


def test_an_encoder_that_cannot_write_is_one_line(tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path)
    with pytest.raises(ConfigError, match="a bert writes no text"):
        build_model(named(tmp_path), 0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "modernbert"])
def test_a_base_of_16_bits_computes_nearly_the_same_and_what_is_trained_has_32(model_type, dtype, tmp_path):
    save_small(AutoModelForSequenceClassification, model_type, tmp_path, num_labels=3)
    whole = build_model(named(tmp_path, head="stored"), 3).eval()
    half = build_model(named(tmp_path, head="stored", dtype=dtype), 3).eval()
    for network in (whole, half):
        torch.manual_seed(3)
        adapt(network.base, LoraSpec(rank=2, scale=1.0, targets=("all-linear",)), network.targets)
    found, expected = half(BATCH), whole(BATCH)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()
    found.sum().backward()
    expected.sum().backward()
    for (name, ours), theirs in zip(half.base.named_parameters(), whole.base.parameters(), strict=True):
        if ours.requires_grad:
            assert (ours.grad - theirs.grad).norm() <= 0.1 * theirs.grad.norm() + 1e-6, name
    trained = {tensor.dtype for tensor in half.parameters() if tensor.requires_grad}
    grads = {tensor.grad.dtype for tensor in half.parameters() if tensor.grad is not None}
    assert trained == grads == {torch.float32}
    assert {tensor.dtype for tensor in half.base.parameters() if not tensor.requires_grad} == {getattr(torch, dtype)}


def loss_and_kept(own):
    """Runs forward and backward; returns the numbers that autograd kept in between."""
    saved = []

    def keep(tensor):
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = own(BATCH).square().mean()
    loss.backward()
    return sum(saved)


@pytest.mark.parametrize("kind", [AutoModelForSequenceClassification, AutoModelForCausalLM])
def test_activations_that_are_computed_again_give_the_same_gradients(kind, tmp_path):
    save_small(kind, "llama", tmp_path)
    gradients = []
    for again in (False, True):
        torch.manual_seed(2)  # of the fresh head
        own = build_model(named(tmp_path), 2 if kind is AutoModelForSequenceClassification else 0)
        if again:
            own.checkpoint_activations()
        torch.manual_seed(0)
        adapt(own.base, LoraSpec(rank=2, scale=1.0, targets=("query", "ffn_up")), own.targets)
        with torch.no_grad():
            for name, tensor in own.base.named_parameters():
                if "lora_B" in name:
                    tensor.add_(0.1)
        kept = loss_and_kept(own)
        gradients.append(([tensor.grad for tensor in own.base.parameters() if tensor.grad is not None], kept))
    (one, kept), (other, kept_again) = gradients
    assert len(one) == len(other) == 8
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)
    assert kept_again < 0.7 * kept
