"""What a pack looks at before a trial takes part, and how its functions take turns."""

import random
import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harness.lora import LoraSpec, adapt
from harness.training import Pack, examined
from harness.training.packing.turns import Turns

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
        (lambda net, x: net.layer(x.transpose(0, 1)).mean(0), "not have a row for each of the batch's, but 7", False),
        (lambda net, x: F.dropout(net.layer(x).flatten(0, 1), 0.5)[:5], "a row for each of the batch's, but 35", False),
    ],
)
def test_what_a_base_does_with_its_rows_is_looked_at_and_draws_nothing(read, reason, draws):
    network, state = Toy(read), torch.get_rng_state()
    found, drew = examined(network, BATCH, CPU, "32-true")
    assert reason in found
    assert bool(found) == bool(reason)
    assert drew == draws
    assert torch.equal(torch.get_rng_state(), state)
    assert not network.layer._forward_pre_hooks


def test_functions_take_turns_each_with_its_own_random_numbers():
    waiting, order, drawn = [], [], {}

    def proceed():
        order.append("all wait")
        for turn in waiting:
            turns.release(turn)
        waiting.clear()

    turns = Turns(proceed)

    def work(name):
        torch.manual_seed(3)
        random.seed(3)
        drawn[name] = []
        for _ in range(2):
            drawn[name].append((float(torch.rand(())), random.random()))
            order.append(name)
            waiting.append(turns.current())
            turns.wait()

    turns.run([lambda name=name: work(name) for name in "ab"], lambda: None)
    assert order == ["a", "b", "all wait", "a", "b", "all wait"]
    assert drawn["a"] == drawn["b"]


def test_one_that_pauses_is_not_waited_for_and_an_error_is_raised_in_the_end():
    passes, told = [], []
    turns = Turns(lambda: (passes.append(time.monotonic()), turns.release(held[0])))
    held = []

    def waits():
        held.append(turns.current())
        for _ in range(3):
            turns.wait()

    def pauses():
        turns.pause(0.2)
        raise OSError("a fault of its own")

    started = time.monotonic()
    with pytest.raises(OSError, match="a fault of its own"):
        turns.run([waits, pauses], lambda: told.append(1))
    assert len(passes) == 3
    assert passes[-1] - started < 0.2 <= time.monotonic() - started
    assert told == [1]


def test_a_pack_that_cannot_go_on_ends_with_the_error(monkeypatch):
    pack = Pack()
    monkeypatch.setattr(pack.turns, "_proceed", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pack.run([pack.turns.wait, pack.turns.wait])
