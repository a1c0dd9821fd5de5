"""Trials that learn to transcribe: what is scored, written, predicted and exported is one and the same."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCTC,
    AutoModelForSpeechSeq2Seq,
    Wav2Vec2CTCTokenizer,
    WhisperForConditionalGeneration,
    pipeline,
)

from harness.config import ConfigError
from harness.record import trial_path
from harness.report.statistics import ratio_interval
from harness.report.table import arm_results
from harness.task import build_task
from harness.task.error_rates import error_rates
from harness.training import generate_texts
from harness.trial import TrialContext, single
from harness.trial.base_checks import check_base
from harness.trial.evaluate import evaluate_trial
from harness.trial.export import export_trial
from harness.trial.inputs import read_inputs
from harness.trial.predict_transcripts import write_transcripts
from harness.trial.run import run_trial
from harness.trial.trained import load_trained
from tests.conftest import write_wav
from tests.model.small import WORDS
from tests.model.test_hf_ctc import save_ctc
from tests.model.test_hf_recognition import save_whisper
from tests.trial.test_export import trained  # noqa: F401  a fixture
from tests.trial.test_hf_trial import SHORT, based_on

RATE = 16_000


@pytest.fixture
def table(tmp_path):
    """Sixty tones, each pitch another word."""
    (tmp_path / "sound").mkdir()
    lines = ["file_name,transcription"]
    for row in range(60):
        pitch, time = row % 3, np.arange(RATE // 4 + 20 * row) / RATE
        noise = np.random.default_rng(row).normal(0, 60, len(time))
        write_wav(
            tmp_path / "sound" / f"{row}.wav", 5000 * np.sin(2 * np.pi * (300 + 700 * pitch) * time) + noise, RATE
        )
        lines.append(f"sound/{row}.wav,{WORDS[10 + pitch]} {WORDS[20]}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return ["task=transcripts", f"task.data={tmp_path}/rows.csv", "task.max_target=6", "task.generate_rows=8"]


CTC = ["trainer.objective=wer", "trainer.measures=[cer]", "task.normalise=none", "optimizer.head_lr=0.01"]
WHISPER = ["model.language=en", "trainer.objective=wer", "trainer.measures=[cer]"]


def write_whisper_tokenizer(folder):
    """One of transformers' own class for Whisper: letters and digits, and the special tokens of `save_whisper`."""
    marks = {0: "<pad>", 3: "<|endoftext|>", 90: "<|en|>", 91: "<|de|>", 92: "<|transcribe|>", 93: "<|translate|>"}
    marks |= {95: "<|startoftranscript|>", 98: "<|notimestamps|>"}
    letters = ["Ġ", *"abcdefghijklmnopqrstuvwxyz0123456789"]
    plain = [number for number in range(100) if number not in marks]
    named = [*letters, *(f"{one}{two}" for one in "vwxyz" for two in "0123456789abcdefg")]
    vocabulary = dict(zip(named, plain, strict=False)) | {mark: number for number, mark in marks.items()}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(list(marks.values()))
    made.save(str(folder / "tokenizer.json"))
    said = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>") | {"pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said | {"tokenizer_class": "WhisperTokenizer"}))


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_trial_of_whisper(table, trained, tmp_path):  # noqa: F811
    theirs = save_whisper(tmp_path / "base")
    targets = "lora.targets=[query,value,cross_query]"
    made = trained(*table, *based_on(tmp_path / "base"), *WHISPER, targets, "lora.rank=2")
    scores = made.entry.scores
    assert scores["test"].keys() == {"loss", "perplexity", "wer", "cer", "exact"}
    assert scores["val"].keys() == {"loss", "perplexity", "wer", "cer"}
    assert made.entry.objective == "wer"

    # The base as it was, by transformers alone.
    task = build_task(made.config.task)
    inputs = read_inputs(made.config, task, "test")
    network = load_trained(made)
    heard = network.heard(inputs.batch(range(8)))["input_features"]
    asked = {"language": "en", "task": "transcribe", "max_new_tokens": 6}
    before = inputs.texts(theirs.generate(heard, **asked))
    assert scores["base"] == error_rates(before, task.transcripts["test"][:8], "plain").scores

    # What is written of test: scored, and the interval and the items of it.
    written = rows_of(made.folder / "written.csv")
    again = error_rates([row["written"] for row in written], [row["wanted"] for row in written], "plain")
    assert {name: scores["test"][name] for name in again.scores} == again.scores
    assert [row["wanted"] for row in written] == list(task.transcripts["test"][:8])
    assert [row["recording"] for row in written] == list(task.names("test")[:8])
    assert [float(row["errors"]) for row in written] == [item[0] for item in again.items]
    (result,) = arm_results([made.entry], made.folder.parents[1])
    assert result.interval == ratio_interval(*again.ratios["wer"])

    found, _ = evaluate_trial(made, "test")
    assert found.scores == pytest.approx(scores["test"], abs=1e-6)
    assert found.intervals["wer"] == result.interval
    found.write_items(tmp_path / "items.csv")
    items = rows_of(tmp_path / "items.csv")
    assert [row["item"] for row in items] == list(task.names("test"))
    for name in ("written", "wanted", "errors", "words"):
        assert [row[name] for row in items][:8] == [row[name] for row in written]

    names = tmp_path / "rows.txt"
    names.write_text("\n".join(task.names("test")[:8]) + "\n")
    write_transcripts(made, names, tmp_path / "said.csv")
    said = [{"item": row["recording"], "written": row["written"]} for row in written]
    assert rows_of(tmp_path / "said.csv") == said
    names.write_text("sound/1.wav\nsound/none.wav\n")
    with pytest.raises(ConfigError, match=r"input=.*rows.txt: row 2: sound/none.wav: no such file"):
        write_transcripts(made, names, tmp_path / "not.csv")


def test_the_base_is_scored_once_in_a_study(table, compose_plain, own_cache, tmp_path, monkeypatch):
    """Of two trials, of other ranks, the second takes over what the first found; a third on other texts does not."""
    save_whisper(tmp_path / "base")
    written = []

    def counted(model, inputs, count, *more, **keys):
        written.append("patience_s" in keys)  # of validation, at each evaluation
        return generate_texts(model, inputs, count, *more, **keys)

    monkeypatch.setattr(single, "generate_texts", counted)
    words = [*table, *SHORT, *based_on(tmp_path / "base"), *WHISPER, "lora.targets=[query]", "trainer.max_steps=2"]
    found = []
    for number, more in enumerate(["lora.rank=1", "lora.rank=2", "task.generate_rows=4"]):
        folder = tmp_path / "s" / trial_path(number)
        folder.mkdir(parents=True)
        context = TrialContext("s", number, "arm", folder)
        found.append(run_trial(compose_plain(*words, more), context, lambda step, scores: False).scores["base"])
    assert found[0] == found[1]
    assert written.count(False) == 2


@pytest.mark.parametrize("way", ["adapter", "merged", "full"])
def test_transformers_loads_what_is_exported(way, table, trained, tmp_path):  # noqa: F811
    save_whisper(tmp_path / "base")
    write_whisper_tokenizer(tmp_path / "base")
    how = ["lora=full", "optimizer.lr=0.0001"] if way == "full" else ["lora.targets=all-linear", "lora.rank=2"]
    made = trained(*table, *based_on(tmp_path / "base"), *WHISPER, *how)
    export_trial(made, tmp_path / "out", merged=way != "adapter")
    network = load_trained(made)
    batch = read_inputs(made.config, build_task(made.config.task), "test").batch(range(4))
    with torch.no_grad():
        expected = network(batch)
    if way == "adapter":
        from peft import AutoPeftModel

        said = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
        assert said["task_type"] is None
        assert said["auto_mapping"]["base_model_class"] == WhisperForConditionalGeneration.__name__
        theirs = AutoPeftModel.from_pretrained(tmp_path / "out").eval()
    else:
        theirs = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "out").eval()
    reads = network.heard(batch)
    with torch.no_grad():
        found = theirs(**reads, decoder_input_ids=batch["decoder_ids"]).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert "pipeline_tag: automatic-speech-recognition" in (tmp_path / "out" / "README.md").read_text()
    if way != "adapter":
        own, greedy = network.generate(batch, 6), {"max_new_tokens": 6, "num_beams": 1}
        ask = pipeline("automatic-speech-recognition", model=str(tmp_path / "out"))
        inputs = read_inputs(made.config, build_task(made.config.task), "test")
        for row, text in enumerate(inputs.texts(own)):
            sound = batch["samples"][row, : batch["lengths"][row]].numpy()
            assert ask(sound, generate_kwargs=greedy)["text"].strip() == text


@pytest.mark.parametrize(
    ("way", "head"), [("adapter", "fresh"), ("adapter", "stored"), ("merged", "fresh"), ("full", "stored")]
)
def test_a_trial_of_characters_at_frames(way, head, table, trained, tmp_path):  # noqa: F811
    (tmp_path / "base").mkdir()
    letters = {letter: 5 + number for number, letter in enumerate("W0123456789")}
    theirs = save_ctc(tmp_path / "base", vocabulary={"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4} | letters)
    how = ["lora=full", "optimizer.lr=0.001"] if way == "full" else ["lora.targets=all-linear", "lora.rank=2"]
    made = trained(*table, *based_on(tmp_path / "base"), *CTC, f"model.head={head}", *how)
    task, network = build_task(made.config.task), load_trained(made)
    inputs, scores = read_inputs(made.config, task, "test"), made.entry.scores
    batch = inputs.batch(range(8))
    assert scores["test"].keys() == {"loss", "perplexity", "wer", "cer", "exact"}
    assert ("base" in scores) == (head == "stored")
    told = ["the base's own trained head of 16 characters is replaced by one of training's; model.head=stored keeps it"]
    assert made.entry.data.details.get("read", []) == (told if head == "fresh" else [])
    as_taught = str if head == "fresh" else str.upper  # the base has capitals alone
    wanted = [[(as_taught(text), True)] for text in task.transcripts["test"][:8]]
    assert [inputs.example(row) for row in range(8)] == wanted
    assert network.head.lm_head.out_features == (2 + len(task.describe()["alphabet"]) if head == "fresh" else 16)
    if head == "stored":
        before = [theirs(**network.heard(inputs.batch([row]))).logits.argmax(-1) for row in range(8)]
        tokens = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "base")
        texts = [tokens.batch_decode(row)[0] for row in before]
        assert scores["base"] == error_rates(texts, task.transcripts["test"][:8], "none").scores
    found, _ = evaluate_trial(made, "test")
    assert found.scores == pytest.approx(scores["test"], abs=1e-6)

    export_trial(made, tmp_path / "out", merged=way != "adapter")
    with torch.no_grad():
        expected = network(batch)[0]
    reads = network.heard(inputs.batch([0]))
    if way == "adapter":
        from peft import AutoPeftModel

        keys = {"vocab_size": network.head.lm_head.out_features, "ignore_mismatched_sizes": True}
        saved = AutoPeftModel.from_pretrained(tmp_path / "out", **keys).eval()
    else:
        saved = AutoModelForCTC.from_pretrained(tmp_path / "out").eval()
        texts = inputs.texts(network.generate(batch, 99))
        ask = pipeline("automatic-speech-recognition", model=str(tmp_path / "out"))
        for row, text in enumerate(texts):
            sound = batch["samples"][row, : batch["lengths"][row]].numpy()
            assert ask(sound)["text"].strip() == text
        assert len(set(texts)) > 1 or head == "fresh"
    with torch.no_grad():
        logits = saved(**reads).logits[0]
    torch.testing.assert_close(logits, expected[: len(logits)], rtol=1e-3, atol=1e-3)

    names = tmp_path / "rows.csv"
    names.write_text("file_name\n" + "\n".join(task.names("test")[:8]) + "\n")
    write_transcripts(made, names, tmp_path / "said.csv")
    written = [row["written"] for row in rows_of(made.folder / "written.csv")]
    assert [row["written"] for row in rows_of(tmp_path / "said.csv")] == written


def test_a_head_of_characters_alone_is_trained_and_a_decoder_has_none(table, trained, tmp_path):  # noqa: F811
    (tmp_path / "base").mkdir()
    save_ctc(tmp_path / "base")
    made = trained(*table, *based_on(tmp_path / "base"), *CTC, "lora=head")
    assert made.entry.parameters.trainable == sum(map(torch.numel, load_trained(made).head.parameters()))
    check_base(made.config)
    save_whisper(tmp_path / "writes")
    model = dataclasses.replace(made.config.model, address=f"path:{tmp_path}/writes", language="en")
    with pytest.raises(ConfigError, match=r"lora=head: a base that writes has no fresh head"):
        check_base(dataclasses.replace(made.config, model=model))
