"""Trials on a GPU: what they cost there, how they end there, and how rarely a step waits for it."""

import copy
import warnings

import pytest
import torch
from transformers import BertConfig, BertModel

from harness import record
from harness.lora import LoraSpec, adapt
from harness.training.accounting import MemoryMeter, StepClock
from harness.training.callbacks import MetricsCsvLogger
from harness.trial import TrialContext
from harness.trial.counting import flops_of, memory_needed
from harness.trial.run import run_trial
from tests.tiny import words_of

GPU = ("trainer.accelerator=gpu", "trainer.precision=32-true")
DEVICE = torch.device("cuda", 0)
MIB = 2**20


@pytest.fixture
def run(compose, tmp_path, own_cache):
    def go(*words, number=0):
        folder = tmp_path / "results" / "s" / "trials" / f"{number:04d}"
        folder.mkdir(parents=True)
        return run_trial(compose(*GPU, *words), TrialContext("s", number, "arm", folder), lambda step, scores: False)

    return go


@pytest.mark.parametrize("words", [["lora=lora"], ["lora=dora"], ["lora=adalora"], ["lora=full"], ["lora=head"]])
def test_a_trial_scores_as_on_a_cpu(run, words):
    words += ["lora.rank=2"] if words[0] not in ("lora=full", "lora=head") else []
    words += ["model.dropout=0", "trainer.epochs=20.0", "trainer.max_steps=40", "optimizer.lr=0.01"]
    there = run(*words)
    here = run(*words, "trainer.accelerator=cpu", number=1)
    assert (there.state, there.reason, there.memory.kind) == ("complete", "", "cuda allocated")
    assert there.scores["test"]["loss"] == pytest.approx(here.scores["test"]["loss"], abs=1e-3)
    assert there.parameters == here.parameters
    assert there.flops.forward == here.flops.forward
    assert there.flops.step == pytest.approx(here.flops.step, rel=0.02)  # fused attention: a key's gradient, too


@pytest.mark.parametrize("precision", ["auto", "16-mixed", "bf16-mixed"])
def test_half_precision_trains(run, precision):
    entry = run(f"trainer.precision={precision}", "lora.rank=2", "optimizer.lr=0.01", "trainer.epochs=20.0")
    assert (entry.state, entry.reason) == ("complete", "")
    assert abs(entry.scores["test"]["loss"] - 0.69) < 0.2


def test_the_peak_is_what_is_held_and_what_a_step_adds():
    """Of AdamW in float32 on BERT of a size where the parts can be told apart from the allocator's blocks."""
    torch.cuda.empty_cache()
    shape = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048}
    base = BertModel(BertConfig(**shape, vocab_size=1000), add_pooling_layer=False).requires_grad_(False)
    targets = {"query": r".*\.query", "value": r".*\.value"}
    adapted = copy.deepcopy(base)
    adapt(adapted, LoraSpec(8, 1.0, tuple(targets)), targets)
    found = {}
    for name, model in (("lora", adapted), ("full", base.requires_grad_(True))):
        meter = MemoryMeter(DEVICE)
        model.to(DEVICE)
        optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 8, dtype=torch.long, device=DEVICE)).last_hidden_state.sum().backward()
            optimizer.step()
        parts = meter.components(model, optimizer, meter.peak(), 0)
        assert {key: getattr(parts, key) for key in ("parameters", "gradients", "optimizer")} == memory_needed(model)
        assert 0 < parts.activations < 100 * MIB, parts  # with the work space of cuBLAS
        found[name] = parts
        del optimizer
        model.cpu()
        torch.cuda.empty_cache()
    held = {name: parts.gradients + parts.optimizer for name, parts in found.items()}
    measured = found["full"].train_peak - found["lora"].train_peak
    assert measured == pytest.approx(held["full"] - held["lora"], abs=20 * MIB)


def test_a_trial_that_runs_out_of_memory_says_so_and_the_next_one_trains(run):
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 4 * MIB) / total)
    try:
        entry = run("model.dropout=0", "trainer.batch_size=1000", "lora=full")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert entry.state == "fail"
    assert "out of memory" in entry.reason
    assert entry.out_of_memory.of == "the GPU"
    assert run("lora.rank=2", number=1).state == "complete"


def test_a_step_hardly_ever_waits_for_the_device(run, monkeypatch):
    """At most one wait in five steps, of all that torch knows to be one; between the 20th and the 100th step."""
    waits, start = [], MetricsCsvLogger.after_step

    def watch(callback, trainer, *rest):
        start(callback, trainer, *rest)
        if trainer.step in (20, 100):
            torch.cuda.set_sync_debug_mode("warn" if trainer.step == 20 else "default")

    monkeypatch.setattr(MetricsCsvLogger, "after_step", watch)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run("lora.rank=2", "trainer.epochs=100.0", "trainer.max_steps=110", "trainer.evaluations=1")
    waits = [f"{item.filename}:{item.lineno}" for item in said if "called a synchronizing" in str(item.message)]
    assert len(waits) <= 0.2 * 80, sorted({(place, waits.count(place)) for place in waits})


def test_the_clock_of_the_device_is_that_of_the_wall():
    clock, big = StepClock(DEVICE, warmup=2), torch.randn(4096, 4096, device=DEVICE)
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    for _ in range(20):
        clock.start()
        for _ in range(10):
            big = big @ big / big.norm()
        clock.stop(examples=1)
    last.record()
    last.synchronize()
    assert sum(clock.seconds) == pytest.approx(first.elapsed_time(last) / 1000, rel=0.1)
    assert len(clock.seconds) == 20
    assert clock.summary().step_median_s > 0


def test_operations_are_counted_as_on_a_cpu():
    model = BertModel(BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128))
    ids = torch.ones(2, 200, dtype=torch.long)
    here = flops_of(lambda: model(ids).last_hidden_state.sum().backward(), torch.device("cpu"))
    model.to(DEVICE)
    there = flops_of(lambda: model(ids.to(DEVICE)).last_hidden_state.sum().backward(), DEVICE)
    assert there == here


def test_workers_share_a_gpu_where_they_are_told_to(run_here, tiny_base, tiny_data, tmp_path, own_cache):
    words = [*words_of(tiny_base, tiny_data), *GPU, "trainer.max_steps=4", "trainer.evaluations=1", "tracking=off"]
    words += ["run=study", "study=s", "sweep=rank_alpha_lr", "sweep.confirm=null", "sweep.trials=1"]
    words += ["sweep.scientific={lora.rank: [1, 2]}", "launch=local", f"launch.workers={2 * torch.cuda.device_count()}"]
    code, _, err = run_here(*words)
    assert code == 2
    assert "launch.per_gpu=2 shares them" in err
    code, _, err = run_here(*words, "launch.per_gpu=2")
    assert code == 0, err
    records = record.read(tmp_path / "results" / "s")
    assert {entry.state for entry in records} == {"complete"}
    assert {entry.provenance.environment["gpu"] for entry in records} == {torch.cuda.get_device_name()}
