"""How far a value walks: from the command to the layer and to the optimiser, in frames of this project."""

import functools
import sys
from pathlib import Path

import pytest
import torch

from harness import __main__ as command
from harness.lora import LoraSpec, LowRankUpdate
from tests.tiny import SEARCH_ALONE, words_of

PROJECT = Path(command.__file__).parent


def project_frames() -> list[str]:
    """The functions of the project on the stack, outermost first; a module's own frame is none."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if Path(code.co_filename).is_relative_to(PROJECT) and code.co_name != "<module>":
            found.append(f"{Path(code.co_filename).relative_to(PROJECT)}:{code.co_qualname}")
        frame = frame.f_back
    return found[::-1]


@pytest.fixture
def walk(tiny_base, tiny_data, tmp_path, own_cache, monkeypatch):
    """Runs the command in this process; returns the stacks in the layer and in the optimiser, and the specifications.

    A stack in a network of shapes alone, which is only counted, is left out.
    """

    def go(*words):
        layers, optimizers, specs = [], [], []
        first = LowRankUpdate.__init__, torch.optim.AdamW.__init__, LoraSpec.__post_init__

        def layer(self, weight, *rest, **named):
            if weight.device.type != "meta":
                layers.append(project_frames())
            first[0](self, weight, *rest, **named)

        @functools.wraps(first[1])
        def optimizer(self, *rest, **named):
            optimizers.append(project_frames())
            first[1](self, *rest, **named)

        def spec(self):
            specs.append(self)
            first[2](self)

        small = ["trainer.batch_size=8", "trainer.max_steps=2", "trainer.evaluations=1", "tracking=off", "lora.rank=2"]
        argv = ["harness", *words_of(tiny_base, tiny_data), *small, "trainer.accelerator=cpu", *words]
        with monkeypatch.context() as patch:
            patch.setattr(LowRankUpdate, "__init__", layer)
            patch.setattr(torch.optim.AdamW, "__init__", optimizer)
            patch.setattr(LoraSpec, "__post_init__", spec)
            patch.setattr(sys, "argv", argv)
            command.main()
        assert layers
        assert optimizers
        print("\n".join([*layers[0], "", *optimizers[0]]))
        return layers, optimizers, specs

    return go


def test_a_trial_hands_its_rank_and_learning_rate_through_six_frames(walk):
    layers, optimizers, specs = walk()
    # This test's own wrapper stands in the place of the layer's and the optimiser's constructor.
    assert max(len(stack) + 1 for stack in layers) <= 6, layers[0]
    assert max(len(stack) for stack in optimizers) <= 6, optimizers[0]
    assert len(specs) == 1


def test_a_study_hands_its_rank_through_eight_frames(walk):
    study = [
        "run=study",
        "sweep=rank_alpha_lr",
        *SEARCH_ALONE,
        "sweep.scientific={lora.rank: [1, 2]}",
        "sweep.trials=1",
    ]
    layers, _, specs = walk(*study, "study=s")
    assert max(len(stack) + 1 for stack in layers) <= 8, layers[0]
    # Each of two arms is counted before anything is made, and trained: with the specification of its own rank.
    assert len(specs) <= 4
