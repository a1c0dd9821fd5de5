"""Any optimiser of torch.optim by its name; what has none of the arguments is refused by name."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.config import ConfigError, fingerprint
from harness.training import ClassMetrics, TrialModule
from harness.training.accounting import optimizer_bytes
from harness.training.muon import outer_tensors
from harness.training.schedules import rate
from harness.trial import TrialContext
from harness.trial.optimizers import check_optimizer, check_scaled, make_optimizer
from harness.trial.run import run_trial
from tests.model.small import random_network


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
        (["optimizer.name=Muon", "optimizer.arguments={betas: [0.9, 0.9]}"], "betas: Muon has no such argument"),
        (["optimizer.name=Muon", "trainer=fsdp"], "Muon takes whole matrices, which are spread there; trainer=ddp"),
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


@pytest.mark.parametrize("name", ["SGD", "Adafactor", "RAdam", "Muon"])
def test_a_trial_is_trained_by_it(name, compose, tmp_path, own_cache):
    config = compose(f"optimizer.name={name}", "optimizer.schedule=warmup-stable-decay", "optimizer.lr=0.01")
    check_optimizer(config)
    (tmp_path / "trial").mkdir()
    record = run_trial(config, TrialContext("s", 0, "arm", tmp_path / "trial"), lambda step, scores: False)
    assert (record.state, record.reason) == ("complete", "")
    assert (record.optimizer.name, record.optimizer.schedule) == (name, "warmup-stable-decay")


class Reader(torch.nn.Module):
    """Tokens in, a matrix of attention in three parts, a norm, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(5, 4)
        self.inner, self.outer = torch.nn.Linear(4, 6), torch.nn.Linear(6, 4, bias=False)
        self.kernel = torch.nn.Conv1d(4, 4, 1)
        self.norm, self.head = torch.nn.LayerNorm(4), torch.nn.Linear(4, 3)

    def forward(self, batch):
        states = self.outer(self.inner(self.embedding(batch["ids"])).tanh())
        return self.head(self.norm(self.kernel(states.mT).mT.mean(1)))


MATRICES = {"inner.weight", "outer.weight"}
IDS = {"ids": torch.tensor([[0, 1], [2, 3], [4, 0]])}
LABELS = torch.tensor([0, 1, 2])


def stepped(module, optimizers):
    loss = torch.nn.functional.cross_entropy(module(IDS), LABELS)
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
    for optimizer in optimizers:
        optimizer.step()


def made_module(compose, *words):
    model = Reader()
    config = compose("optimizer.name=Muon", "optimizer.arguments={momentum: 0.9, ns_steps: 3}", *words)
    return TrialModule(
        model,
        ClassMetrics(3),
        lr=0.02,
        head_lr=0.005,
        weight_decay=0.1,
        warmup=0.4,
        steps=5,
        make_optimizer=make_optimizer(config, fused=False),
        matrices_apart=True,
        schedule="cosine",
    )


def test_muon_changes_the_matrices_and_adamw_the_rest_as_the_two_do_by_hand(compose):
    module, reference = made_module(compose), Reader()
    named = dict(reference.named_parameters())
    rest = {name: tensor for name, tensor in named.items() if name not in MATRICES}
    heads = [tensor for name, tensor in rest.items() if name.startswith("head.")]
    others = [tensor for name, tensor in rest.items() if not name.startswith("head.")]
    groups = [
        {"params": [each for each in part if (each.ndim > 1) == decayed], "lr": lr, "weight_decay": 0.1 * decayed}
        for part, lr in ((heads, 0.005), (others, 0.02))
        for decayed in (True, False)
    ]
    matrices = [named[name] for name in sorted(MATRICES)]
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.9, ns_steps=3)
    by_hand = [muon, torch.optim.AdamW(groups)]
    rates = [[group["lr"] for group in each.param_groups] for each in by_hand]
    optimizer = module.new_optimizer()
    for step in range(5):
        share = rate("cosine", step, steps=5, warmup_steps=2, decay=0.2)
        module.set_rate(optimizer, step)
        for each, own in zip(by_hand, rates, strict=True):
            for group, lr in zip(each.param_groups, own, strict=True):
                group["lr"] = lr * share
        stepped(module.model, [optimizer])
        stepped(reference, by_hand)
    for name, tensor in module.model.named_parameters():
        torch.testing.assert_close(tensor, named[name], rtol=1e-6, atol=1e-7, msg=name)
    assert optimizer_bytes(optimizer) == sum(map(optimizer_bytes, by_hand))
    numbers = sum(tensor.numel() for tensor in rest.values())
    inside = sum(tensor.numel() for tensor in matrices)
    assert optimizer_bytes(optimizer) == 4 * (inside + 2 * numbers + len(rest))


def test_muon_goes_on_from_its_state_as_if_nothing_had_been(compose):
    whole, broken = made_module(compose), made_module(compose)
    one, first = whole.new_optimizer(), broken.new_optimizer()
    for step in range(5):
        stepped(whole.model, [one])
        if step < 2:
            stepped(broken.model, [first])
    second = broken.new_optimizer()
    second.load_state_dict(first.state_dict())
    for _ in range(2, 5):
        stepped(broken.model, [second])
    for one_tensor, other in zip(whole.model.parameters(), broken.model.parameters(), strict=True):
        assert torch.equal(one_tensor, other)


def test_the_output_of_a_language_model_and_its_embeddings_are_no_matrices_inside():
    base = random_network(AutoModelForCausalLM, "llama", tie_word_embeddings=False)
    outer = outer_tensors(torch.nn.ModuleDict({"base": base}))
    named = {name for name, tensor in base.named_parameters() if id(tensor) in outer}
    assert named == {"model.embed_tokens.weight", "lm_head.weight"}


DENSE = ["task=shapes_dense", "model=dense_lite0", "lora.targets=pointwise", "trainer.objective=score"]


def test_what_a_scaled_loss_does_not_serve_is_refused(compose, compose_plain):
    check_scaled(compose("optimizer.arguments={fused: false}"))
    check_scaled(compose("optimizer.arguments={fused: true}", "optimizer.clip=null"))
    with pytest.raises(ConfigError, match="fused=true with trainer.precision=16-mixed: cannot be clipped"):
        check_scaled(compose("optimizer.arguments={fused: true}", "optimizer.clip=1.0"))
    with pytest.raises(ConfigError, match="gradnorm with trainer.precision=16-mixed: compares gradients"):
        check_scaled(compose_plain(*DENSE, "task.weighting=gradnorm"))
