"""A variant of the user's own, as its page in docs/ shows it, from a folder that --config-dir names."""

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.config import ConfigError
from harness.config.guests import FOLDERS, add_folder
from harness.lora import import_adapter
from harness.model import build_model
from harness.trial import TrialContext
from harness.trial.adapt import count, method_of
from harness.trial.fingerprints import fingerprint_of
from harness.trial.run import run_trial

PAGE = Path(__file__).parents[1] / "docs/how-to/own_variant.md"


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Path:
    """The folder of the page; the module is imported anew."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "gates.py").write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])
    monkeypatch.setenv(FOLDERS, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "gates", raising=False)
    add_folder(str(folder))
    return folder


def test_the_variant_of_the_page_is_counted_trained_and_saved(lab, compose, tmp_path, own_cache):
    config = compose("lora.variant=gates:GATED", "lora.targets=[query]")
    assert count(config)["params"]["adapter"] == 2 * (2 * (16 + 16) + 1)
    folder = tmp_path / "trials/0000"
    folder.mkdir(parents=True)
    entry = run_trial(config, TrialContext("s", 0, "gated", folder), lambda *_: False)
    assert (entry.state, entry.dead) == ("complete", [])
    assert entry.merge.max_logit_difference < 1e-5
    assert len(entry.provenance.inputs["variant_code"]) == 64
    plain = build_model(config.model, 2).base
    import_adapter(plain, folder / "adapter")
    tensors = load_file(folder / "adapter/adapter_model.safetensors")
    assert torch.linalg.norm(tensors["base_model.model.encoder.layer.0.attention.self.query.lora_B.weight"]) > 0


def test_a_variant_that_was_changed_makes_another_trial(lab, compose, own_cache):
    config = compose("lora.variant=gates:GATED")
    before = fingerprint_of(config)
    assert fingerprint_of(config) == before
    (lab / "gates.py").write_text((lab / "gates.py").read_text() + "\n")
    assert fingerprint_of(config) != before


def test_what_is_no_variant_is_one_line(lab, compose):
    with pytest.raises(ConfigError, match=r"lora.variant=gates:start: .* is no harness.lora.variants.Variant"):
        method_of(compose("lora.variant=gates:start")).check()
