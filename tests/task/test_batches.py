"""Batches hold every example once, in an order that seed and epoch decide, padded to the longest in the batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.task import LengthBatches, Split, encode

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(np.array)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 32), st.integers(0, 5), st.booleans(), st.integers(1, 3))
def test_every_example_comes_once(lengths, size, seed, shuffle, world):
    seen = []
    for rank in range(world):
        batches = LengthBatches(lengths, size, seed, shuffle=shuffle, process_index=rank, world=world)
        mine = list(batches)
        assert len(mine) == len(batches)
        seen += [row for batch in mine for row in batch]
    assert len(seen) == len(set(seen))
    if not shuffle or world == 1:
        assert sorted(seen) == list(range(len(lengths)))


def test_the_order_is_a_function_of_seed_and_epoch():
    lengths = np.arange(1, 200)

    def epochs(seed):
        batches = LengthBatches(lengths, 8, seed, shuffle=True)
        return [list(batches), list(batches)]

    assert epochs(0) == epochs(0)
    assert epochs(0)[0] != epochs(0)[1]
    assert epochs(0) != epochs(1)


def test_batches_of_like_length_waste_little():
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 60, 2000)

    def padded(batches):
        return sum(lengths[batch].max() * len(batch) for batch in batches) / lengths.sum()

    mixed = [draw.permutation(2000)[i : i + 32].tolist() for i in range(0, 2000, 32)]
    assert padded(LengthBatches(lengths, 32, 0, shuffle=True)) < 1.06 < 1.5 < padded(mixed)


def test_padding_puts_each_sentence_where_it_belongs(tiny_base, own_cache):
    split = Split(("the film is warm", "dull"), (1, 0))
    encoded = encode(split, tiny_base / "tokenizer.json", max_length=16, pad_id=0)
    batch = encoded.batch([1, 0])
    assert batch["ids"].tolist() == [[2, 10, 3, 0, 0, 0], [2, 16, 17, 18, 5, 3]]
    assert batch["mask"].tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert batch["labels"].tolist() == [0, 1]
    assert batch["rows"].tolist() == [1, 0]


def test_sentences_are_encoded_once_and_cut_at_the_maximum(tiny_base, own_cache, monkeypatch):
    split = Split(("the film is warm", "dull"), (1, 0))
    first = encode(split, tiny_base / "tokenizer.json", max_length=4, pad_id=0)
    assert first.lengths.tolist() == [4, 3]
    monkeypatch.setattr("harness.task.batches._tokenise", lambda *_: pytest.fail("encoded twice"))
    again = encode(Split(split.texts, (0, 1)), tiny_base / "tokenizer.json", max_length=4, pad_id=0)
    assert again.ids.tolist() == first.ids.tolist()
    assert again.labels.tolist() == [0, 1]
