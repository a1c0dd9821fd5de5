"""What a pack looks at before a trial takes part, and how its functions take threads."""

import random
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harness.lora import LoraSpec, adapt
from harness.system.signals import Interrupted
from harness.training import Pack, PackKey, check_packable
from harness.training.packing.cooperative import CooperativeThreads

CPU = torch.device("cpu")
BATCH = {"ids": torch.randn(5, 7, 4), "rows": torch.arange(5)}


class Toy(nn.Module):
    """A base with one adapted layer; `read` says what of it the head reads."""

    def __init__(self, read):
        super().__init__()
        self.layer, self.read = nn.Linear(4, 4), read
        adapt(self, LoraSpec(2, 1.0, ("layer",)), {"layer": "layer"})

    def head_input(self, batch):
        return self.read(self, batch["ids"])


@pytest.mark.parametrize(
    ("read", "reason", "draws"),
    [
        (lambda net, x: net.layer(x).mean(1), "", False),
        (lambda net, x: F.dropout(net.layer(x), 0.5).mean(1), "", True),
        (lambda net, x: F.dropout(net.layer(x), 0.5, training=False).mean(1), "", False),
        (lambda net, x: None, "its head reads more of the base than one vector", False),
        (lambda net, x: (net.layer(x) + torch.rand(x.shape)).mean(1), "no dropout of torch's functions", True),
        (lambda net, x: net.layer(x).mean(1) + 1 / (len(x) == 5), "a pass of two: ZeroDivisionError", False),
        (lambda net, x: net.layer(x - x.mean(0)).mean(1) + len(x), "rows other features in a pass of two", False),
        (lambda net, x: net.layer(x.transpose(0, 1)).mean(0), "not have a row for each of the batch's, but 7", False),
        (lambda net, x: F.dropout(net.layer(x).flatten(0, 1), 0.5)[:5], "a row for each of the batch's, but 35", False),
    ],
)
def test_what_a_base_does_with_its_rows_is_looked_at_and_draws_nothing(read, reason, draws):
    network, state = Toy(read), torch.get_rng_state()
    found, drew = check_packable(network, BATCH, CPU, "32-true")
    assert reason in found
    assert bool(found) == bool(reason)
    assert drew == draws
    assert torch.equal(torch.get_rng_state(), state)
    assert not network.layer._forward_pre_hooks


def test_functions_take_turns_each_with_its_own_state_of_the_process(monkeypatch):
    waiting, order, drawn = [], [], {}

    def proceed():
        order.append("all wait")
        for thread in waiting:
            threads.release(thread)
        waiting.clear()

    threads = CooperativeThreads(proceed)

    def work(name):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002  the global one, which code of a user may draw from
        torch.backends.cudnn.allow_tf32 = name == "a"
        drawn[name] = []
        for _ in range(2):
            of_numpy = np.random.random()  # noqa: NPY002  as above
            drawn[name].append((float(torch.rand(())), random.random(), of_numpy))
            order.append(name)
            waiting.append(threads.current())
            threads.wait()
            assert torch.backends.cudnn.allow_tf32 == (name == "a")

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    threads.run([lambda name=name: work(name) for name in "ab"], lambda: None)
    assert order == ["a", "b", "all wait", "a", "b", "all wait"]
    assert drawn["a"] == drawn["b"]
    assert torch.backends.cudnn.allow_tf32


def test_an_error_after_the_first_one_is_logged_but_no_stop(caplog):
    def fails(error):
        raise error

    errors = [OSError("the first"), Interrupted(15), ValueError("the second")]
    with pytest.raises(OSError, match="the first"):
        CooperativeThreads(lambda: None).run([partial(fails, error) for error in errors], lambda: None)
    assert caplog.messages == ["another error after the first one: ValueError: the second"]


def test_one_that_pauses_is_not_waited_for_and_an_error_is_raised_in_the_end():
    passes, told = [], []
    threads = CooperativeThreads(lambda: (passes.append(time.monotonic()), threads.release(waiting[0])))
    waiting = []

    def waits():
        waiting.append(threads.current())
        for _ in range(3):
            threads.wait()

    def pauses():
        threads.pause(0.2)
        raise OSError("a fault of its own")

    started = time.monotonic()
    with pytest.raises(OSError, match="a fault of its own"):
        threads.run([waits, pauses], lambda: told.append(1))
    assert len(passes) == 3
    assert passes[-1] - started < 0.2 <= time.monotonic() - started
    assert told == [1]


def test_a_pack_that_cannot_go_on_ends_with_the_error(monkeypatch):
    pack = Pack()
    monkeypatch.setattr(pack.threads, "_proceed", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pack.run([pack.threads.wait, pack.threads.wait])


class Breaks(torch.autograd.Function):
    """Passes rows on; fails on the way back where one of them is above 100."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(context, grad):
        if (context.saved_tensors[0] > 100).any():
            raise ValueError("a row of its own, on the way back")
        return grad


class Shared(nn.Module):
    """A base that fails on rows below 0, and on the way back on those above 100; it gives all others as they are."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)
        adapt(self, LoraSpec(2, 1.0, ("layer",)), {"layer": "layer"})

    def head_input(self, batch):
        if (batch["x"] < 0).any():
            raise IndexError("a row of its own")
        return Breaks.apply(batch["x"] + self.layer(batch["x"]) * 0)


@pytest.mark.parametrize(("guilty", "error"), [(-1.0, IndexError), (101.0, ValueError)])
def test_an_error_of_a_pass_is_that_of_the_trial_alone_that_makes_it(guilty, error, caplog, monkeypatch):
    pack, kind, found, passes = Pack(), PackKey("base", "32-true", CPU, False), {}, []
    forward = pack._forward
    monkeypatch.setattr(pack, "_forward", lambda group: (passes.append(len(group)), forward(group)))

    def train(place):
        member = pack.join(Shared(), kind, {})
        try:
            for step in range(3):
                x = torch.full((2, 4), guilty if (place, step) == (1, 1) else place + 1.0)
                features = member.forward({"x": x, "rows": torch.arange(2)})
                assert torch.equal(features, x)
                features.sum().backward()
                member.backward()
                found.setdefault(place, []).append(features.detach()[0, 0].item())
        finally:
            member.close()

    with pytest.raises(error, match="a row of its own"):
        pack.run([lambda place=place: train(place) for place in range(3)])
    assert found == {0: [1.0] * 3, 1: [2.0], 2: [3.0] * 3}
    assert passes == [3, 3, 1, 1, 1, 2]
    assert pack.most is None
    assert "a pass of 3 trials failed, and is made again one by one" in caplog.text
