"""Bases that say a character at each frame: loss and texts are those of transformers' own network and tokenizer."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCTC, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

from harness.config import ConfigError, Transcribed
from harness.model import build_model, model_takes, model_tokens
from harness.task.metrics import TokenMetrics
from harness.task.sound import SoundSplit
from harness.task.transcript_inputs import encode_transcripts
from harness.training import mean_loss
from tests.model.hf_inputs import named
from tests.model.small import random_network
from tests.model.test_hf_audio import RATE, sounds

# WavLM gives torch two masks of unlike types.
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")

VOCABULARY = {
    "<pad>": 0,
    "<s>": 1,
    "</s>": 2,
    "<unk>": 3,
    "|": 4,
    **{letter: 5 + n for n, letter in enumerate("ABCDE'")},
}
TEXTS = ("ABBA CAB", "DEED", "A BEAD", "CAB")
SOUNDS = sounds(16_000, 9_000, 12_345, 4_800)


def save_ctc(folder, model_type="wav2vec2", *, masked=True, vocabulary=VOCABULARY):
    network = random_network(AutoModelForCTC, model_type, vocab_size=len(vocabulary))
    with torch.no_grad():
        network.lm_head.weight.mul_(40)
        network.lm_head.bias[1:4] = -1e3  # which transformers would leave out before it joins what is alike
    network.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=masked).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(folder / "vocab.json").save_pretrained(folder)
    return network.eval()


def inputs_of(config, texts=TEXTS, recordings=SOUNDS, characters="", normalise="none"):
    tokens = model_tokens(config, Transcribed(characters))
    starts = np.cumsum([0, *map(len, recordings)])
    sound = SoundSplit(np.concatenate(recordings), starts, np.zeros(len(texts), int), RATE, tokens.most_samples)
    names = tuple(map(str, range(len(texts))))
    return encode_transcripts(sound, texts, tokens, 99, "task=transcripts", names, normalise)


def theirs_of(folder, network, recordings=SOUNDS, texts=TEXTS):
    reads, writes = Wav2Vec2FeatureExtractor.from_pretrained(folder), Wav2Vec2CTCTokenizer.from_pretrained(folder)
    heard = reads(recordings, sampling_rate=RATE, return_tensors="pt", padding=True)
    labels = writes(list(texts), return_tensors="pt", padding=True).input_ids
    labels = labels.masked_fill(labels == writes.pad_token_id, -100)
    with torch.no_grad():
        found = network(**heard, labels=labels)
    return found, writes.batch_decode(found.logits.argmax(-1)), labels


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "wavlm"])
def test_the_loss_and_the_texts_are_those_of_transformers(model_type, tmp_path):
    theirs = save_ctc(tmp_path, model_type)
    theirs.config.ctc_loss_reduction = "sum"
    config = named(tmp_path, head="stored")
    own, inputs = build_model(config, Transcribed()).eval(), inputs_of(config)
    assert model_takes(config).kinds == ("speech", "recognition")
    batch = inputs.batch(range(4))
    expected, said, labels = theirs_of(tmp_path, theirs)
    assert torch.equal(batch["labels"], labels)
    with torch.no_grad():
        torch.testing.assert_close(mean_loss(own, batch), expected.loss / (labels >= 0).sum(), rtol=1e-4, atol=1e-5)
        written = inputs.texts(own.generate(batch, 99))
    # transformers decodes the frames of padding, too, which are none of a recording's own.
    alone = [theirs_of(tmp_path, theirs, [sound], [text])[1][0] for sound, text in zip(SOUNDS, TEXTS, strict=True)]
    assert written == alone
    assert written[0] == said[0] != ""


@pytest.mark.parametrize("masked", [True, False])
def test_rows_of_a_batch_have_the_loss_that_they_have_alone(masked, tmp_path):
    theirs = save_ctc(tmp_path, masked=masked)
    theirs.config.ctc_loss_reduction = "sum"
    config = named(tmp_path, head="stored")
    own, inputs = build_model(config, Transcribed()).eval(), inputs_of(config)
    metrics = TokenMetrics()
    alone = []
    for row, (sound, text) in enumerate(zip(SOUNDS, TEXTS, strict=True)):
        with torch.no_grad():
            one = inputs.batch([row])
            alone.append(metrics.update(own(one), one)[0])
            expected = theirs_of(tmp_path, theirs, [sound], [text])[0].loss
        torch.testing.assert_close(alone[-1].prod().float(), expected, rtol=1e-4, atol=1e-4)
    metrics.compute_and_reset()
    batch = inputs.batch(range(4))
    with torch.no_grad():
        torch.testing.assert_close(metrics.update(own(batch), batch), torch.stack(alone), rtol=1e-4, atol=1e-4)
        total = sum(row.prod() for row in alone) / sum(row[1] for row in alone)
        assert metrics.compute_and_reset()["loss"] == pytest.approx(float(total), rel=1e-5)
        said = [theirs_of(tmp_path, theirs, [sound], [text])[1][0] for sound, text in zip(SOUNDS, TEXTS, strict=True)]
        assert inputs.texts(own.generate(batch, 99)) == said
        together = own.train()(batch)
    if not masked:  # in training its norms hear the zeros behind a recording, as when it is fine-tuned by transformers
        assert not torch.allclose(metrics.update(together, batch)[3], alone[3], rtol=1e-3)


def test_a_fresh_head_is_of_the_characters_of_training(tmp_path):
    theirs = save_ctc(tmp_path)
    config, characters = named(tmp_path), "abc dé|"
    own = build_model(config, Transcribed(characters)).eval()
    inputs = inputs_of(config, ("abé d", "cab", "Cz", "d"), characters=characters)
    assert own.head.lm_head.out_features == 8
    assert [row.tolist() for row in inputs.targets] == [[3, 4, 7, 2, 6], [5, 3, 4], [5, 1], [6]]
    assert inputs.texts(torch.tensor([[3, 4, 7, 2, 6, 0, 0]])) == ["abé d"]
    for name, tensor in theirs.wav2vec2.state_dict().items():
        assert torch.equal(tensor, own.base.state_dict()[name]), name
    shapes = build_model(config, Transcribed(characters), weights=False)
    assert [tensor.shape for tensor in shapes.parameters()] == [tensor.shape for tensor in own.parameters()]
    assert mean_loss(own, inputs.batch(range(4))).isfinite()


def test_letters_are_written_in_the_case_of_the_vocabulary(tmp_path):
    save_ctc(tmp_path)
    config = named(tmp_path, head="stored")
    assert [row.tolist() for row in inputs_of(config, ("abba cab", "Deed", "ea", "a  b")).targets] == [
        [5, 6, 6, 5, 4, 7, 5, 6],
        [8, 9, 9, 8],
        [9, 5],
        [5, 4, 6],
    ]


def test_letters_that_the_vocabulary_lacks_are_named(tmp_path):
    save_ctc(tmp_path)
    config = named(tmp_path, head="stored")
    for normalise in ("none", "plain"):
        with pytest.raises(ConfigError) as error:
            inputs_of(config, ("abba", "déz", "a 7", "cab"), normalise=normalise)
        message = "lacks '7', 'z', 'é' of 2 transcripts (1, 2); model.head=fresh learns"
        assert message in str(error.value)
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ConfigError, match=r"lacks '!' of 1 transcripts \(0\); .*; task.normalise=plain leaves punct"):
        inputs_of(config, ("abba!", *TEXTS[1:]))


def test_punctuation_that_is_not_compared_is_left_out_and_counted(tmp_path):
    save_ctc(tmp_path)
    config = named(tmp_path, head="stored")
    inputs = inputs_of(config, ("A-bba, Cab!", "d’ed", "a bead", "“cab”"), normalise="plain")
    said = ("A bba cab", "d'ed", "a bead", "cab")
    assert [row.tolist() for row in inputs.targets] == [row.tolist() for row in inputs_of(config, said).targets]
    assert inputs.truncated() == {"punctuation left out": 3}
    fresh = inputs_of(named(tmp_path), ("ab!", "az", "b", "a"), characters="ab!")
    assert fresh.truncated() == {"unknown characters": 1}


def test_transcripts_that_frames_are_too_few_for_are_named(tmp_path):
    save_ctc(tmp_path)
    config = named(tmp_path, head="stored")
    recordings = [*SOUNDS[:3], SOUNDS[3][:420]]
    network = AutoModelForCTC.from_pretrained(tmp_path)
    there = int(network._get_feat_extract_output_lengths(torch.tensor(420)))
    longest = "ABCDE" * there
    assert len(inputs_of(config, (*TEXTS[:3], longest[:there]), recordings)) == 4
    for text, needed in ((longest[: there + 1], there + 1), (longest[: there - 1] + longest[there - 2], there + 1)):
        message = rf"1 recordings are too short for their transcripts \(3: {there} frames, {needed} needed\)"
        with pytest.raises(ConfigError, match=message) as error:
            inputs_of(config, (*TEXTS[:3], text), recordings)
        assert len(str(error.value).splitlines()) == 1


def test_settings_without_effect_are_refused(tmp_path):
    save_ctc(tmp_path)
    wrong = {
        r"model\.language=en .*: of Whisper": {"language": "en"},
        r"model\.beams=4: of bases with a decoder; a wav2vec2 has none; set it to 1": {"beams": 4},
        r"model\.pooling=mean: of what is heard nothing is pooled": {"pooling": "mean"},
    }
    for message, keys in wrong.items():
        with pytest.raises(ConfigError, match=message):
            build_model(named(tmp_path, **keys), Transcribed("ab"))
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(ConfigError, match=r"no vocab.json in it, which its head needs; model\.head=fresh"):
        model_tokens(named(tmp_path, head="stored"), Transcribed("ab"))
