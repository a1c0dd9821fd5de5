import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from harness.lora import LoraSpec, adapt
from harness.model import build_model
from harness.system.assets import AssetError
from harness.task.mel import mel_frames

torch.manual_seed(1)
FRAMES = torch.rand(3, 9, 40)
LENGTHS = torch.tensor([9, 4, 6])
BATCH = {"frames": FRAMES, "lengths": LENGTHS}


@pytest.fixture
def model(compose_speech):
    def build(pooling="mean", **changes):
        words = [f"model.{name}={value}" for name, value in changes.items()]
        return build_model(compose_speech(f"model.pooling={pooling}", *words).model, outputs=3).eval()

    return build


def packed(lstm):
    """The outputs at every frame of each utterance by itself, and its final hidden state, by torch's packing."""
    sequence = pack_padded_sequence(FRAMES, LENGTHS, batch_first=True, enforce_sorted=False)
    _, (hidden, _) = lstm(sequence)
    return [lstm(FRAMES[row : row + 1, :length])[0][0] for row, length in enumerate(LENGTHS)], hidden[-1]


def test_the_base_holds_exactly_the_weights_of_the_file(model, tiny_voice_encoder):
    state = torch.load(tiny_voice_encoder, weights_only=True)["model_state"]
    base = model("embedding").base.state_dict()
    assert base.keys() == state.keys() - {"similarity_bias"}
    assert all(torch.equal(base[name], state[name]) for name in base)
    assert model("mean").base.state_dict().keys() == base.keys() - {"linear.weight", "linear.bias"}


def test_pooling_is_what_it_is_called(model):
    outputs, final = packed(model().base.lstm)
    vectors = {"mean": torch.stack([rows.mean(0) for rows in outputs]), "last": final}
    vectors["embedding"] = torch.relu(model("embedding").base.linear(final))
    for pooling, vector in vectors.items():
        built = model(pooling)
        torch.testing.assert_close(built(BATCH), built.head(vector))


@pytest.mark.parametrize("pooling", ["mean", "last", "embedding"])
def test_what_pads_an_utterance_changes_neither_output_nor_gradient(model, pooling):
    built = model(pooling)
    rubbish = FRAMES.clone()
    for row, length in enumerate(LENGTHS):
        rubbish[row, length:] = 1e3
    torch.testing.assert_close(built(BATCH), built({"frames": rubbish, "lengths": LENGTHS}))
    alone = built({"frames": FRAMES[1:2, :4], "lengths": LENGTHS[1:2]})
    torch.testing.assert_close(built(BATCH)[1:2], alone)

    def gradient(logits):
        return torch.autograd.grad(logits.square().sum(), list(built.base.parameters()))

    frames = torch.cat([FRAMES[1:2, :4], torch.full((1, 5, 40), 1e3)], dim=1)
    padded = built({"frames": frames, "lengths": LENGTHS[1:2]})
    torch.testing.assert_close(gradient(padded), gradient(alone))


def test_an_adapted_encoder_starts_as_it_was_and_learns_in_every_layer(model):
    built = model("embedding")
    before = built(BATCH)
    ranks = adapt(built.base, LoraSpec(2, 1.0, ("lstm", "linear")), built.targets)
    assert ranks == {f"lstm.weight_{part}_l{layer}": 2 for layer in (0, 1) for part in ("ih", "hh")} | {"linear": 2}
    torch.testing.assert_close(built(BATCH), before)
    built(BATCH).square().sum().backward()
    raised = [name for name, tensor in built.base.named_parameters() if tensor.requires_grad]
    assert all(".lora_" in f".{name}" for name in raised)
    ups = {name: tensor for name, tensor in built.base.named_parameters() if "lora_B" in name}
    assert len(ups) == 5  # input and hidden weights of two layers, and the projection
    assert all(tensor.grad.any() for tensor in ups.values())


def test_the_projection_is_a_target_only_where_it_is_used(model):
    assert set(model("embedding").targets) == {"lstm", "linear"}
    assert set(model("last").targets) == {"lstm"}


def test_shapes_alone_need_no_weights(compose_plain):
    built = build_model(compose_plain("task=spoken_digits", "model=lstm_speech").model, outputs=10, weights=False)
    assert all(tensor.is_meta for tensor in built.parameters())
    # 4·256 rows of inputs, of hidden state and two biases: 40 inputs in the first layer, 256 in the others.
    assert sum(tensor.numel() for tensor in built.base.parameters()) == 1024 * (40 + 256 + 2) + 2 * 1024 * 514
    assert sum(tensor.numel() for tensor in built.head.parameters()) == 2570


def test_sound_gets_the_embedding_that_resemblyzer_gives_it(compose_plain):
    config = compose_plain("task=spoken_digits", "model=lstm_speech", "model.pooling=embedding").model
    time = np.arange(4000) / 8000
    chirp = np.round(300 * np.sin(2 * np.pi * (200 * time + 1200 * time**2))).astype(np.int16)
    frames = torch.from_numpy(mel_frames(chirp, 8000))[None]
    base = build_model(config, outputs=10).base
    with torch.no_grad():
        embedding = base.embed(base(frames)[:, -1])[0]
    embedding /= embedding.norm()
    # Resemblyzer 0.1.4 with librosa 0.11.0: resample, normalize_volume, wav_to_mel_spectrogram, VoiceEncoder.
    assert frames.shape == (1, 51, 40)
    assert int((embedding > 0).sum()) == 137
    assert embedding.topk(6).indices.tolist() == [20, 24, 247, 248, 58, 133]
    expected = [0.27101892, 0.2289155, 0.21280222, 0.18960086, 0.17513762, 0.17308618]
    assert embedding.topk(6).values.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("changes", [{"hidden": 16}, {"layers": 1}, {"layers": 3}])
def test_weights_of_another_shape_are_refused(model, changes):
    with pytest.raises(AssetError, match=r"no fitting weights for lstm\."):
        model(**changes)


class Malicious:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    "content", [b"", b"not weights", pickle.dumps({"model_state": Malicious()}, protocol=2), "other"], ids=range(4)
)
def test_a_file_of_something_else_is_refused_and_never_run(model, tmp_path, content, capsys):
    if content == "other":
        buffer = io.BytesIO()
        torch.save(nn.Linear(2, 2).state_dict(), buffer)
        content = buffer.getvalue()
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(AssetError, match="not the weights of a voice encoder"):
        model(**{"weights.address": f"path:{path}"})
    assert "run" not in capsys.readouterr().out
