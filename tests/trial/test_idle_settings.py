"""What has no effect is refused by name, so that no experiment is another by its fingerprint alone."""

import dataclasses

import pytest

from harness.config import ConfigError
from harness.trial.idle_settings import CALIBRATION, check_idle_settings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lora.calibration=3"], "lora.calibration=3: no effect with lora.variant=lora"),
        (["lora.calibration=3", "lora.variant=pissa"], "lora.calibration=3: no effect with lora.variant=pissa"),
        (["lora.each_gate=true"], "lora.each_gate=true: no effect, model=minilm has no recurrent layer"),
        (["lora.conv_form=delta"], "lora.conv_form=delta: no effect, model=minilm has no convolution"),
        (["optimizer.decay=0.5"], "optimizer.decay=0.5: no effect with optimizer.schedule=linear"),
        (["sweep=rank_alpha_lr", "lora.calibration=3", "optimizer.decay=0.5"], "optimizer.decay=0.5: no effect"),
    ],
)
def test_a_setting_without_effect_is_refused(compose, words, said):
    with pytest.raises(ConfigError, match=said):
        check_idle_settings(compose(*words))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["lora=full"],
        ["lora.calibration=3", "lora.variant=eva"],
        ["lora.calibration=3", "lora.variant=lora_plus+lora_ga"],
        ["lora.calibration=3", "sweep=variants"],
        ["optimizer.decay=0.5", "optimizer.schedule=warmup-stable-decay"],
    ],
)
def test_one_with_effect_somewhere_is_not(compose, words):
    check_idle_settings(compose(*words))


def test_what_is_usual_is_what_the_file_says(compose):
    assert compose().lora.calibration == CALIBRATION


def test_layers_of_the_network_give_them_effect(compose_plain):
    check_idle_settings(compose_plain("task=digits", "model=resnet18", "lora.targets=[conv]", "lora.conv_form=delta"))
    speech = compose_plain("task=spoken_digits", "model=lstm_speech", "lora.targets=[lstm]")
    check_idle_settings(dataclasses.replace(speech, lora=dataclasses.replace(speech.lora, each_gate=True)))
