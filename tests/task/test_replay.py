"""Rows of earlier tasks beside those of a new one: which are kept, which are drawn, and the loss over both."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harness.config import ConfigError
from harness.task import EncodedSplit, OneOfTasks
from harness.task.replay import losses_of_rows, with_replay


def rows_of(length: int, count: int, first: int, types: bool = False) -> EncodedSplit:
    """Rows of so many tokens each, all tokens different."""
    ids = first + np.arange(length * count, dtype=np.int32)
    starts, labels = np.arange(count + 1) * length, np.arange(count) % 2
    return EncodedSplit(ids, starts, labels, pad_id=9, types=np.zeros_like(ids, dtype=np.int8) if types else None)


@pytest.fixture
def parts():
    return [OneOfTasks(rows_of(length, 30, first=10 + 1000 * task), task) for task, length in enumerate((4, 7, 5))]


def test_a_batch_has_as_many_rows_of_earlier_tasks_and_all_of_them_kept(parts):
    inputs = with_replay(parts[2], parts[:2], kept=6, seed=0)
    drawn = {0: set(), 1: set()}
    for start in range(0, 28, 2):
        batch = inputs.training_batch([start, start + 1])
        assert batch["tasks"].tolist()[:2] == [2, 2]
        assert torch.equal(batch["ids"][:2, :5], parts[2].batch([start, start + 1])["ids"])
        assert len(batch["rows"]) == 4
        for task, row, ids in zip(*(batch[name].tolist() for name in ("tasks", "rows", "ids")), strict=True):
            length = (4, 7, 5)[task]
            assert ids[:length] == parts[task].batch([row])["ids"][0].tolist()
            assert ids[length:] == [9] * (len(ids) - length), "padded by the id that pads"
            if task < 2:
                drawn[task].add(row)
    assert all(len(rows) <= 6 for rows in drawn.values())
    assert sum(map(len, drawn.values())) > 8, "the draw goes round"


def test_the_rows_of_an_evaluation_and_the_first_task_are_as_they_were(parts):
    assert with_replay(parts[0], [], kept=6, seed=0) is parts[0]
    inputs = with_replay(parts[2], parts[:2], kept=6, seed=0)
    assert inputs.batch([3])["rows"].tolist() == [3]
    assert np.array_equal(inputs.lengths, parts[2].lengths)


def test_the_draw_is_a_function_of_the_seed_and_the_rows(parts):
    one, same, other = (with_replay(parts[2], parts[:2], kept=6, seed=seed) for seed in (0, 0, 1))
    one.training_batch([5, 6])  # what came before does not matter
    first, second = one.training_batch([1, 2]), same.training_batch([1, 2])
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["rows"].tolist() != other.training_batch([1, 2])["rows"].tolist()


def test_rows_that_come_together_again_meet_others_of_earlier_tasks(parts):
    """A task of one batch has the same rows in each epoch; resumed, it sees what it would have seen."""
    starts = np.cumsum([0, *range(3, 23)])  # of lengths of their own, by which the rows of a batch are in one order
    uneven = EncodedSplit(np.arange(starts[-1], dtype=np.int32), starts, np.arange(20) % 2, pad_id=9)
    inputs = with_replay(OneOfTasks(uneven, 2), parts[:2], kept=12, seed=0)

    def drawn(resumed_at=0):
        how = {"shuffle": True, "process_index": 0, "world": 1, "rows": None}
        sampler = inputs.batches(20, 0, **how)
        sampler.resume_at(resumed_at)
        batches = [inputs.training_batch(rows) for _ in range(6 - resumed_at) for rows in sampler]
        return [
            tuple(zip(*(batch[name][20:].tolist() for name in ("tasks", "rows")), strict=True)) for batch in batches
        ]

    assert len(set(drawn())) == 6
    assert drawn(resumed_at=2) == drawn()[2:]
    assert len(set().union(*drawn())) == 24, "all that are kept"
    plain = inputs.batches(20, 0, shuffle=False, process_index=0, world=1, rows=None)
    assert all(row >= 0 for _ in range(2) for rows in plain for row in rows)


def test_more_rows_than_are_kept_come_again(parts):
    inputs = with_replay(parts[1], parts[:1], kept=2, seed=0)
    batch = inputs.training_batch(range(8))
    assert len(batch["rows"]) == 16
    assert len(set(batch["rows"][8:].tolist())) == 2


def test_the_loss_over_rows_counts_new_and_kept_rows_alike():
    torch.manual_seed(0)
    outputs, tasks = torch.randn(6, 4), torch.tensor([2, 2, 2, 0, 0, 1])
    labels = torch.tensor([0, 3, 1, 1, 0, 0.25], dtype=torch.float64)
    loss, _ = losses_of_rows([2, 1, 4])(outputs, {"tasks": tasks, "labels": labels})
    rows = [
        *(F.cross_entropy(outputs[row, :4], labels[row].long()) for row in range(3)),
        *(F.cross_entropy(outputs[row, :2], labels[row].long()) for row in (3, 4)),
        (outputs[5, 0] - 0.25) ** 2,
    ]
    assert float(loss.sum()) == pytest.approx(float(sum(rows)) / 6)


class WithFrames(OneOfTasks):
    """A task whose rows are more than texts."""

    def training_batch(self, rows):
        return super().training_batch(rows) | {"frames": torch.zeros(len(rows), 3)}


def test_rows_of_unlike_inputs_are_refused_with_the_key(parts):
    other = WithFrames(rows_of(4, 30, first=10), 0)
    with pytest.raises(ConfigError, match=r"task\.learn=replay: for tasks of like inputs"):
        with_replay(parts[2], [other], kept=6, seed=0).training_batch([1, 2])


def test_a_trial_that_draws_anew_in_each_epoch_is_none_of_those_before(compose_plain):
    words = ["task=continual", "trainer.objective=score"]
    replayed, continued = (compose_plain(*words, f"task.learn={learn}") for learn in ("replay", "continued"))
    assert replayed.task.hashed()["drawn"] == "by epoch"
    assert "drawn" not in continued.task.hashed()
