"""Unlike tasks in one mixture: losses, gradients and scores against each task by itself, and by hand."""

import dataclasses

import pytest
import torch

from harness.config import ConfigError, check, to_dict
from harness.lora import task_adapters
from harness.model import build_model
from harness.task import build_task
from harness.task.ignored import IGNORED
from harness.task.metrics import share_name
from harness.task.mixed_batches import joined
from harness.task.tag_metrics import TagMetrics
from harness.task.tags import rates, spans
from harness.training import in_parts
from harness.training.module import mean_loss, task_losses
from harness.trial.adapt import count, prepare
from harness.trial.inputs import loader, read_inputs
from tests.lora.test_variants import disturb

WAYS = {
    "lora": ["lora=lora", "lora.rank=2"],
    "mtl_lora": ["lora=mtl_lora", "lora.rank=2"],
    "task_fork": ["lora=task_fork", "lora.rank=2", "lora.task_rank=2", "lora.blocks=1"],
    "mtlora": ["lora=mtlora", "lora.rank=2", "lora.task_rank=2"],
    "full": ["lora=full"],
}
TASKS = ["good", "size", "both", "kinds", "names"]


@pytest.fixture(autouse=True)
def cache(own_cache):
    return own_cache


def by_hand(task, logits, labels):
    """The mean loss of a task's own batch, from its definition."""
    if task == "size":
        return (logits[:, 0] - labels.double()).square().mean()
    if task == "kinds":
        chance = logits.sigmoid()
        return -(labels * chance.log() + (1 - labels) * (1 - chance).log()).mean()
    read = labels != IGNORED
    return -logits[read].log_softmax(-1).gather(-1, labels[read].unsqueeze(-1)).mean()


def starts_of(inputs):
    return dict(zip(TASKS, inputs.starts.tolist(), strict=False))


ROWS = {"good": [3, 1], "size": [5], "both": [0, 7, 2], "kinds": [4, 4, 9], "names": [6, 1]}
WEIGHTS = torch.tensor([0.3, 2.0, 0.7, 1.1, 0.9], dtype=torch.float64)


@pytest.mark.parametrize("way", WAYS)
def test_gradients_of_a_mixed_batch_are_the_weighted_sum_of_those_of_the_tasks(way, compose_unlike):
    config = compose_unlike(*WAYS[way], "lora.targets=[output,ffn_down]" if way not in ("full",) else "seed=0")
    task = build_task(config.task)
    inputs = read_inputs(config, task, "train")
    model = build_model(config.model, task.outputs)
    prepare(model, config)
    disturb(model.base)
    model.double().eval()
    assert (task_adapters(model.base) is not None) == (way not in ("lora", "full"))
    trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
    starts = starts_of(inputs)
    batch = inputs.batch([starts[name] + row for name, rows in ROWS.items() for row in rows])
    losses, numbers = task_losses(model, batch, task.losses)
    assert numbers.tolist() == list(range(5))
    found = torch.autograd.grad((losses * WEIGHTS).sum(), trained, allow_unused=True)
    total = torch.zeros((), dtype=torch.float64)
    for number, (name, rows) in enumerate(ROWS.items()):
        own = inputs.parts[number].batch(rows)
        loss = by_hand(name, model(own | {"tasks": torch.full((len(rows),), number)}), own["labels"])
        torch.testing.assert_close(losses[number], loss, rtol=0, atol=1e-10)
        total = total + WEIGHTS[number] * loss
    expected = torch.autograd.grad(total, trained, allow_unused=True)
    assert any(gradient is not None and gradient.abs().max() > 1e-3 for gradient in expected)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_parts_of_a_mixed_batch_add_up_to_the_whole(compose_unlike):
    config = compose_unlike()
    task = build_task(config.task)
    inputs = read_inputs(config, task, "train")
    model = build_model(config.model, task.outputs).double().eval()
    starts = starts_of(inputs)
    rows = [starts[name] + row for row in range(4) for name in TASKS]
    whole, _ = task_losses(model, inputs.batch(rows), task.losses)
    step, total = in_parts(inputs, 3, rows), torch.zeros(5, dtype=torch.float64)
    for part, shares in zip(step["parts"], step["shares"], strict=True):
        losses, numbers = task_losses(model, part, task.losses)
        total = total.index_add(0, numbers, losses * torch.tensor(shares, dtype=torch.float64))
    torch.testing.assert_close(total, whole, rtol=0, atol=1e-10)


def test_a_mixture_of_one_task_of_tags_is_that_task(compose_unlike):
    """The same rows, the same loss and the same scores, under the head that transformers has; and F1 counted here."""
    config = compose_unlike(only=["names"], batches="one_task")
    single = dataclasses.replace(config, task=config.task.tasks["names"])
    tasks = [build_task(config.task), build_task(single.task)]
    models = [build_model(each.model, task.outputs).eval() for each, task in zip((config, single), tasks, strict=True)]
    assert sum(map(torch.numel, models[0].parameters())) == sum(map(torch.numel, models[1].parameters()))
    with torch.no_grad():
        for mine, theirs in zip(models[0].head.parameters(), models[1].head.parameters(), strict=True):
            mine.copy_(theirs.normal_())
    inputs = [read_inputs(each, task, "train") for each, task in zip((config, single), tasks, strict=True)]
    drawn = [iter(loader(each, 8, 0, training=True)) for each in inputs]
    for one, other in zip(*drawn, strict=True):
        assert one["rows"].equal(other["rows"])
        assert mean_loss(models[0], one).equal(mean_loss(models[1], other))
    scores, counts = [], [0, 0, 0]
    for model, task, each in zip(models, tasks, (config, single), strict=True):
        metrics = task.metrics()
        for batch in loader(read_inputs(each, task, "test"), 8, 0, training=False):
            with torch.no_grad():
                logits = model(batch)
            metrics.update(logits, batch)
            if model is models[1]:
                for places, tags, said in zip(batch["places"], batch["tags"], logits.argmax(-1), strict=True):
                    there, guessed = (
                        set(spans([task.classes[tag] for tag in row]))
                        for row in (tags[places >= 0], said[places[places >= 0]])
                    )
                    more = (len(there & guessed), len(guessed), len(there))
                    counts = [one + other for one, other in zip(counts, more, strict=True)]
        scores.append(metrics.compute_and_reset())
    assert {name.removeprefix("names/"): value for name, value in scores[0].items() if "/" in name} == scores[1]
    assert scores[0]["score"] == scores[1]["f1"] == pytest.approx(rates(*counts)[0])
    assert counts[2] > 0


def test_beside_others_tags_count_by_spans_or_by_tokens():
    rows = torch.tensor([[0.5, 9.0, 1, 2, 3, 7, 9]], dtype=torch.float64)
    with_spans, plain = (TagMetrics(["O", "B-A", "I-A"], 0, with_spans=spans) for spans in (True, False))
    assert with_spans.beside(rows).tolist() == [[3, 2, 1]]
    assert plain.beside(rows).tolist() == [[9, 9, 7]]
    assert (share_name("a", with_spans), share_name("b", plain)) == ("f1", "accuracy")


def test_images_of_one_channel_become_three_alike_beside_those_of_three():
    grey, colours = torch.rand(2, 1, 4, 4), torch.rand(1, 3, 4, 4)
    label = torch.tensor([1])
    found = joined([{"images": grey, "labels": label.repeat(2)}, {"images": colours, "labels": label}], {})
    assert found["images"].equal(torch.cat([grey.expand(-1, 3, -1, -1), colours]))


def test_a_mixture_with_tags_is_counted(compose_unlike):
    """A head of one linear layer over the tiny encoder's 16 features for each task."""
    found = count(compose_unlike("lora=mtlora", "lora.rank=2", "lora.targets=[output]"))
    assert found["params"]["head"] == 17 * (2 + 1 + 2 + 2 + 3)
    assert set(found["groups"]) == {"shared", *TASKS}


def test_what_cannot_be_in_one_batch_or_learned_in_turn_is_refused_by_the_configuration(
    compose_unlike, compose_plain, several
):
    made = several()
    made["task"] |= {"heads": "separate"}
    made["task"]["tasks"] |= {"names": dataclasses.asdict(compose_unlike().task.tasks["names"])}
    with pytest.raises(ConfigError, match="names has a tag for each token, .*; task=mixture learns them together"):
        check(made)
    made = to_dict(compose_plain("task=digits", "model=efficientnet_lite0", "lora.targets=[conv]"))
    made["trainer"]["objective"] = "score"
    sizes = {name: made["task"] | {"image_size": size} for name, size in (("one", 32), ("two", 64))}
    made["task"] = to_dict(compose_unlike().task) | {"tasks": sizes}
    with pytest.raises(ConfigError, match="have images of 32, 64 pixels a side; .* or task.batches=one_task"):
        check(made)
