"""Bases in GGUF files: converted once, to what transformers reads there; terms of use are accepted first."""

import json
import logging
import multiprocessing

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from harness.config import ConfigError, read_stored
from harness.config.models.hf import TermsConfig
from harness.config.scalars import AssetConfig
from harness.model import build_model, hf_files, model_takes, model_tokens
from harness.model.hf_loading import base_folder
from harness.system import converted
from harness.system.assets import AssetError
from tests.model.hf_inputs import IDS, MASK, named

Q8 = GGMLQuantizationType.Q8_0
VOCABULARY = ["<pad>", "<end>", *"abcdefgh", "Ġ", "ab", "cd", "Ġab"]
MERGES = ["a b", "c d", "Ġ ab"]


def small_network():
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    made = Qwen2Config(vocab_size=len(VOCABULARY), num_key_value_heads=2, max_position_embeddings=64, **sizes)
    network = Qwen2ForCausalLM(made).eval()
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.add_(0.2 * torch.randn(tensor.shape))
    return network


def write_gguf(path, without=()):
    """A small Qwen 2 with matrices of 8 bits, as llama.cpp writes it; returned with the weights that the file holds."""
    network = small_network()
    made = network.config
    writer = GGUFWriter(path, "qwen2")
    writer.add_name("small")
    writer.add_context_length(64)
    writer.add_embedding_length(made.hidden_size)
    writer.add_block_count(made.num_hidden_layers)
    writer.add_feed_forward_length(made.intermediate_size)
    writer.add_head_count(made.num_attention_heads)
    writer.add_head_count_kv(made.num_key_value_heads)
    writer.add_layer_norm_rms_eps(made.rms_norm_eps)
    writer.add_rope_freq_base(made.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([3, 3] + [1] * (len(VOCABULARY) - 2))
    writer.add_token_merges(MERGES)
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, made.num_hidden_layers)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            stem, _, kind = name.rpartition(".")
            values = tensor.numpy()
            if stem in without:
                continue
            if values.ndim == 2:
                packed = gguf.quantize(values, Q8)
                tensor.copy_(torch.from_numpy(gguf.dequantize(packed, Q8)))
                writer.add_tensor(f"{names.get_name(stem)}.{kind}", packed, raw_dtype=Q8)
            else:
                writer.add_tensor(f"{names.get_name(stem)}.{kind}", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return network


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    return path, write_gguf(path)


@pytest.fixture(autouse=True)
def cache(own_cache, monkeypatch):
    monkeypatch.setattr(converted, "_folders", {})
    return own_cache


def test_logits_are_those_of_the_weights_in_the_file(small):
    path, network = small
    config = named(path)
    own = build_model(config, 0).eval()
    ids = IDS % len(VOCABULARY)
    with torch.no_grad():
        expected = network(ids, attention_mask=MASK).logits
        torch.testing.assert_close(own({"ids": ids, "mask": MASK}), expected, rtol=1e-6, atol=1e-6)
        theirs = AutoModelForCausalLM.from_pretrained(base_folder(config, weights=True)).eval()
        torch.testing.assert_close(theirs(ids, attention_mask=MASK).logits, expected, rtol=1e-6, atol=1e-6)
    assert model_takes(config).kinds == ("text", "generator")
    assert (config.longest, config.one_sequence) == (64, True)
    shapes = build_model(config, 0, weights=False)
    assert [tensor.shape for tensor in shapes.parameters()] == [tensor.shape for tensor in own.parameters()]
    assert build_model(config, 3)({"ids": ids, "mask": MASK}).shape == (3, 3), "it classifies by the last token, too"


def test_its_tokenizer_is_the_one_in_the_file(small):
    told = model_tokens(named(small[0]))
    tokenizer = Tokenizer.from_file(str(told.tokenizer))
    assert tokenizer.encode("abcd ab").ids == [VOCABULARY.index(token) for token in ("ab", "cd", "Ġab")]
    assert tokenizer.decode(tokenizer.encode("abcd ab").ids) == "abcd ab"
    assert (told.pad, told.end, told.decoder_start) == (0, 1, None)


def test_parts_are_joined_in_order(small, tmp_path):
    path, _ = small
    content = path.read_bytes()
    places = [tmp_path / f"one.gguf.part0{number}" for number in range(3)]
    for number, place in enumerate(places):
        place.write_bytes(content[number * 9999 :] if number == 2 else content[number * 9999 : (number + 1) * 9999])
    rest = [AssetConfig(address=f"path:{place}", sha256=None) for place in places[1:]]
    whole, joined = (base_folder(config, weights=True) for config in (named(path), named(places[0], parts=rest)))
    assert whole != joined
    assert (whole / "model.safetensors").read_bytes() == (joined / "model.safetensors").read_bytes()
    with pytest.raises(AssetError, match=r"damaged, or its parts are not in order: model\.\S+ is not finite"):
        base_folder(named(places[0], parts=rest[::-1]), weights=True)


def test_it_is_converted_once_and_nothing_that_is_not_whole_is_left(small, cache, monkeypatch):
    path, _ = small
    folder = base_folder(named(path), weights=True)
    assert {file.name for file in (cache / "converted").iterdir()} == {folder.name, f"{folder.name}.lock"}
    assert "whole" not in {file.name for file in folder.iterdir()}
    monkeypatch.setattr(hf_files, "_convert_gguf", lambda *_: pytest.fail("converted twice"))
    monkeypatch.setattr(converted, "_folders", {})
    assert base_folder(named(path), weights=True) == folder


def test_a_conversion_that_ends_early_leaves_nothing(small, cache, monkeypatch):
    def half(file, folder, address):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(hf_files, "_convert_gguf", half)
    with pytest.raises(KeyboardInterrupt):
        base_folder(named(small[0]), weights=True)
    assert [file.suffix for file in (cache / "converted").iterdir()] == [".lock"]


def test_what_was_damaged_in_the_cache_is_not_used(small, monkeypatch):
    folder = base_folder(named(small[0]), weights=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(converted, "_folders", {})
    with pytest.raises(AssetError, match=r"config.json: not what was written there; remove the folder"):
        base_folder(named(small[0]), weights=True)


def test_a_folder_without_its_digests_is_not_used(small, monkeypatch):
    folder = base_folder(named(small[0]), weights=True)
    (folder / converted.SEAL).unlink()
    monkeypatch.setattr(converted, "_folders", {})
    with pytest.raises(AssetError, match=r"no SHA256SUMS in it; remove the folder, and it is made again"):
        base_folder(named(small[0]), weights=True)


def _make(folder):
    with open(folder.parents[1] / "made", "a") as log:
        log.write("once\n")
    (folder / "model").write_bytes(b"weights")


def _convert(barrier, results):
    barrier.wait()
    results.put(str(converted.converted("path:x", "key", _make)))


def test_processes_that_need_it_at_once_wait_for_one(cache):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_convert, args=(barrier, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert found == {str(cache / "converted" / "key")}
    assert (cache / "converted" / "made").read_text() == "once\n"


def test_a_file_that_is_no_gguf_is_one_line(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(ConfigError, match=r"model.gguf: no GGUF file, and none of CTranslate2; it begins with b'PK"):
        base_folder(named(tmp_path / "model.gguf"), weights=True)
    (tmp_path / "model.gguf").write_bytes(b"GGUF and more")
    with pytest.raises(ConfigError, match=r"model.gguf: transformers cannot read it: "):
        base_folder(named(tmp_path / "model.gguf"), weights=True)
    assert named(tmp_path / "none.gguf").missing_files() == [f"model.address=path:{tmp_path}/none.gguf: no such file"]


def test_weights_that_the_file_lacks_are_named(tmp_path):
    write_gguf(tmp_path / "small.gguf", without=("model.layers.1.mlp.up_proj",))
    with pytest.raises(AssetError, match=r"no fitting weights for model.layers.1.mlp.up_proj.weight"):
        base_folder(named(tmp_path / "small.gguf"), weights=True)


def test_terms_are_accepted_first_and_kept_beside_the_weights(small, tmp_path, caplog):
    (tmp_path / "terms.html").write_text("be good")
    text = AssetConfig(address=f"path:{tmp_path / 'terms.html'}", sha256=None)
    terms = TermsConfig(name="Small Terms", url="https://host/terms", text=text)
    rule = (
        "model.accept_licence=false: model=hf is under the Small Terms, https://host/terms; read them, and set "
        "model.accept_licence=true if you agree"
    )
    refused = named(small[0], terms=terms)
    assert refused.missing_files() == [rule]
    with pytest.raises(ConfigError) as caught:
        base_folder(refused, weights=True)
    assert str(caught.value) == rule
    accepted = named(small[0], terms=terms, accept_licence=True)
    with caplog.at_level(logging.WARNING):
        folder = base_folder(accepted, weights=True)
        base_folder(accepted, weights=True)
    assert (folder / "TERMS.html").read_text() == "be good"
    (said,) = caplog.messages
    assert said == f"model=hf is under the Small Terms, https://host/terms; their text: {folder / 'TERMS.html'}"


def test_where_it_came_from_is_not_in_the_fingerprint(small):
    rest = [AssetConfig(address=f"path:{small[0]}", sha256=None)]
    assert named(small[0], parts=rest, accept_licence=True).hashed() == named(small[0].parent).hashed()


def test_configurations_from_before_there_were_terms_are_read(tmp_path):
    (tmp_path / "config.yaml").write_text(json.dumps({"model": {"kind": "hf", "address": "path:x"}}))
    found = read_stored(tmp_path / "config.yaml")["model"]
    assert [found[key] for key in ("address", "parts", "terms", "accept_licence")] == ["path:x", [], None, False]
