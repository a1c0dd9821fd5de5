"""What of training steps as graphs of a GPU holds without one: which shapes pay, who has none, what padding changes."""

import dataclasses

import pytest
import torch

from harness.config.fingerprint import fingerprint
from harness.task import build_task
from harness.task.mixture import MixtureInputs
from harness.task.wrapped_inputs import PaddedInputs
from harness.training import mean_loss
from harness.training.graphs import StepGraphs, pays, shapes_of
from harness.trial.adapt import method_of
from harness.trial.inputs import read_inputs


@pytest.mark.parametrize(
    ("seen", "of", "left", "found"),
    [
        (3, 3, 100, True),  # every batch of one shape
        (2, 2, 100, False),  # the first steps are made as they are
        (1, 3, 900, False),  # seen once
        (3, 3, 7, False),  # too few are left
        (2, 20, 100, True),  # one in ten: ten more
        (2, 20, 70, False),  # one in ten: seven more
    ],
)
def test_a_shape_is_recorded_where_it_will_come_often_enough(seen, of, left, found):
    assert pays(seen, of=of, left=left) is found


def test_shapes_are_of_names_sizes_and_types():
    one, longer = {"ids": torch.zeros(2, 3, dtype=torch.long)}, {"ids": torch.zeros(2, 4, dtype=torch.long)}
    assert shapes_of(one) == shapes_of({"ids": torch.ones(2, 3, dtype=torch.long)})
    others = [longer, {"ids": torch.zeros(2, 3)}, {"mask": one["ids"]}, one | {"mask": one["ids"]}]
    assert len({shapes_of(each) for each in (one, *others)}) == 5


@pytest.mark.parametrize(("layer", "refused"), [(torch.nn.LSTM, True), (torch.nn.GRU, True), (torch.nn.Linear, False)])
def test_layers_that_move_their_weights_on_a_gpu_are_trained_without(layer, refused):
    network = torch.nn.Sequential(layer(3, 3))
    assert ("move their weights" in StepGraphs(network, mean_loss, 100).refused) is refused


@pytest.mark.parametrize(
    ("words", "steady"),
    [
        (["lora=lora"], True),
        (["lora=dora"], True),
        (["lora=full"], True),
        (["lora=head"], True),
        (["lora=adalora"], False),
        (["lora=dylora"], False),
    ],
)
def test_a_method_says_whether_its_steps_are_alike(compose, words, steady):
    assert method_of(compose(*words)).steady is steady


def test_a_trial_is_the_same_with_and_without_graphs_and_another_one_padded(compose):
    found = {
        fingerprint(compose(*words), {})
        for words in ((), ("trainer.cuda_graphs=false",), ("trainer.pad_to_multiple_of=8",))
    }
    assert len(found) == 2


def test_padding_to_a_multiple_changes_shapes_and_no_loss(compose, own_cache):
    from harness.model import build_model

    config = compose("model.dropout=0.0")
    inputs = read_inputs(config, build_task(config.task), "train")
    padded, model = PaddedInputs(inputs, 8), build_model(config.model, 2).eval()
    lengths = set()
    for first in range(0, 40, 4):
        rows = range(first, first + 4)
        plain, longer = inputs.training_batch(rows), padded.training_batch(rows)
        lengths.add(longer["ids"].shape[1])
        assert longer["ids"].shape == longer["mask"].shape
        assert torch.equal(longer["labels"], plain["labels"])
        losses = [mean_loss(model, batch).item() for batch in (longer, plain)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)
        assert torch.equal(padded.batch(rows)["ids"], inputs.batch(rows)["ids"])
    assert lengths == {8}


def test_labels_of_padded_tokens_are_left_out():
    @dataclasses.dataclass
    class Tagged:
        padding = {"ids": 7}  # noqa: RUF012  as a split has it

        def training_batch(self, rows):
            ids = torch.ones(2, 3, dtype=torch.long)
            spans = torch.ones(2, 3, 2, dtype=torch.long)
            return {"ids": ids, "labels": ids, "spans": spans, "sets": torch.ones(2, 3), "rows": torch.tensor([0, 1])}

    batch = PaddedInputs(Tagged(), 4).training_batch([0, 1])
    assert batch["ids"].tolist() == [[1, 1, 1, 7]] * 2
    assert batch["labels"].tolist() == [[1, 1, 1, -100]] * 2
    assert batch["spans"].shape == (2, 4, 2)
    assert batch["sets"].shape == (2, 3)
    assert batch["rows"].tolist() == [0, 1]


def test_a_padded_mixture_still_has_its_parts(compose, own_cache):
    config = compose()
    rows = read_inputs(config, build_task(config.task), "train")
    mixture = MixtureInputs([rows, rows], "round_robin")
    assert [part is rows for part in PaddedInputs(mixture, 8).by_part()] == [True, True]
