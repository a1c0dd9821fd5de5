"""A task's configuration, composed as a command composes it."""

import functools

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.config import check, composition

_MODELS = {
    "audio_folder": "lstm_speech",
    "audio_table": "lstm_speech",
    "chat": "gpt2",
    "choice": "gpt2",
    "image_folder": "efficientnet_lite0",
    "image_table": "efficientnet_lite0",
    "seq2seq": "t5_small",
    "spoken_digits": "lstm_speech",
    "transcripts": "whisper_base",
}
_TARGETS = {"efficientnet_lite0": "conv", "lstm_speech": "lstm"}
_OBJECTIVES = {"chat": "loss", "extractive_qa": "f1", "seq2seq": "loss", "transcripts": "wer"}


@pytest.fixture(scope="module")
def make_task():
    @functools.cache  # a configuration is frozen, and composing it takes longer than reading most of these files
    def make(*words):
        name = words[0].partition("=")[2]
        model = _MODELS.get(name)
        more = [f"model={model}"] if model else []
        more += [f"lora.targets=[{_TARGETS[model]}]"] if model in _TARGETS else []
        more += [f"trainer.objective={_OBJECTIVES[name]}"] if name in _OBJECTIVES else []
        with initialize_config_dir(str(composition.CONF), version_base="1.3"):
            tree = OmegaConf.to_container(compose("config", overrides=[*words, *more]), resolve=True)
        tree.pop("hydra", None)
        return check(tree).task

    return make
