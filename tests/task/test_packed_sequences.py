"""How examples are laid into rows: nothing is lost, and nothing is shared over a border."""

import random

import numpy as np
import pytest
import torch

from harness.task import Inputs
from harness.task.packed_sequences import PackedSequences, first_fit, packed, shared_out
from harness.task.seq2seq_inputs import padded_right
from harness.trial.inputs import loader

IGNORED = -100


class Examples(Inputs):
    """Examples of which the tokens from the third on are learned; no token comes twice."""

    def __init__(self, lengths):
        starts = np.cumsum([100, *lengths])
        self.ids = [np.arange(start, start + length) for start, length in zip(starts[:-1], lengths, strict=True)]

    @property
    def lengths(self):
        return np.array([len(ids) for ids in self.ids])

    def batch(self, rows):
        ids = [self.ids[row] for row in rows]
        return {
            "ids": padded_right([row[:-1] for row in ids], 0),
            "mask": padded_right([np.ones(len(row) - 1, dtype=np.int64) for row in ids], 0),
            "labels": padded_right([row[2:] for row in ids], IGNORED),
            "places": padded_right([np.arange(1, len(row) - 1) for row in ids], 0),
            "prompt": torch.tensor([2] * len(ids)),
            "rows": torch.tensor(list(rows)),
        }


def test_examples_are_laid_end_to_end():
    batch = packed(Examples([4, 6, 5]).batch([0, 1, 2]), [[1], [2, 0]], 7)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "ids": [[104, 105, 106, 107, 108, 7, 7], [110, 111, 112, 113, 100, 101, 102]],
        "positions": [[0, 1, 2, 3, 4, 0, 0], [0, 1, 2, 3, 0, 1, 2]],
        "labels": [[106, 107, 108, 109, IGNORED], [112, 113, 114, 102, 103]],
        "places": [[1, 2, 3, 4, 0], [1, 2, 3, 5, 6]],
        "rows": [0, 1, 2],
    }


def test_every_token_is_learned_from_the_one_before_it_in_its_own_example():
    draw = random.Random(1)
    inputs = Examples([draw.randint(3, 40) for _ in range(64)])
    first = {int(ids[0]) for ids in inputs.ids}
    learned = []
    for batch in loader(PackedSequences(inputs), 16, 0, training=True):
        known = batch["labels"] != IGNORED
        labels, before = batch["labels"][known], batch["ids"].gather(1, batch["places"])[known]
        assert (labels == before + 1).all(), "all ids of an example follow on one another"
        assert not first & set(labels.tolist())
        learned += labels.tolist()
    assert sorted(learned) == sorted(index for ids in inputs.ids for index in ids[2:].tolist())


def test_steps_are_of_examples_at_random_and_evaluation_is_as_it_was():
    draw = random.Random(2)
    inputs = Examples([draw.randint(3, 200) for _ in range(320)])
    batches = [batch["rows"].tolist() for batch in loader(PackedSequences(inputs), 32, 5, training=True)]
    again = [batch["rows"].tolist() for batch in loader(PackedSequences(inputs), 32, 5, training=True)]
    assert batches == again
    assert sorted(row for rows in batches for row in rows) == list(range(320))
    assert min(np.ptp(inputs.lengths[rows]) for rows in batches) > 100
    shared = [
        list(PackedSequences(inputs).batches(32, 5, shuffle=True, process_index=place, world=2, rows=None))
        for place in (0, 1)
    ]
    assert [rows for pair in zip(*shared, strict=True) for rows in pair] == batches
    held_out = [list(loader(which, 32, 5, training=False, tokens=900)) for which in (inputs, PackedSequences(inputs))]
    for one, other in zip(*held_out, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("count", [1, 2, 8, 32])
def test_rows_are_nearly_full_and_less_than_twice_as_long_as_the_longest_example(count):
    draw = random.Random(count)
    real = laid = 0
    for _ in range(50):
        lengths = [min(512, int(draw.lognormvariate(5, 0.8)) + 1) for _ in range(count)]
        rows = shared_out(lengths)
        assert sorted(number for row in rows for number in row) == list(range(count))
        widest = max(sum(lengths[number] for number in row) for row in rows)
        assert widest < 2 * max(lengths)
        real, laid = real + sum(lengths), laid + widest * len(rows)
    assert 1 - real / laid < 0.08


def test_examples_that_leave_no_room_to_others_have_rows_of_their_own():
    assert shared_out([60, 60, 59, 60, 58]) == [[0], [1], [3], [2], [4]]
    assert shared_out([60, 60, 60, 20, 20, 20]) == [[0], [1], [2], [3, 4, 5]]


def test_a_budget_is_of_the_examples_own_tokens():
    lengths = np.array([3, 9, 4, 1, 20, 9, 2])
    assert first_fit(lengths, 18, range(7)) == [[4], [1, 5], [2, 0, 6, 3]]
    assert first_fit(lengths, 16, range(7)) == [[4], [1, 2, 0], [5, 6, 3]]
    assert first_fit(lengths, 1000, [6, 1]) == [[1, 6]]
    draw = random.Random(0)
    inputs = PackedSequences(Examples([draw.randint(3, 40) for _ in range(101)]))
    batches = list(loader(inputs, 50, 0, training=True, tokens=120))
    parts = [part for batch in batches for part in batch.get("parts", [batch])]
    assert max(int(inputs.lengths[part["rows"]].sum()) for part in parts) <= 120
    assert sorted(row for part in parts for row in part["rows"].tolist()) == list(range(101))
