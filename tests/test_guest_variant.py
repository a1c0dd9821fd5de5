"""A variant of the user's own, as its page in docs/ shows it, from a folder that --config-dir names."""

import dataclasses
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.cluster.study import check_arms
from harness.config import Config, ConfigError, apply_overrides, check, to_dict
from harness.config.guests import FOLDERS, add_folder
from harness.lora import import_adapter, updates_of
from harness.model import build_model
from harness.record import Adapter
from harness.trial import TrialContext
from harness.trial.adapt import count, method_of, prepare
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
    for module in ("gates", "shrinking", "my_dylora_notes"):
        monkeypatch.delitem(sys.modules, module, raising=False)
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
    with pytest.raises(ConfigError, match=r"lora.variant=gates:initialise: .* is no harness.lora.variants.Variant"):
        method_of(compose("lora.variant=gates:initialise")).check()


def test_a_setting_of_its_own_reaches_the_update_the_record_and_the_fingerprint(lab, compose, tmp_path, own_cache):
    plain = compose("lora.variant=gates:GATED")
    config = compose("lora.variant=gates:GATED", "lora.settings={gate: 3}")
    assert fingerprint_of(config) != fingerprint_of(plain)
    method, model = method_of(config), build_model(config.model, 2)
    prepare(model, config, lambda _: None, method)
    assert {float(update.lora_g.detach()) for update in updates_of(model.base)} == {3.0}
    assert method.record(Adapter()).settings["gate"] == 3.0
    assert "settings" not in method_of(plain).record(Adapter()).settings


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("gate: 0", "lora: gate 0: a number, above 0"),
        ("gate: wide", "lora: gate wide: a number, above 0"),
        ("gaet: 1.0", "lora: settings.gaet: variant gates:GATED has no such setting; did you mean gate?"),
        ("initial_rank: 9", "lora.settings.initial_rank: that is lora.initial_rank"),
    ],
)
def test_a_setting_that_is_none_or_breaks_its_rule_is_named(lab, compose, given, line):
    with pytest.raises(ConfigError) as caught:
        count(compose("lora.variant=gates:GATED", f"lora.settings={{{given}}}"))
    assert str(caught.value) == line


def test_a_study_searches_a_setting_of_a_guest_and_names_an_arm_that_breaks_its_rule(lab, compose):
    config = compose("run=study", "sweep=rank_alpha_lr", "lora.variant=gates:GATED", "lora.settings={gate: 1.0}")

    def searching(*values: float) -> Config:
        sweep = dataclasses.replace(config.sweep, scientific={"lora.settings.gate": list(values)}, trials=1)
        return check(to_dict(dataclasses.replace(config, sweep=sweep)))

    check_arms(searching(0.5, 2.0))
    with pytest.raises(ConfigError, match=r"lora: gate -1.0: a number, above 0"):
        check_arms(searching(0.5, -1.0))


def test_a_published_variant_has_no_setting_of_a_guest(compose):
    with pytest.raises(ConfigError, match=r"settings.gate: variant dora has no such setting$"):
        count(compose("lora.variant=dora", "lora.settings={gate: 1.0}"))


MOVING = """
from harness.lora.variants import VARIANTS, Variant

adalora = VARIANTS["adalora"]
SHRINKING = Variant("Shrinking", "this test", form=adalora.form, schedule=adalora.schedule, whole_weights=True)
"""


def test_what_a_guest_can_do_is_asked_of_it_and_not_of_its_name(lab, several, tree):
    (lab / "my_dylora_notes.py").write_text((lab / "gates.py").read_text())
    method_of(check(several("lora.variant=my_dylora_notes:GATED"))).check()
    (lab / "shrinking.py").write_text(MOVING)
    with pytest.raises(ConfigError, match=r"lora.variant=shrinking:SHRINKING: its ranks move within one training"):
        method_of(check(several("lora.variant=shrinking:SHRINKING"))).check()
    spread = {"trainer.strategy": "fsdp", "trainer.devices": 2}
    with pytest.raises(ConfigError, match="lora.variant=shrinking:SHRINKING needs whole weights"):
        method_of(check(apply_overrides(tree("lora.variant=shrinking:SHRINKING"), spread))).check()
    method_of(check(apply_overrides(tree("lora.variant=my_dylora_notes:GATED"), spread))).check()
