"""Bases of transformers and timm spread over two processes (FSDP2) train as bases that are whole on each."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from harness import record
from harness.config import apply_overrides, to_dict
from tests.model.small import save_small
from tests.model.test_hf_ctc import save_ctc
from tests.model.test_hf_recognition import save_whisper
from tests.tiny import ON_GPU
from tests.trial.test_ddp_followers import SCRIPT, same_weights, start
from tests.trial.test_hf_trial import SHORT, based_on, pairs, reviews  # noqa: F401  fixtures
from tests.trial.test_transcripts import CTC, WHISPER, table  # noqa: F401  a fixture

CLASSES, WRITES, SEES = (
    AutoModelForSequenceClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForImageClassification,
)
ALL = ["lora.targets=all-linear", "lora.rank=2"]
OF_TEXT = {
    "bert": ("bert", ["lora.variant=dora", *ALL]),
    "gpt2": ("gpt2", ALL),
    "llama": ("llama", ["lora=full"]),
    "mixtral": ("mixtral", ["lora.targets=[experts,query]", "lora.rank=2"]),
    "in bfloat16": ("llama", [*ALL, "model.dtype=bfloat16"]),
    "computed again": ("bert", [*ALL, "trainer.activation_checkpointing=true"]),
}
OF_TIMM = {"test_vit": ALL, "test_convnext": ALL, "test_efficientnet": ["lora.targets=pointwise", "lora.rank=2"]}


@pytest.fixture
def trials(reviews, pairs, table, tmp_path):  # noqa: F811
    """The words of a trial for each kind of base, by name."""
    made = {}
    for name, (family, words) in OF_TEXT.items():
        save_small(CLASSES, family, tmp_path / name, num_labels=2)
        made[name] = [*reviews, *words]
    save_small(AutoModelForCausalLM, "qwen3", tmp_path / "qwen3")
    save_small(WRITES, "t5", tmp_path / "t5")
    save_small(SEES, "vit", tmp_path / "vit")
    save_whisper(tmp_path / "whisper")
    (tmp_path / "wav2vec2").mkdir()
    letters = {letter: 5 + number for number, letter in enumerate("W0123456789")}
    save_ctc(tmp_path / "wav2vec2", vocabulary={"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4} | letters)
    made |= {name: [*pairs, *ALL] for name in ("qwen3", "t5")}
    made["vit"] = ["task=digits", "task.image_size=32", *ALL]
    loss = ["trainer.objective=loss", "trainer.measures=[]"]
    made["whisper"] = [*table, *WHISPER, *loss, "lora.targets=[query,value,cross_query]", "lora.rank=2"]
    made["wav2vec2"] = [*table, *CTC, *loss, "model.head=stored", *ALL]
    made = {name: [*words, *based_on(tmp_path / name), "model.dropout=0.0"] for name, words in made.items()}
    for name, words in OF_TIMM.items():
        save_model(timm.create_model(name), tmp_path / f"{name}.safetensors")
        model = ["model=timm", f"model.architecture={name}", f"model.address=path:{tmp_path / name}.safetensors"]
        made[name] = ["task=digits", "task.image_size=160", *model, *words]
    return {name: [*words, *SHORT] for name, words in made.items()}


@pytest.mark.skipif(ON_GPU and torch.cuda.device_count() < 2, reason="there is one GPU")
def test_a_spread_base_trains_as_a_whole_one(trials, compose_plain, zygote, tmp_path, own_cache):
    trees = {}
    for name, words in trials.items():
        composed = json.loads(json.dumps(to_dict(compose_plain(*words))))
        for strategy in ("ddp", "fsdp"):
            both = {"trainer.devices": 2, "trainer.strategy": strategy}
            trees[f"{strategy} {name}"] = apply_overrides(composed, both)
    (tmp_path / "trials.json").write_text(json.dumps(trees))
    processes = start(zygote, tmp_path, ["-c", SCRIPT])
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    records = {entry.arm: entry for entry in record.read(tmp_path)}
    for name in trials:
        whole, spread = f"ddp {name}", f"fsdp {name}"
        same_weights(records[whole], tmp_path / whole, records[spread], tmp_path / spread)
