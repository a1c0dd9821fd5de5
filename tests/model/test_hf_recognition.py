"""Bases that write what they hear: the loss and the texts are those of transformers' own network of the same folder."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    GenerationConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from harness.config import ConfigError, Transcribed
from harness.model import build_model, model_takes, model_tokens
from harness.model.architectures import small_config
from harness.task.sound import SoundSplit
from harness.task.transcript_inputs import encode_transcripts
from harness.training import mean_loss
from tests.model.hf_inputs import named
from tests.model.small import write_tokenizer
from tests.model.test_hf_audio import RATE, SOUNDS, sounds

TEXTS = ("w10 w11 w12", "w40", "w7 w8 w9 w10 w11")
LANGUAGES = {"lang_to_id": {"<|en|>": 90, "<|de|>": 91}, "task_to_id": {"transcribe": 92, "translate": 93}}
SAID = {"no_timestamps_token_id": 98, "is_multilingual": True, **LANGUAGES}


def save_whisper(folder, **said):
    """A small Whisper that hears something, its tokens of languages and tasks at the end of the vocabulary.

    Of what it would write most, some is never written.
    """
    made = small_config("whisper")
    made.decoder_start_token_id = 95
    torch.manual_seed(3)
    network = WhisperForConditionalGeneration(made).eval()
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.mul_(3)
        for layer in network.model.decoder.layers:
            layer.encoder_attn.out_proj.weight.mul_(20)
            layer.encoder_attn.q_proj.weight.mul_(20)
        network.model.encoder.conv1.weight.mul_(20)
    marks = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 95}
    network.generation_config = GenerationConfig(
        **marks, suppress_tokens=[54], begin_suppress_tokens=[3, 79], **(SAID | said)
    )
    network.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=made.num_mel_bins, chunk_length=1).save_pretrained(folder)
    write_tokenizer(folder)
    return network


def inputs_of(config, texts=TEXTS, recordings=SOUNDS, max_target=8):
    tokens = model_tokens(config, Transcribed("w 0123456789"))
    starts = np.cumsum([0, *map(len, recordings)])
    sound = SoundSplit(np.concatenate(recordings), starts, np.zeros(len(texts), int), RATE, tokens.most_samples)
    return encode_transcripts(sound, texts, tokens, max_target, "task=transcripts", tuple(map(str, range(len(texts)))))


def spectra(folder, recordings=SOUNDS):
    reads = WhisperFeatureExtractor.from_pretrained(folder)
    return reads(recordings, sampling_rate=RATE, return_tensors="pt").input_features


def test_whisper_has_the_loss_of_transformers(tmp_path):
    theirs = save_whisper(tmp_path)
    config = named(tmp_path, language="en")
    own, inputs = build_model(config, 0).eval(), inputs_of(config)
    assert model_takes(config).kinds == ("speech", "recognition")
    batch = inputs.batch(range(3))
    # By hand: <start> <en> <transcribe> <no times>, of which the last three are told and not scored.
    labels = torch.full((3, 9), -100)
    for row, ids in enumerate([[10, 11, 12], [40], [7, 8, 9, 10, 11]]):
        labels[row, 3 : 3 + len(ids) + 1] = torch.tensor([*(number + 4 for number in ids), 3])
    decoder = torch.zeros(3, 9, dtype=torch.long)
    decoder[:, :4] = torch.tensor([95, 90, 92, 98])
    decoder[:, 4:] = torch.where(labels[:, 3:-1] == -100, 0, labels[:, 3:-1]).masked_fill(labels[:, 3:-1] == 3, 0)
    assert torch.equal(batch["labels"], labels)
    with torch.no_grad():
        expected = theirs(input_features=spectra(tmp_path), decoder_input_ids=decoder, labels=labels).loss
        torch.testing.assert_close(mean_loss(own, batch), expected, rtol=1e-4, atol=1e-5)
        rows = [mean_loss(own, inputs.batch([row])) * (inputs.batch([row])["labels"] >= 0).sum() for row in range(3)]
        torch.testing.assert_close(sum(rows) / (labels >= 0).sum(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "said"),
    [({"language": "english"}, {}), ({"language": "de", "translate": True}, {}), ({}, {"language": "de"})],
)
def test_whisper_writes_what_transformers_writes(keys, said, tmp_path):
    theirs = save_whisper(tmp_path, **said)
    config = named(tmp_path, **keys)
    own, inputs = build_model(config, 0).eval(), inputs_of(config)
    language = keys.get("language") or said["language"]
    asked = {"language": language, "task": "translate" if keys.get("translate") else "transcribe"}
    expected = theirs.generate(spectra(tmp_path), **asked, max_new_tokens=8, do_sample=False)
    written = own.generate(inputs.batch(range(3)), 8)
    assert torch.equal(written, expected)
    assert len({tuple(row) for row in expected.tolist()}) > 1
    alone = torch.cat([own.generate(inputs.batch([row]), 8) for row in range(3)])
    assert torch.equal(alone, written)


def test_the_window_is_cut_for_writing_too(tmp_path):
    save_whisper(tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    assert facts["max_source_positions"] == 50
    with pytest.raises(ConfigError, match=r"model.window_s=2: the base hears windows of 1 seconds"):
        build_model(named(tmp_path, language="en", window_s=2), 0)
    with pytest.raises(ConfigError, match=r"the model hears 1 s of each, and 1 are longer \(1\); task.longest_s with"):
        inputs_of(named(tmp_path, language="en"), recordings=sounds(4800, RATE + 1, 2400))


@pytest.mark.parametrize(
    ("keys", "said", "message"),
    [
        ({}, {}, r"model\.language: missing; the base writes 2 languages; one of them, as en"),
        ({"language": "fr"}, {}, r"model\.language=fr: the base was not trained for it; known: de, en"),
        (
            {"language": "en"},
            {"is_multilingual": False, "lang_to_id": None},
            r"model\.language=en: the base knows one language alone",
        ),
    ],
)
def test_languages_that_the_base_does_not_know_are_one_line(keys, said, message, tmp_path):
    save_whisper(tmp_path, **said)
    with pytest.raises(ConfigError, match=message) as error:
        model_tokens(named(tmp_path, **keys), Transcribed())
    assert len(str(error.value).splitlines()) == 1


def test_a_base_of_one_language_is_told_none(tmp_path):
    save_whisper(tmp_path, is_multilingual=False, lang_to_id=None)
    assert model_tokens(named(tmp_path), Transcribed()).prompt == (98,)


MARKS = {90: "<|en|>", 91: "<|de|>", 92: "<|transcribe|>", 93: "<|translate|>", 98: "<|notimestamps|>", 99: "<|0.00|>"}
UNSAID = dict.fromkeys(("lang_to_id", "task_to_id", "no_timestamps_token_id"))


def save_marks(folder):
    """The special tokens of `save_whisper` in its tokenizer, in place of words."""
    tree = json.loads((folder / "tokenizer.json").read_text())
    words = {number: word for word, number in tree["model"]["vocab"].items()} | MARKS
    tree["model"]["vocab"] = {word: number for number, word in words.items()}
    (folder / "tokenizer.json").write_text(json.dumps(tree))


@pytest.mark.parametrize("many", [True, None])
def test_what_generation_config_does_not_say_is_read_of_the_tokens(many, tmp_path):
    theirs = save_whisper(tmp_path, **UNSAID, is_multilingual=many)
    save_marks(tmp_path)
    assert model_tokens(named(tmp_path, language="de"), Transcribed()).prompt == (91, 92, 98)
    assert model_tokens(named(tmp_path, language="english", translate=True), Transcribed()).prompt == (90, 93, 98)
    with pytest.raises(ConfigError, match=r"model\.language: missing; the base writes 2 languages"):
        model_tokens(named(tmp_path), Transcribed())
    with pytest.raises(ConfigError, match=r"model\.language=fr: .*; known: de, en"):
        model_tokens(named(tmp_path, language="fr"), Transcribed())
    said = build_model(named(tmp_path, language="de"), 0).base.generation_config
    assert (said.lang_to_id, said.task_to_id) == tuple(LANGUAGES.values())
    theirs.generation_config = said  # which transformers refuses to write by without these
    assert theirs.generate(spectra(tmp_path), max_new_tokens=3).shape[0] == 3


def test_tokens_of_languages_are_nothing_to_a_base_of_one(tmp_path):
    save_whisper(tmp_path, **UNSAID, is_multilingual=False)
    save_marks(tmp_path)
    assert model_tokens(named(tmp_path), Transcribed()).prompt == (98,)


def test_of_classes_nothing_is_written_in_a_language(tmp_path):
    save_whisper(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.language=en .* of Whisper that writes transcripts"):
        build_model(named(tmp_path, language="en"), 3)


def test_more_than_the_decoder_has_places_for_is_refused(tmp_path):
    save_whisper(tmp_path)
    with pytest.raises(ConfigError, match=r"task\.max_target=1000: the model writes \d+ tokens at most"):
        inputs_of(named(tmp_path, language="en"), max_target=1000)
