"""A tiny encoder with weights and tokenizer on disk, tiny data, and configurations composed from the real files."""

import gc
import itertools
import os
import re
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.config import Config, check
from harness.config.guests import FOLDERS
from tests import commands, tiny, unlike
from tests.zygote import Zygote

# test_NAME.py: they train, start processes, or take more than four seconds on one core. `make check` leaves them out.
SLOW = """
    accumulation adapt address allocate allocated_arms analyse assets attributions bad_input chat_trial checkpoint
    checkpoint_callback choice_trial commands config config_file config_trees confirm confirmed continual corridor
    crowd ctranslate2 curate ddp_followers delta_m dense docs docs_code evaluate export fastest features
    former_studies gemma generation glue group_measure group_values guest_measure guest_variant guests hf hf_audio
    hf_ctc hf_files hf_folders hf_recognition hf_trial hf_vision hf_writers history house html hub_models
    hydra_checks image_table image_table_trial importance intake_near_copies joint launchers layer_ranks main
    mixed_space moments multi_adapter objectives optimizers out_of_memory packed packed_sequences packs page
    parent_study predict predict_files probe progress provenance qa_trial quantization random_rows rebuild recurrent
    repeat round_trip rungs samplers searched_ranks searches security single speech spread_bases study summary
    surrogate tagging text text_objectives timm tracking trained_experts transcripts transfer trial two_level undo
    unlike_tasks unlike_trial vision worker
"""

RunHere = Callable[..., tuple[int, str, str]]


def is_slow(path: Path) -> bool:
    return path.stem.removeprefix("test_") in SLOW.split()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files none of whose tests is asked for are not even imported: it took each process some seconds."""
    left_out = config.option.markexpr
    slow, gpu = is_slow(collection_path), collection_path.name == "gpu"
    return (slow and "not slow" in left_out) or (gpu and "not gpu" in left_out) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_slow(item.path):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Have each trial's own collection of garbage pass over a million objects of libraries and tests: it took half."""
    gc.collect()
    gc.freeze()


Compose = Callable[..., Config]

_NUMBERS = itertools.count()


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Runs the command in this process: its exit code, and what it prints on either stream."""

    def run(*words: str) -> tuple[int, str, str]:
        from harness import __main__ as command

        monkeypatch.setattr("sys.argv", ["harness", *words])
        code = 0
        try:
            command.main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a test's own. pytest's looks through those of all tests before it for a number that is free."""
    path = tmp_path_factory.getbasetemp() / f"{re.sub(r'[^a-zA-Z0-9]', '_', request.node.name)[:30]}_{next(_NUMBERS)}"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv(FOLDERS, "")  # a command in this process adds its --config-dir, for itself alone
    monkeypatch.setattr(os, "fsync", lambda _: None)  # for a loss of power, which no test has; a study has 17 a trial
    if (adapt := sys.modules.get("harness.trial.adapt")) is not None:
        monkeypatch.setattr(adapt, "LATENCY_PASSES", 1)  # no test looks at how long they take


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Where commands are forked off."""
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights and the tokenizer of a 2-layer, 16-wide BERT."""
    return tiny.write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 240 distinct sentences, positive where they hold a good word."""
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def tree(tiny_base: Path, tiny_data: Path) -> Callable[..., dict]:
    """A resolved tree from conf/, the tiny base and the tiny data in place, and overrides on top."""
    return lambda *overrides: tiny.compose_tree(tiny_base, tiny_data, *overrides)


@pytest.fixture(scope="session")
def tiny_numbers(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """The same sentences, 2.5 where they hold a good word and -1.5 elsewhere."""
    lines = tiny_data.read_text().splitlines()[1:]
    path = tmp_path_factory.mktemp("numbers") / "ratings.csv"
    path.write_text("text,label\n" + "".join(f"{line[:-2]},{4 * int(line[-1]) - 1.5}\n" for line in lines))
    return path


@pytest.fixture
def compose_mixture(tree: Callable[..., dict], tiny_numbers: Path) -> Compose:
    """The tiny data as a mixture of two tasks of classes and one of numbers between them."""

    def compose(*overrides: str, **changes: object) -> Config:
        found = tree("trainer.objective=score", *overrides)
        part = found["task"]
        number = part | {"data": str(tiny_numbers), "answer": "number"}
        found["task"] = {
            "reader": "mixture",
            "name": "mixture",
            "tasks": {"good": part, "size": number, "again": part},
            "only": None,
            "sampling": "round_robin",
            "weighting": "equal",
            "split_seed": 0,
        } | changes
        return check(found)

    return compose


@pytest.fixture
def compose_unlike(tree: Callable[..., dict], tiny_numbers: Path, tmp_path: Path) -> Compose:
    """A mixture of the tasks of tests.unlike, or of those in `only`, in mixed batches unless something else is said."""

    def compose(*overrides: str, **changes: object) -> Config:
        found = tree("trainer.objective=score", *overrides)
        found["task"] = {
            "reader": "mixture",
            "name": "unlike",
            "tasks": unlike.unlike_tasks(tree, tiny_numbers, tmp_path),
            "only": None,
            "sampling": "round_robin",
            "weighting": "equal",
            "batches": "mixed",
            "split_seed": 0,
        } | changes
        return check(found)

    return compose


@pytest.fixture
def several(tree: Callable[..., dict], tiny_data: Path, tmp_path: Path, own_cache: Path) -> Callable[..., dict]:
    """A tree of three tasks: the tiny reviews, the same with classes swapped, and reviews with a word more."""
    lines = tiny_data.read_text().splitlines()
    swapped = [lines[0], *(f"{line.rpartition(',')[0]},{1 - int(line[-1])}" for line in lines[1:])]
    (tmp_path / "swapped.csv").write_text("\n".join(swapped) + "\n")
    longer = [lines[0], *(f"{line.rpartition(',')[0]} plot,{line[-1]}" for line in lines[1:])]
    (tmp_path / "longer.csv").write_text("\n".join(longer) + "\n")

    def go(*overrides: str) -> dict:
        made = tree("trainer.objective=accuracy", *overrides)
        part = made["task"]
        made["task"] = {
            "reader": "continual",
            "name": "continual",
            "tasks": {
                "first": part,
                "second": part | {"data": str(tmp_path / "swapped.csv")},
                "third": part | {"data": str(tmp_path / "longer.csv"), "split_seed": 1},
            },
            "order": None,
            "learn": "continued",
            "heads": "shared",
            "penalty": 0.5,
            "split_seed": 0,
        }
        made["trainer"]["objective"] = "score"
        return made

    return go


@pytest.fixture
def compose_plain() -> Compose:
    """What the overrides resolve to on top of conf/ alone, without tracking."""

    def compose(*overrides: str) -> Config:
        return commands.compose(["tracking=off", *tiny.DEVICE, *overrides])

    return compose


@pytest.fixture
def compose(tree: Callable[..., dict]) -> Compose:
    return lambda *overrides: check(tree(*overrides))


WORDS = {"left": 300, "right": 900, "stop": 2400}  # Hz
VOICES = {"ann": 1.0, "bo": 1.05, "cy": 0.95, "di": 1.1}  # times the word's pitch


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 recordings of three words by four voices: tones of 0.1 to 0.3 s in a little noise."""
    folder = tmp_path_factory.mktemp("tones")
    draw = np.random.default_rng(0)
    for word, pitch in WORDS.items():
        for voice, factor in VOICES.items():
            for index in range(6):
                time = np.arange(draw.integers(800, 2400)) / 8000
                sound = 3000 * np.sin(2 * np.pi * pitch * factor * time) + draw.normal(0, 30, len(time))
                write_wav(folder / f"{word}_{voice}_{index}.wav", sound)
    return folder


@pytest.fixture(scope="session")
def tiny_voice_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights as Resemblyzer's, of a 2-layer LSTM of width 12."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    lstm, linear = nn.LSTM(40, 12, 2), nn.Linear(12, 12)
    state = {f"lstm.{name}": tensor for name, tensor in lstm.state_dict().items()}
    state |= {f"linear.{name}": tensor for name, tensor in linear.state_dict().items()}
    path = tmp_path_factory.mktemp("voice") / "pretrained.pt"
    torch.save({"step": 1, "model_state": state | {"similarity_bias": torch.zeros(1)}}, path)
    return path


@pytest.fixture
def compose_speech(tones: Path, tiny_voice_encoder: Path, compose_plain: Compose) -> Compose:
    """Configurations of the tones and the tiny voice encoder, with overrides on top."""
    words = [
        "task=spoken_digits",
        f"task.data={tones}",
        "task.classes=3",
        "model=lstm_speech",
        "model.hidden=12",
        "model.layers=2",
        f"model.weights.address=path:{tiny_voice_encoder}",
        "model.weights.sha256=null",
    ]
    return lambda *overrides: compose_plain(*words, *overrides)
