"""Whisper in CTranslate2's format: read by its documented layout, and proved against CTranslate2's own encoder."""

import dataclasses
import hashlib
import json
import struct

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from harness.config import ConfigError
from harness.model import build_model
from harness.model.ctranslate2 import read_container
from harness.model.hf_loading import base_folder
from harness.system import assets, converted
from tests.model.hf_inputs import named

TOKENS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
TOKENS += ["<|startofprev|>", "<|notimestamps|>"]
KINDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


@pytest.fixture(autouse=True)
def cache(own_cache, monkeypatch):
    monkeypatch.setattr(converted, "_folders", {})


def named_text(text):
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def container(variables, aliases=(), version=6, specification="WhisperSpec"):
    """The bytes of a file, as CTranslate2's own converter lays them out."""
    parts = [struct.pack("<I", version), named_text(specification), struct.pack("<II", 3, len(variables))]
    for name, values in variables.items():
        shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        parts += [
            named_text(name),
            shape,
            struct.pack("<BI", KINDS[values.dtype.name], values.nbytes),
            values.tobytes(),
        ]
    parts += [struct.pack("<I", len(aliases)), *(named_text(text) for pair in aliases for text in pair)]
    return b"".join(parts)


def small_whisper():
    torch.manual_seed(2)
    side = {"layers": 2, "attention_heads": 4, "ffn_dim": 64}
    sides = {f"{name}_{key}": value for name in ("encoder", "decoder") for key, value in side.items()}
    ids = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 1}
    made = WhisperConfig(
        d_model=32, num_mel_bins=8, max_source_positions=50, max_target_positions=16, vocab_size=40, **ids, **sides
    )
    network = WhisperForConditionalGeneration(made).eval()
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.copy_((tensor + 0.1 * torch.randn(tensor.shape)).half())
    return network


def variables_of(network):
    """The network's weights under CTranslate2's names, projections of one input joined, in 16 bits."""
    found = {}

    def put(name, *layers):
        for theirs, ours in (("weight", "weight"), ("bias", "bias")):
            parts = [
                torch.zeros(len(layer.weight)) if getattr(layer, ours) is None else getattr(layer, ours)
                for layer in layers
            ]
            found[f"{name}/{theirs}"] = torch.cat(parts).detach().half().numpy()

    def put_norm(name, norm):
        found[f"{name}/gamma"], found[f"{name}/beta"] = (t.detach().half().numpy() for t in (norm.weight, norm.bias))

    for side, part in (("encoder", network.model.encoder), ("decoder", network.model.decoder)):
        found[f"{side}/num_heads"] = np.array(4, np.int16)
        found[f"{side}/position_encodings/encodings"] = part.embed_positions.weight.detach().half().numpy()
        put_norm(f"{side}/layer_norm", part.layer_norm)
        for number, layer in enumerate(part.layers):
            at = f"{side}/layer_{number}"
            own = layer.self_attn
            put(f"{at}/self_attention/linear_0", own.q_proj, own.k_proj, own.v_proj)
            put(f"{at}/self_attention/linear_1", own.out_proj)
            put_norm(f"{at}/self_attention/layer_norm", layer.self_attn_layer_norm)
            put(f"{at}/ffn/linear_0", layer.fc1)
            put(f"{at}/ffn/linear_1", layer.fc2)
            put_norm(f"{at}/ffn/layer_norm", layer.final_layer_norm)
            if side == "decoder":
                cross = layer.encoder_attn
                put(f"{at}/attention/linear_0", cross.q_proj)
                put(f"{at}/attention/linear_1", cross.k_proj, cross.v_proj)
                put(f"{at}/attention/linear_2", cross.out_proj)
                put_norm(f"{at}/attention/layer_norm", layer.encoder_attn_layer_norm)
    for number, layer in ((1, network.model.encoder.conv1), (2, network.model.encoder.conv2)):
        found[f"encoder/conv{number}/weight"] = layer.weight.detach().half().numpy()
        found[f"encoder/conv{number}/bias"] = layer.bias.detach().half().numpy()
    found["decoder/embeddings/weight"] = network.model.decoder.embed_tokens.weight.detach().half().numpy()
    flags = {"activation": 3, "pre_norm": 1, "scale_embeddings": 0, "alibi": 0, "start_from_zero_embedding": 0}
    return found | {f"decoder/{name}": np.array(value, np.int8) for name, value in flags.items()}


ALIASES = [("decoder/projection/weight", "decoder/embeddings/weight")]


def write(folder, content):
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(content)
    added = [{"id": number, "content": text} for number, text in enumerate(TOKENS)]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    facts = {"lang_ids": [2, 3], "suppress_ids": [5], "suppress_ids_begin": [0], "alignment_heads": [[0, 1]]}
    (folder / "config.json").write_text(json.dumps(facts))
    return named(folder / "model.bin", head="fresh")


def test_whisper_is_what_it_was_before_it_was_written_so(tmp_path):
    network = small_whisper()
    config = write(tmp_path / "ct2", container(variables_of(network), ALIASES))
    folder = base_folder(config, weights=True)
    theirs, report = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    features, ids = torch.randn(2, 8, 100), torch.tensor([[1, 2, 5], [1, 3, 4]])
    with torch.no_grad():
        expected = network(features, decoder_input_ids=ids).logits
        torch.testing.assert_close(theirs.eval()(features, decoder_input_ids=ids).logits, expected, rtol=0, atol=0)
    made = theirs.generation_config
    assert (made.lang_to_id, made.is_multilingual) == ({"<|en|>": 2, "<|de|>": 3}, True)
    assert (made.task_to_id, made.no_timestamps_token_id) == ({"translate": 4, "transcribe": 5}, 7)
    assert WhisperFeatureExtractor.from_pretrained(folder).feature_size == 8
    own = build_model(config, 3)
    assert torch.equal(own.base.state_dict()["layers.1.fc1.weight"], network.model.encoder.layers[1].fc1.weight)


def test_another_tokenizer_beside_it_is_another_base(tmp_path):
    config = write(tmp_path / "ct2", container(variables_of(small_whisper()), ALIASES))
    first = base_folder(config, weights=True)
    text = (tmp_path / "ct2" / "tokenizer.json").read_text()
    (tmp_path / "ct2" / "tokenizer.json").write_text(text + " ")
    assert base_folder(config, weights=True) != first


def test_that_holds_where_the_digest_of_the_weights_is_given(tmp_path):
    content = container(variables_of(small_whisper()), ALIASES)
    config = write(tmp_path / "ct2", content)
    config = dataclasses.replace(config, sha256=hashlib.sha256(content).hexdigest())
    first = base_folder(config, weights=True)
    (tmp_path / "ct2" / "config.json").write_text("{}")
    assert base_folder(config, weights=True) != first


def without(name):
    return {key: values for key, values in variables_of(small_whisper()).items() if key != name}


CASES = [
    (lambda: container(variables_of(small_whisper()))[:-9], "cut short"),
    (lambda: container({}, specification="TransformerSpec"), "a TransformerSpec of CTranslate2; of its formats Whis"),
    (lambda: struct.pack("<I", 6) + b"\xff\xff and more", "no file of CTranslate2"),
    (lambda: container(without("decoder/layer_1/ffn/linear_1/bias")), "model.decoder.layers.1.fc2.bias"),
    (
        lambda: container(variables_of(small_whisper()) | {"decoder/layer_0/more/weight": np.ones(2, np.float16)}),
        "no part",
    ),
    (
        lambda: container(variables_of(small_whisper()) | {"encoder/conv1/weight": np.ones((32, 8, 3), np.int8)}),
        "encoder/conv1/weight is quantised; convert the model with float16 or float32",
    ),
    (
        lambda: container(variables_of(small_whisper()) | {"decoder/activation": np.array(0, np.int8)}),
        "another activation or order of norms",
    ),
    (
        lambda: container(variables_of(small_whisper()) | {"encoder/layer_norm/beta": np.ones(5, np.float16)}),
        "size mismatch for model.encoder.layer_norm.bias",
    ),
    (
        lambda: (
            struct.pack("<I", 6)
            + named_text("WhisperSpec")
            + struct.pack("<II", 3, 1)
            + named_text("a")
            + struct.pack("<BIBI", 1, 2, 5, 4)
            + bytes(8)
        ),
        "a: type 5 is not read; convert the model with float16 or float32",
    ),
]


@pytest.mark.parametrize(("make", "message"), CASES)
def test_files_that_are_no_whisper_are_one_line(make, message, tmp_path):
    config = write(tmp_path / "ct2", make())
    with pytest.raises(ConfigError, match=message) as caught:
        base_folder(config, weights=True)
    assert str(caught.value).startswith(f"model.address=path:{tmp_path}/ct2/model.bin: ")
    assert "\n" not in str(caught.value)


def test_other_versions_of_the_format_are_named(tmp_path):
    (tmp_path / "model.bin").write_bytes(container({}, version=7))
    with pytest.raises(ValueError, match="version 7 of CTranslate2's format; 6 is read here"):
        read_container(tmp_path / "model.bin")


def test_the_published_base_encodes_as_ctranslate2_does(compose_plain, monkeypatch):
    """Numbers of ctranslate2 4.8.5, in float32: 2 seconds of a rising tone, at some positions."""
    monkeypatch.delenv("HARNESS_CACHE")
    found = compose_plain("model=whisper_base", "task=spoken_digits", "task.data=x").model
    try:
        with assets.cached_only():
            folder = base_folder(found, weights=True)
    except assets.Unreachable:
        pytest.skip("not on this machine: python -m harness run=count model=whisper_base task=spoken_digits")
    seconds = np.arange(2 * 16_000) / 16_000
    sound = 0.3 * np.sin(2 * np.pi * (200 * seconds + 400 * seconds**2)) * np.hanning(len(seconds))
    features = WhisperFeatureExtractor.from_pretrained(folder)(
        sound.astype(np.float32), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    whole = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    assert sum(tensor.numel() for tensor in whole.parameters()) == 72_593_920
    with torch.no_grad():
        states = whole.model.encoder(features).last_hidden_state[0]
    torch.testing.assert_close(states[[0, 40, 99, 700], :4], torch.tensor(GOLDEN), rtol=0, atol=2e-3)


GOLDEN = [
    [-1.5558, 0.1897, -0.5540, -0.7031],
    [-0.3624, 1.1460, -1.1669, -1.2433],
    [-0.0557, -0.6022, 0.0035, 0.1396],
    [0.1645, -0.5318, 0.3391, -1.1304],
]
