"""Bases that hear recordings: what transformers computes of the same folder and the same samples is computed here."""

import json
import warnings

import numpy as np
import pytest
import soxr
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from harness.config import ConfigError
from harness.lora import LoraSpec, SpecError, adapt, named_updates
from harness.lora.inject import find_targets
from harness.model import build_model, model_takes, model_tokens
from harness.model.architectures import AUDIO, small_config
from harness.model.hf_audio import audio_input
from harness.model.roles import targets_of
from harness.system.assets import AssetError
from harness.task.frames import SpeechSplit
from harness.task.sound import read_sound
from tests.model.hf_inputs import named
from tests.model.small import random_network, three_steps
from tests.model.small import save_small as save_text

# WavLM gives torch two masks of unlike types.
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")

RATE = 16_000
SPEC = LoraSpec(rank=1, scale=1.0, targets=())


def sounds(*lengths):
    generator = np.random.default_rng(5)
    return [generator.normal(0.1, 0.2, length).astype(np.float32) for length in lengths]


SOUNDS = sounds(4800, 3111, 2400)


def batch_of(recordings):
    longest = max(map(len, recordings))
    samples = np.stack([np.pad(each, (0, longest - len(each))) for each in recordings])
    return {"samples": torch.from_numpy(samples), "lengths": torch.tensor([len(each) for each in recordings])}


def extractor(model_type, **keys):
    if model_type == "whisper":
        return WhisperFeatureExtractor(feature_size=8, chunk_length=1, **keys)
    return Wav2Vec2FeatureExtractor(**({"return_attention_mask": True} | keys))


def save_small(model_type, folder, **keys):
    network = random_network(AutoModelForAudioClassification, model_type, num_labels=3, **keys)
    network.save_pretrained(folder)
    extractor(model_type).save_pretrained(folder)
    return network


def theirs_of(folder, recordings=SOUNDS):
    """Transformers' own network of a folder, and what its own feature extractor makes of the recordings."""
    network = AutoModelForAudioClassification.from_pretrained(folder).eval()
    reads = AutoFeatureExtractor.from_pretrained(folder)
    more = {} if isinstance(reads, WhisperFeatureExtractor) else {"padding": True}
    return network, reads(recordings, sampling_rate=RATE, return_tensors="pt", **more)


@pytest.mark.parametrize("model_type", AUDIO)
def test_logits_equal_those_of_transformers(model_type, tmp_path):
    save_small(model_type, tmp_path)
    network, inputs = theirs_of(tmp_path)
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    with torch.no_grad():
        expected = network(**inputs).logits
        found = own(batch_of(SOUNDS))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
    assert expected.std() > 1e-3
    assert model_takes(named(tmp_path)).kinds[0] == "speech"


@pytest.mark.parametrize("model_type", AUDIO)
def test_counting_needs_config_json_alone(model_type, tmp_path):
    save_small(model_type, tmp_path)
    whole = build_model(named(tmp_path), 3)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "preprocessor_config.json").unlink()
    shapes = build_model(named(tmp_path), 3, weights=False)
    assert {name: tensor.shape for name, tensor in shapes.named_parameters()} == {
        name: tensor.shape for name, tensor in whole.named_parameters()
    }
    assert shapes.targets == whole.targets


@pytest.mark.parametrize("model_type", AUDIO)
def test_three_steps_of_lora_on_all_linear_layers_are_those_of_peft(model_type, tmp_path):
    from peft import LoraConfig, get_peft_model

    save_small(model_type, tmp_path)
    whole, inputs = theirs_of(tmp_path)
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    adapt(own.base, LoraSpec(rank=2, scale=2.0, targets=("all-linear",)), own.targets)
    inner = "encoder" if model_type == "whisper" else whole.base_model_prefix
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layers = [f"{inner}.{name}" for name, _ in named_updates(own.base)]
        config = LoraConfig(target_modules=layers, r=2, lora_alpha=4, modules_to_save=["projector", "classifier"])
        theirs = get_peft_model(whole, config).eval()
    with torch.no_grad():
        for name, update in named_updates(own.base):
            theirs.get_parameter(f"base_model.model.{inner}.{name}.lora_A.default.weight").copy_(update.lora_A)
    labels = torch.tensor([0, 2, 1])
    batch = batch_of(SOUNDS)
    count, mine = three_steps(own, lambda: own(batch), labels)
    their_count, expected = three_steps(theirs, lambda: theirs(**inputs).logits, labels)
    assert count == their_count
    torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model_type", AUDIO)
def test_all_linear_is_what_peft_finds(model_type):
    from peft import LoraConfig, get_peft_model

    network = random_network(AutoModelForAudioClassification, model_type)
    base = network.encoder if model_type == "whisper" else network.base_model
    own = {each.module for each in find_targets(base, ["all-linear"], targets_of(base), SPEC)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = get_peft_model(base, LoraConfig(target_modules="all-linear", r=1)).targeted_module_names
    never_called = {name for name in theirs if model_type == "wavlm" and ".attention." in name}
    assert own == set(theirs) - never_called


def test_attention_that_calls_no_projections_is_not_adapted(tmp_path):
    """WavLM's: PEFT puts adapters there, and they learn nothing."""
    save_small("wavlm", tmp_path)
    own = build_model(named(tmp_path), 3)
    assert not {"query", "key", "value", "output"} & own.targets.keys()
    assert {"ffn_up", "ffn_down", "projection"} <= own.targets.keys()
    with pytest.raises(SpecError, match=r"takes the weight out of q_proj and never calls it; adapt other layers"):
        find_targets(own.base, [r"encoder\.layers\.\d+\.attention\.q_proj"], own.targets, SPEC)


@pytest.mark.parametrize("model_type", ["wav2vec2", "whisper"])
def test_a_fresh_head_over_the_weights_of_other_tasks(model_type, tmp_path):
    """What a base was trained for is left out: writing texts of Whisper, letters of wav2vec2."""
    kind = WhisperForConditionalGeneration if model_type == "whisper" else Wav2Vec2ForCTC
    torch.manual_seed(1)
    network = kind(small_config(model_type))
    network.save_pretrained(tmp_path)
    own = build_model(named(tmp_path), 4)
    inner = network.model.encoder if model_type == "whisper" else network.wav2vec2
    for name, tensor in inner.state_dict().items():
        assert torch.equal(tensor, own.base.state_dict()[name]), name
    assert own(batch_of(SOUNDS)).shape == (3, 4)
    stored = load_file(tmp_path / "model.safetensors")
    del stored["model.encoder.layer_norm.weight" if model_type == "whisper" else "wav2vec2.encoder.layer_norm.weight"]
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(AssetError, match=r"no weights for .*layer_norm.weight"):
        build_model(named(tmp_path), 4)


def test_raw_samples_without_masks_are_read_one_by_one_as_transformers_does(tmp_path):
    save_small("hubert", tmp_path)
    extractor("hubert", return_attention_mask=False).save_pretrained(tmp_path)
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    for sound in SOUNDS:
        network, inputs = theirs_of(tmp_path, [sound])
        assert "attention_mask" not in inputs
        with torch.no_grad():
            torch.testing.assert_close(own(batch_of([sound])), network(**inputs).logits, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("model_type", ["wav2vec2", "whisper", "hubert"])
def test_what_stands_beside_a_recording_changes_nothing(model_type, tmp_path):
    """Nor to HuBERT without a mask, of whose recordings two are of one length."""
    save_small(model_type, tmp_path)
    if model_type == "hubert":
        extractor(model_type, return_attention_mask=False).save_pretrained(tmp_path)
    own = build_model(named(tmp_path), 3).eval()
    with torch.no_grad():
        heard = [*SOUNDS, SOUNDS[0][::-1].copy()]
        together = own(batch_of(heard))
        alone = torch.cat([own(batch_of([sound])) for sound in heard])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=2e-5)


def test_training_leaves_nothing_out_by_chance(tmp_path):
    """Recordings of words are shorter than what SpecAugment masks."""
    save_small("wav2vec2", tmp_path)
    own = build_model(named(tmp_path, dropout=0.0), 3).train()
    with torch.no_grad():
        first, again = (own(batch_of(sounds(1600))) for _ in range(2))
    assert torch.equal(first, again)
    assert own.otherwise == {"spec_augment": "off; the base's own configuration has mask_time_prob 0.05"}


def test_the_window_is_cut_with_its_table_of_positions(tmp_path):
    whole = random_network(AutoModelForAudioClassification, "whisper", num_labels=3, max_source_positions=150)
    whole.save_pretrained(tmp_path)
    WhisperFeatureExtractor(feature_size=8, chunk_length=3).save_pretrained(tmp_path)
    config = named(tmp_path, head="stored", window_s=1)
    own = build_model(config, 3).eval()
    assert own.base.embed_positions.weight.shape == (50, 32)
    assert own.otherwise == {"window": "1 s of 3 s"}
    assert torch.equal(own.base.embed_positions.weight, whole.encoder.embed_positions.weight[:50])
    with torch.no_grad():
        cut = random_network(AutoModelForAudioClassification, "whisper", num_labels=3)
        state = whole.state_dict()
        state["encoder.embed_positions.weight"] = state["encoder.embed_positions.weight"][:50]
        cut.load_state_dict(state)
        inputs = WhisperFeatureExtractor(feature_size=8, chunk_length=1)(
            sounds(4800, 20_000), sampling_rate=RATE, return_tensors="pt"
        )
        torch.testing.assert_close(own(batch_of(sounds(4800, 20_000))), cut(**inputs).logits, rtol=1e-4, atol=2e-5)
    assert (model_tokens(config).sample_rate, model_tokens(config).most_samples) == (RATE, RATE)
    shapes = build_model(config, 3, weights=False)
    assert [tensor.shape for tensor in shapes.parameters()] == [tensor.shape for tensor in own.parameters()]
    own.save_whole(None, tmp_path / "saved")
    (tmp_path / "saved" / "preprocessor_config.json").write_text(json.dumps(own.transformers_form().reads))
    again, inputs = theirs_of(tmp_path / "saved", sounds(4800, 20_000))
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, own(batch_of(sounds(4800, 20_000))), rtol=1e-4, atol=2e-5)
    with pytest.raises(ConfigError, match=r"model.window_s=4: the base hears windows of 3 seconds; at most so many"):
        build_model(named(tmp_path, window_s=4), 3)
    assert config.hashed()["window_s"] == 1
    assert "window_s" not in named(tmp_path).hashed()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"feature_extractor_type": "ASTFeatureExtractor"},
            "feature_extractor_type is ASTFeatureExtractor; a wav2vec2 re",
        ),
        ({"dither": 0.1}, "recordings are not read so here"),
    ],
)
def test_recordings_that_are_read_otherwise_are_refused(said, message, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(ConfigError, match=message):
        audio_input(tmp_path, small_config("wav2vec2"), None)


def test_settings_without_effect_are_refused(tmp_path):
    save_small("whisper", tmp_path / "hears")
    with pytest.raises(ConfigError, match=r"model.pooling=mean: a whisper pools what it hears in its own way"):
        build_model(named(tmp_path / "hears", pooling="mean"), 3)
    with pytest.raises(ConfigError, match=r"of recordings a base has one head, for one task"):
        build_model(named(tmp_path / "hears"), {"one": 2, "two": 3})
    save_text(AutoModel, "bert", tmp_path / "reads")
    with pytest.raises(ConfigError, match=r"model.window_s=1: bert hears no recordings; set it to null"):
        build_model(named(tmp_path / "reads", window_s=1), 3)


def test_layers_weighted_by_a_stored_head_are_refused(tmp_path):
    save_small("wav2vec2", tmp_path, use_weighted_layer_sum=True)
    with pytest.raises(ConfigError, match=r"weights all layers; model.head=fresh"):
        build_model(named(tmp_path, head="stored"), 3)


def test_recordings_are_resampled_once_and_cut_where_the_window_ends(own_cache):
    noise = np.random.default_rng(0).integers(-9000, 9000, 8000).astype(np.int16)
    split = SpeechSplit((noise, noise[:4000]), (1, 0), ("ann", "bo"), 8000)
    read = read_sound(split, RATE, None)
    assert (read.lengths.tolist(), read.truncated()) == ([100, 50], {})
    batch = read.batch([1, 0])
    assert batch["samples"].shape == (2, RATE)
    assert batch["samples"][0, 8000:].abs().max() == 0
    assert (batch["lengths"].tolist(), batch["labels"].tolist()) == ([8000, 16000], [0, 1])
    expected = soxr.resample(noise.astype(np.float32) / 2**15, 8000, RATE)
    np.testing.assert_array_equal(batch["samples"][1], expected)
    cut = read_sound(split, RATE, 12_000)
    assert (cut.truncated(), cut.lengths.tolist()) == ({"recording over 0.75 s": 1}, [75, 50])
    assert cut.batch([0])["samples"].shape == (1, 12_000)


def test_silence_in_half_precision_is_finite(tmp_path):
    save_small("whisper", tmp_path)
    network = build_model(named(tmp_path, head="stored"), 3).eval()
    inputs = batch_of([np.zeros(4800, np.float32), SOUNDS[0]])
    with torch.no_grad():
        whole = network(inputs)
        with torch.autocast("cpu", dtype=torch.float16):
            half = network(inputs)
    assert half.isfinite().all()
    torch.testing.assert_close(half.float(), whole, rtol=0.1, atol=0.05)
