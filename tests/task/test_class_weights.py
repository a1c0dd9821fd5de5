"""Classes that are weighted: the loss is torch's weighted cross-entropy, in whole batches, in parts and of tags."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from harness.config import ConfigError
from harness.task import EncodedSplit
from harness.task.build import read_task
from harness.task.class_weights import WeightedInputs, class_weights
from harness.training import in_parts, mean_loss

WEIGHTS = torch.tensor([0.5, 3.0, 1.25])


def rows_of(count):
    ids = np.arange(4 * count, dtype=np.int32)
    return EncodedSplit(ids, np.arange(count + 1) * 4, np.arange(count) % 7 % 3, pad_id=0)


def logits_of(batch):
    """Of each row by its number."""
    draw = torch.Generator().manual_seed(0)
    return torch.randn(50, 3, generator=draw)[batch["rows"]]


def test_the_loss_is_torchs_weighted_cross_entropy():
    inputs = WeightedInputs(rows_of(20), WEIGHTS)
    batch = inputs.training_batch([3, 1, 17, 8, 5])
    wanted = F.cross_entropy(logits_of(batch), batch["labels"], weight=WEIGHTS)
    assert mean_loss(logits_of, batch).item() == pytest.approx(wanted.item())
    evaluated = inputs.batch([3, 1, 17, 8, 5])
    assert mean_loss(logits_of, evaluated).item() == pytest.approx(
        F.cross_entropy(logits_of(batch), batch["labels"]).item()
    )


def test_parts_of_a_step_add_up_to_it():
    inputs = WeightedInputs(rows_of(20), WEIGHTS)
    rows = list(range(11))
    whole = mean_loss(logits_of, inputs.training_batch(rows)).item()
    found = in_parts(inputs, 3, rows)
    assert sum(
        share * mean_loss(logits_of, part).item()
        for part, (share,) in zip(found["parts"], found["shares"], strict=True)
    ) == pytest.approx(whole)


def test_of_tags_each_token_is_weighted_and_those_left_out_count_nowhere():
    labels = torch.tensor([[0, 2, -100, 1], [1, -100, -100, 0]])
    inputs = rows_of(2)
    batch = inputs.batch([0, 1]) | {"labels": labels}
    weighted = WeightedInputs(inputs, WEIGHTS)
    weighted.own = type("Tags", (), {"training_batch": lambda self, rows: batch})()
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    wanted = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weight=WEIGHTS)
    assert mean_loss(lambda _: logits, weighted.training_batch([0, 1])).item() == pytest.approx(wanted.item())


@pytest.fixture
def task(compose_plain, tmp_path):
    rows = [f"the number {number},{('ham', 'spam', 'eggs')[min(number % 9, 2)]}" for number in range(90)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return read_task(compose_plain("task=text_csv", f"task.data={tmp_path}/a.csv").task)


def test_balanced_weights_are_those_of_scikit_learn(task):
    labels = np.array(task.labels("train"))
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights(task, "balanced") == pytest.approx(wanted.tolist())
    assert class_weights(task, {"spam": 3, "ham": 1.0, "eggs": 2.0}) == [2.0, 1.0, 3]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (
            {"spam": 1.0, "hamm": 1.0},
            r"trainer\.class_weights\.hamm: no such class; did you mean ham\?; eggs, ham, spam",
        ),
        ({"spam": 1.0}, r"trainer\.class_weights: no weight of eggs, ham; each class has one"),
    ],
)
def test_names_that_are_not_the_classes_are_refused(task, asked, line):
    with pytest.raises(ConfigError, match=line):
        class_weights(task, asked)


def test_tasks_without_a_class_a_row_are_refused(compose_plain, tmp_path):
    words = ["task=text_csv", "task.data=a.csv", "trainer.class_weights=balanced"]
    compose_plain(*words)
    assert compose_plain(*words[:2], "trainer.class_weights={1: 2, 0: 1.5}").trainer.class_weights == {"1": 2, "0": 1.5}
    for more in (["task.answer=number", "trainer.objective=loss"], ["task.answer=labels", "trainer.objective=loss"]):
        with pytest.raises(
            ConfigError, match=r"trainer\.class_weights=\"balanced\": of one task whose rows have a class"
        ):
            compose_plain(*words, *more)
    with pytest.raises(ConfigError, match=r"trainer\.class_weights"):
        compose_plain(*words[:2], "trainer.class_weights=uneven")
    with pytest.raises(ConfigError, match="they are weighed in one process, and there are 2"):
        compose_plain(*words, "trainer.devices=2", "trainer.accelerator=cpu")


def test_a_trial_is_another_one_with_weights_and_the_same_without(compose_plain):
    from harness.config import fingerprint

    plain = compose_plain("task=text_csv", "task.data=a.csv")
    weighted = replace(plain, trainer=replace(plain.trainer, class_weights="balanced"))
    assert fingerprint(plain, {}) != fingerprint(weighted, {})
    unweighted = replace(weighted, trainer=replace(weighted.trainer, class_weights=None))
    assert fingerprint(plain, {}) == fingerprint(unweighted, {})


def test_classes_named_true_and_false_keep_their_names(compose_plain):
    words = ["task=boolq", "trainer.class_weights={True: 2.0, False: 1.0}"]
    assert compose_plain(*words).trainer.class_weights == {"True": 2.0, "False": 1.0}
