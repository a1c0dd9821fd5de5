"""Encoders carry the weights they name; pooling ignores padding."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.model import build_model
from harness.system import assets

IDS = torch.tensor([[2, 10, 11, 3], [2, 12, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def test_the_base_holds_exactly_the_weights_of_the_file(compose, tiny_base):
    model = build_model(compose().model, outputs=2)
    stored = load_file(tiny_base / "model.safetensors")
    own = dict(model.base.named_parameters())
    assert own.keys() == {name for name in stored if not name.startswith("pooler.")}
    assert all(torch.equal(own[name], stored[name]) for name in own)
    assert model.training
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("pooling", ["mean", "first", "pooler"])
@pytest.mark.parametrize("head", ["linear", "dense"])
def test_padding_changes_nothing(compose, pooling, head):
    model = build_model(compose(f"model.pooling={pooling}", f"model.head={head}").model, outputs=3).eval()
    together = model({"ids": IDS, "mask": MASK})
    assert together.shape == (2, 3)
    torch.testing.assert_close(together[1:], model({"ids": IDS[1:, :3], "mask": MASK[1:, :3]}))


def test_mean_pooling_is_the_mean_over_real_tokens(compose):
    model = build_model(compose().model, outputs=2).eval()
    tokens = model.base(input_ids=IDS, attention_mask=MASK).last_hidden_state
    expected = torch.stack([tokens[0].mean(0), tokens[1, :3].mean(0)])
    torch.testing.assert_close(model({"ids": IDS, "mask": MASK}), model.head(expected))


def test_shapes_alone_need_no_weights(compose):
    model = build_model(compose("model.weights.address=path:/nowhere").model, outputs=2, weights=False)
    assert {tensor.device.type for tensor in model.parameters()} == {"meta"}


def test_weights_that_do_not_fit_the_shape_are_refused(compose, tiny_base, tmp_path):
    weights = load_file(tiny_base / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((tiny_base / "config.json").read_text())
    with pytest.raises(assets.AssetError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        build_model(compose(f"model.weights.address=path:{tmp_path}").model, outputs=2)
    (tmp_path / "config.json").unlink()
    save_file(load_file(tiny_base / "model.safetensors"), tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises((assets.AssetError, RuntimeError)):
        build_model(compose(f"model.weights.address=path:{tmp_path}", "model.shape.ffn=16").model, outputs=2)
