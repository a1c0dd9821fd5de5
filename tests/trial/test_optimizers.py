"""Any optimiser of torch.optim by its name; what has none of the arguments is refused by name."""

import pytest
import torch

from harness.config import ConfigError, fingerprint
from harness.trial import TrialContext
from harness.trial.optimizers import check_optimizer, check_scaled, make_optimizer
from harness.trial.run import run_trial


def test_the_arguments_reach_the_optimiser(compose):
    words = ["optimizer.name=SGD", "optimizer.arguments={momentum: 0.9, nesterov: true}"]
    config = compose(*words)
    check_optimizer(config)
    weight = torch.nn.Parameter(torch.ones(2, 2))
    made = make_optimizer(config, fused=True)([{"params": [weight], "lr": 0.5, "weight_decay": 0.0}])
    reference = torch.optim.SGD([torch.nn.Parameter(torch.ones(2, 2))], lr=0.5, momentum=0.9, nesterov=True)
    for optimizer in (made, reference):
        for _ in range(3):
            (tensor,) = optimizer.param_groups[0]["params"]
            tensor.grad = tensor.detach().clone()
            optimizer.step()
    assert torch.equal(weight, reference.param_groups[0]["params"][0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.name=AdamX"], "optimizer.name=AdamX: torch.optim has none of that name; did you mean Adam"),
        (["optimizer.name=LBFGS"], "cannot be used, it evaluates the loss several times a step; valid: "),
        (["optimizer.arguments={momentun: 0.9}", "optimizer.name=SGD"], "no such argument; did you mean momentum?"),
        (["optimizer.arguments={lr: 0.9}"], "optimizer.arguments.lr: that is optimizer.lr"),
        (["optimizer.arguments={betas: [2.0, 0.9]}"], "optimizer.name=AdamW: Invalid beta parameter"),
        (["optimizer.name=Rprop"], "optimizer.weight_decay=0.01: Rprop has none; optimizer.weight_decay=0.0"),
    ],
)
def test_mistakes_are_one_line(words, message, compose):
    with pytest.raises(ConfigError) as caught:
        check_optimizer(compose(*words))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_usual_leaves_the_fingerprint_as_it_was(compose):
    usual = fingerprint(compose(), {})
    assert fingerprint(compose("optimizer.name=AdamW", "optimizer.schedule=linear", "optimizer.decay=0.3"), {}) == usual
    others = ["optimizer.name=SGD", "optimizer.schedule=cosine", "optimizer.arguments={amsgrad: true}"]
    assert len({usual, *(fingerprint(compose(word), {}) for word in others)}) == 4


@pytest.mark.parametrize("name", ["SGD", "Adafactor", "RAdam"])
def test_a_trial_is_trained_by_it(name, compose, tmp_path, own_cache):
    config = compose(f"optimizer.name={name}", "optimizer.schedule=warmup-stable-decay", "optimizer.lr=0.01")
    check_optimizer(config)
    (tmp_path / "trial").mkdir()
    record = run_trial(config, TrialContext("s", 0, "arm", tmp_path / "trial"), lambda step, scores: False)
    assert (record.state, record.reason) == ("complete", "")
    assert (record.optimizer.name, record.optimizer.schedule) == (name, "warmup-stable-decay")


DENSE = ["task=shapes_dense", "model=dense_lite0", "lora.targets=pointwise", "trainer.objective=score"]


def test_what_a_scaled_loss_does_not_serve_is_refused(compose, compose_plain):
    check_scaled(compose("optimizer.arguments={fused: false}"))
    check_scaled(compose("optimizer.arguments={fused: true}", "optimizer.clip=null"))
    with pytest.raises(ConfigError, match="fused=true with trainer.precision=16-mixed: cannot be clipped"):
        check_scaled(compose("optimizer.arguments={fused: true}", "optimizer.clip=1.0"))
    with pytest.raises(ConfigError, match="gradnorm with trainer.precision=16-mixed: compares gradients"):
        check_scaled(compose_plain(*DENSE, "task.weighting=gradnorm"))
