"""trainer.precision=fastest and model.attention: what is chosen, what is computed, and what stays as it was."""

import dataclasses
import json

import pytest
import torch

from harness.config import ConfigError, apply_overrides, check, read_stored, to_dict, to_yaml
from harness.config.preflight import check_same_config
from harness.model import build_model
from harness.task import build_task
from harness.trial import TrialContext
from harness.trial.fastest import settled
from harness.trial.fingerprints import fingerprint_of, identity
from harness.trial.inputs import loader, read_inputs
from harness.trial.passes import first_batch, step_flops
from harness.trial.run import run_trial
from harness.trial.step_timing import Arithmetic, TimedSteps, Timing, candidates, choose
from tests.tiny import words_of

CPU = torch.device("cpu")
EXACT, HALF, EAGER = Arithmetic("32-true", "sdpa"), Arithmetic("bf16-mixed", "sdpa"), Arithmetic("bf16-mixed", "eager")


def timings(*seconds: float, losses: tuple[float, float, float] = (0.7, 0.7, 0.7)):
    return {how: Timing(s, loss) for how, s, loss in zip((EXACT, HALF, EAGER), seconds, losses, strict=True)}


@pytest.fixture
def found(monkeypatch):
    """Have the steps take so many seconds; returns how often they were timed."""

    def given(*seconds: float) -> list[int]:
        calls: list[int] = []

        def compare(self, candidates, seconds_in_all=1.0):
            calls.append(1)
            return {how: Timing(s, 0.7) for how, s in zip(candidates, seconds, strict=True)}

        monkeypatch.setattr(TimedSteps, "compare", compare)
        return calls

    return given


@pytest.mark.parametrize(
    ("seconds", "losses", "best"),
    [
        ((1.0, 0.9, 0.6), (0.7, 0.7, 0.7), EAGER),
        ((1.0, 0.5, 0.6), (0.7, 0.7, 0.7), HALF),
        ((1.0, 0.95, 0.92), (0.7, 0.7, 0.7), EXACT),  # less than a tenth
        ((1.0, 2.0, 3.0), (0.7, 0.7, 0.7), EXACT),
        ((1.0, 0.9, 0.6), (0.7, 0.7, 0.9), HALF),  # the fastest computes something else
        ((1.0, 0.9, 0.6), (0.7, float("nan"), float("nan")), EXACT),
        ((1.0, 0.5, 0.4), (float("nan"),) * 3, EXACT),
    ],
)
def test_the_fastest_of_those_with_the_same_loss_is_chosen_and_float32_where_little_is_gained(seconds, losses, best):
    chosen = choose(timings(*seconds, losses=losses))
    assert (chosen["precision"], chosen["attention"]) == (best.precision, best.attention)
    assert chosen["why"].startswith(f"{best}: ")
    assert chosen["step_ms"] == {str(how): 1000 * s for how, s in zip((EXACT, HALF, EAGER), seconds, strict=True)}


def test_attention_that_is_asked_for_is_kept_and_float32_is_never_eager_by_itself():
    assert candidates(CPU, "sdpa", free=True) == [EXACT, HALF, EAGER]
    assert candidates(CPU, "sdpa", free=False) == [EXACT, HALF]
    assert candidates(CPU, "eager", free=False) == [Arithmetic("32-true", "eager"), EAGER]
    assert candidates(CPU, None, free=False) == [Arithmetic("32-true"), Arithmetic("bf16-mixed")]


def test_it_is_measured_once_a_machine_and_kept_by_what_was_begun(compose, found, tmp_path, own_cache):
    config = dataclasses.replace(compose("trainer.precision=fastest"), results=str(tmp_path / "results"))
    calls = found(1.0, 0.9, 0.5)
    first = settled(config)
    assert (first.trainer.precision, first.model.attention) == ("bf16-mixed", "eager")
    other = dataclasses.replace(config, seed=7, optimizer=dataclasses.replace(config.optimizer, lr=0.1))
    assert settled(other).trainer == first.trainer
    assert len(calls) == 1, "neither a seed nor a learning rate is measured again"

    folder = tmp_path / "results" / config.study
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(to_dict(first)))
    for file in (own_cache / "precision").iterdir():
        file.unlink()
    calls = found(1.0, 2.0, 2.0)
    assert settled(config) == first, "begun in bf16, it goes on in bf16"
    assert not calls
    elsewhere = dataclasses.replace(config, study="elsewhere")
    assert settled(elsewhere).trainer.precision == "32-true"
    assert settled(elsewhere).model.attention == "auto"


def test_a_single_trial_that_was_left_is_found_by_what_it_was_begun_with(compose, found, tmp_path, own_cache):
    config = dataclasses.replace(compose("trainer.precision=fastest"), results=str(tmp_path))
    found(1.0, 0.5, 0.9)
    first = settled(config)
    left = tmp_path / config.study / "trials/0000-1"
    left.mkdir(parents=True)
    (left / "config.yaml").write_text(to_yaml(to_dict(first)))
    (own_cache / "precision").rename(own_cache / "gone")
    found(1.0, 2.0, 2.0)
    assert fingerprint_of(settled(config)) == fingerprint_of(first)


def test_a_study_begun_with_it_is_taken_up_by_the_same_words(compose, found, tmp_path, own_cache):
    asked = compose("trainer.precision=fastest")
    found(1.0, 0.9, 0.5)
    begun = to_dict(settled(asked))
    (tmp_path / "config.yaml").write_text(to_yaml(begun))
    (tmp_path / "records.jsonl").write_text("{}\n")
    check_same_config(tmp_path, to_dict(asked))
    assert read_stored(tmp_path / "config.yaml")["trainer"]["settled"] == begun["trainer"]["settled"]
    with pytest.raises(ConfigError, match="begun with another configuration"):
        check_same_config(tmp_path, to_dict(compose("trainer.precision=32-true")))
    (tmp_path / "config.yaml").write_text(to_yaml(to_dict(compose())))
    with pytest.raises(ConfigError, match="trainer.precision"):
        check_same_config(tmp_path, to_dict(asked))


def test_the_fingerprint_says_what_was_settled_and_today_s_stay(compose, found, own_cache):
    plain, sdpa, eager = (compose(f"model.attention={how}") for how in ("auto", "sdpa", "eager"))
    assert fingerprint_of(plain) == fingerprint_of(sdpa) != fingerprint_of(eager)
    assert set(identity(plain)) == {"data", "base", "tokenizer", "device", "precision"}
    assert identity(eager) == identity(plain) | {"attention": "eager"}
    found(1.0, 0.9, 0.5)
    chosen = settled(compose("trainer.precision=fastest"))
    said = ("trainer.precision=bf16-mixed", "model.attention=eager", "optimizer.arguments={fused: true}")
    assert fingerprint_of(chosen) == fingerprint_of(compose(*said))
    found(1.0, 2.0, 2.0)
    stays = settled(compose("trainer.precision=fastest", "trainer.batch_size=4"))
    assert fingerprint_of(stays) == fingerprint_of(compose("trainer.batch_size=4"))


def test_a_configuration_from_before_attention_is_read_as_it_was(compose, tmp_path):
    tree = to_dict(compose())
    del tree["model"]["attention"], tree["trainer"]["settled"]
    (tmp_path / "config.yaml").write_text(to_yaml(tree))
    (tmp_path / "records.jsonl").write_text("{}\n")
    check_same_config(tmp_path, to_dict(compose()))
    with pytest.raises(ConfigError, match="model.attention"):
        check_same_config(tmp_path, to_dict(compose("model.attention=eager")))


def test_eager_attention_computes_the_same_logits_and_sdpa_is_the_usual(compose, own_cache):
    batch = next(iter(loader(read_inputs(compose(), build_task(compose().task), "train"), 8, 0, training=True)))
    logits = {}
    for how in ("auto", "sdpa", "eager"):
        torch.manual_seed(0)
        model = build_model(compose(f"model.attention={how}").model, 2).eval()
        assert model.attention_kind == {"auto": "sdpa"}.get(how, how)
        with torch.no_grad():
            logits[how] = model(batch)
    assert torch.equal(logits["auto"], logits["sdpa"])
    assert (logits["eager"] - logits["sdpa"]).abs().max() < 1e-5
    assert not torch.equal(logits["eager"], torch.zeros_like(logits["eager"]))


def test_steps_are_timed_in_each_arithmetic_and_leave_weights_and_random_state(compose, own_cache):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    steps = TimedSteps(compose(), CPU)
    before = {name: tensor.detach().clone() for name, tensor in steps.model.named_parameters()}
    timed = steps.compare([EXACT, HALF, EAGER], seconds=0.0)
    assert all(found.seconds > 0 for found in timed.values())
    assert timed[EAGER].loss == pytest.approx(timed[EXACT].loss, abs=0.02)
    assert timed[HALF].loss != timed[EXACT].loss
    assert all(torch.equal(tensor, before[name]) for name, tensor in steps.model.named_parameters())
    assert torch.equal(torch.rand(3), expected)


def test_the_operations_of_a_step_are_those_of_float32(compose, monkeypatch, own_cache):
    config = compose()
    model = build_model(config.model, 2)
    batch = first_batch(read_inputs(config, build_task(config.task), "train"), 8, CPU)
    counted = [
        step_flops(model, batch, None, device=CPU, precision=precision) for precision in ("32-true", "bf16-mixed")
    ]
    monkeypatch.setattr("harness.trial.passes.autocast", lambda _, device: torch.autocast(device.type, torch.bfloat16))
    assert counted[0] == counted[1] == step_flops(model, batch, None, device=CPU, precision="bf16-mixed")
    assert counted[0].forward > 0


def test_a_trial_s_record_says_what_was_settled_and_why(compose, found, tmp_path, own_cache):
    found(1.0, 0.9, 0.5)
    config = settled(compose("trainer.precision=fastest", "trainer.max_steps=2", "trainer.evaluations=1"))
    (tmp_path / "trial").mkdir()
    entry = run_trial(config, TrialContext("s", 0, "arm", tmp_path / "trial"), lambda step, scores: False)
    assert (entry.state, entry.reason) == ("complete", "")
    how = entry.provenance.arithmetic
    assert (how["precision"], how["attention"]) == ("bf16-mixed", "eager")
    assert (
        how["why"]
        == "bf16-mixed eager: a step took 32-true sdpa 1000 ms, bf16-mixed sdpa 900 ms, bf16-mixed eager 500 ms"
    )
    assert entry.provenance.inputs["precision"] == "bf16-mixed"
    assert json.loads((tmp_path / "trial/config.yaml").read_text() and json.dumps(how)) == how


def test_an_arm_is_not_settled_by_itself(compose):
    words = ["trainer.precision=auto", "run=study", "sweep=rank_alpha_lr"]
    with pytest.raises(ConfigError) as caught:
        compose(*words, "+sweep.scientific.trainer.precision=[fastest]")
    message = "sweep: trainer.precision=fastest: it is settled once for all arms; in an arm bf16-mixed or 32-true"
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["trainer.devices=2"], "auto: steps are measured on one device, and there are 2"),
        (
            ["run=study", "sweep=rank_alpha_lr", "launch=slurm"],
            "steps are measured here, and launch=slurm trains elsewhere",
        ),
    ],
)
def test_where_nothing_can_be_measured_it_is_auto(words, why, compose, caplog, own_cache):
    caplog.set_level("INFO")
    config = settled(compose("trainer.precision=fastest", *words))
    assert config.trainer.precision == "auto"
    assert config.trainer.settled is None
    assert why in caplog.text


def test_unsettled_it_has_no_fingerprint(compose, own_cache):
    with pytest.raises(ConfigError, match="settled by run=trial and run=study"):
        fingerprint_of(compose("trainer.precision=fastest"))


def test_a_command_settles_it_and_finds_its_trial_again(found, run_here, tiny_base, tiny_data, own_cache):
    found(1.0, 0.9, 0.5)
    words = [*words_of(tiny_base, tiny_data), "tracking=off", "trainer=cpu", "trainer.max_steps=2", "lora.rank=2"]
    code, out, said = run_here(*words, "trainer.precision=fastest")
    assert code == 0, said
    assert json.loads(out)["provenance"]["arithmetic"]["attention"] == "eager"
    found(1.0, 2.0, 2.0)
    assert run_here(*words, "trainer.precision=fastest") == (0, out, said), "looked up: times and all are the same"


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ((), {"fused": True}),
        (("optimizer.arguments={amsgrad: true}",), {"amsgrad": True}),
        (("optimizer.name=SGD",), None),
        (("run=study", "sweep=rank_alpha_lr", "+sweep.scientific.optimizer.name=[AdamW,Adafactor]"), None),
    ],
)
def test_adamw_is_fused_under_clipping_where_nothing_else_is_said_of_the_optimiser(
    words, arguments, compose, found, own_cache
):
    found(1.0, 0.9, 0.5)
    assert settled(compose("trainer.precision=fastest", *words)).optimizer.arguments == arguments


def test_the_fused_adamw_clips_in_bf16_and_differs_in_the_last_digits_only(compose, tmp_path, own_cache):
    losses = {}
    for fused in (True, False):
        words = ["trainer.precision=bf16-mixed", "optimizer.clip=0.01", f"optimizer.arguments={{fused: {fused}}}"]
        folder = tmp_path / str(fused)
        folder.mkdir()
        entry = run_trial(compose(*words), TrialContext("s", 0, "arm", folder), lambda step, scores: False)
        assert (entry.state, entry.reason) == ("complete", "")
        losses[fused] = entry.score("val", "loss")
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


def test_a_base_without_a_choice_says_so(compose, own_cache):
    model = build_model(compose().model, 2)
    with pytest.raises(ConfigError, match="model.attention=flex: BertModel has none; model.attention=auto"):
        model.use_attention("flex")
    assert check(apply_overrides(to_dict(compose()), {"model.attention": "eager"})).model.attends == "eager"
