"""Several finished trials as one network: each row gets what its own trial gives alone."""

import csv

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.config import ConfigError, check, to_dict, to_yaml
from harness.lora import export_adapter, import_adapter, task_adapters
from harness.model import build_model
from harness.task import build_task
from harness.trial import TrialContext
from harness.trial.adapt import prepare
from harness.trial.inputs import read_inputs, tokens_for
from harness.trial.multi_adapter import load_multi_adapter
from harness.trial.run import run_trial
from tests.lora.test_variants import disturb


@pytest.fixture
def left(compose, compose_mixture, tmp_path, own_cache):
    """Writes what a trial leaves, its adapter and head anything but their start, and returns the folder."""

    def go(*words, only=None):
        config = compose(*words) if only is None else compose_mixture(*words, only=only)
        folder = tmp_path / "trials" / f"{len(list(tmp_path.glob('trials/*'))):04d}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(to_yaml(to_dict(config)))
        model = build_model(config.model, build_task(config.task).outputs)
        prepare(model, config, lambda _: None)
        disturb(model.base)
        (folder / "adapter").mkdir()
        if config.lora.name != "head":
            export_adapter(model.base, "path:base", folder / "adapter")
        save_file(dict(model.head.named_parameters()), folder / "adapter" / "head.safetensors")
        return folder

    return go


def three_classes(path):
    path.write_text("text,label\n" + "".join(f"the film {word} {i},{i % 3}\n" for i, word in enumerate("abc" * 20)))
    return path


def test_a_mixed_batch_gives_every_row_its_own_trials_logits(left, compose, tmp_path):
    words = [
        [],
        ["lora.rank=4", "lora.targets=[query,ffn_up]", "seed=1", "model.head=dense"],
        ["lora=pissa", "lora.rank=1", f"task.data={three_classes(tmp_path / 'three.csv')}"],
    ]
    folders = [left(*more) for more in words]
    many = load_multi_adapter(folders)
    config = compose()
    inputs = read_inputs(config, build_task(config.task), "test")
    numbers = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1])
    batch = inputs.batch(range(8)) | {"adapters": numbers}
    with torch.no_grad():
        mixed = many(batch)
        assert mixed.shape == (8, 3)
        for number, folder in enumerate(folders):
            classes = 3 if number == 2 else 2
            alone = build_model(compose(*words[number]).model, classes).eval()
            import_adapter(alone.base, folder / "adapter")
            alone.head.load_state_dict(load_file(folder / "adapter" / "head.safetensors"))
            mine = mixed[numbers == number]
            torch.testing.assert_close(mine[:, :classes], alone(batch)[numbers == number], atol=1e-5, rtol=1e-5)
            assert bool((mine[:, classes:] == -torch.inf).all())
            one = many(batch | {"adapters": torch.full((8,), number)})
            torch.testing.assert_close(one[:, :classes], alone(batch), atol=1e-5, rtol=1e-5)


def test_trials_that_cannot_lie_beside_each_other_are_refused(left, tmp_path):
    folder = left()
    with pytest.raises(ConfigError, match="another base than .*, pooling first and not mean"):
        load_multi_adapter([folder, left("model.pooling=first")])
    with pytest.raises(ConfigError, match="no trial that left an adapter"):
        load_multi_adapter([folder, left("lora=head")])
    published = left("lora=mtlora", "lora.rank=2", "lora.task_rank=1", only=["size", "good"])
    with pytest.raises(ConfigError, match="an adapter of MTLoRA for several tasks, which share a stream, stands alone"):
        load_multi_adapter([folder, published])


def test_dora_lies_beside_lora(left, compose):
    folders = [left(), left("lora=dora", "lora.rank=2")]
    many = load_multi_adapter(folders)
    config = compose("lora=dora", "lora.rank=2")
    batch = read_inputs(config, build_task(config.task), "test").batch(range(4))
    alone = build_model(config.model, 2).eval()
    import_adapter(alone.base, folders[1] / "adapter")
    alone.head.load_state_dict(load_file(folders[1] / "adapter" / "head.safetensors"))
    with torch.no_grad():
        mixed = many(batch | {"adapters": torch.tensor([0, 1, 0, 1])})
        torch.testing.assert_close(mixed[1::2], alone(batch)[1::2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lora", ["lora", "mtl_lora", "task_fork", "mtlora"])
def test_a_trial_of_several_tasks_has_a_number_for_each_of_them(left, compose, compose_mixture, lora):
    """A batch of rows of two tasks gives each row what the trial's own network gives a batch of its task."""
    words = [f"lora={lora}", "lora.rank=2", *(["lora.task_rank=1"] if "fork" in lora or lora == "mtlora" else [])]
    folder = left(*words, only=["size", "good"])
    beside = [] if lora == "mtlora" else [left("seed=1")]
    many = load_multi_adapter([*beside, folder])
    assert many.names == (*(each.name for each in beside), f"{folder.name}/good", f"{folder.name}/size")
    config = compose_mixture(*words, only=["size", "good"])
    task = build_task(config.task)
    batch = read_inputs(config, task, "test").parts[0].batch(range(6))
    alone = build_model(config.model, task.outputs).eval()
    import_adapter(alone.base, folder / "adapter")
    alone.head.load_state_dict(load_file(folder / "adapter" / "head.safetensors"))
    plan, first = task_adapters(alone.base), len(beside)
    numbers = torch.tensor([0, 1, 1, 0, 1, 0])
    with torch.no_grad():
        mixed = many(batch | {"adapters": numbers + first})
        for number, outputs in enumerate((2, 1)):
            if plan is not None:
                plan.route.set(number)
            expected = alone(batch | {"tasks": torch.full((6,), number)})
            torch.testing.assert_close(
                mixed[numbers == number, :outputs], expected[numbers == number], atol=1e-5, rtol=1e-5
            )


def test_adapters_learned_apart_one_after_another_have_a_number_each(several, tmp_path):
    made = several("lora.rank=2", "optimizer.lr=0.03", "trainer.max_steps=8")
    made["task"] |= {"learn": "separate", "heads": "separate"}
    folder = tmp_path / "results" / "s" / "trials" / "0000"
    folder.mkdir(parents=True)
    config = check(made)
    entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert entry.state == "complete", entry.reason
    many = load_multi_adapter([folder])
    assert many.names == ("0000/first", "0000/second", "0000/third")
    with open(folder / "predictions.csv", newline="") as file:
        last = [row for row in csv.DictReader(file) if row["learned"] == "3"]
    parts = build_task(config.task).inputs_by_task("test", tokens_for(config, build_task(config.task)))
    for number, inputs in enumerate(parts.values()):
        batch = inputs.batch(range(len(inputs)))
        with torch.no_grad():
            found = many(batch | {"adapters": torch.full((len(inputs),), number)}).argmax(-1)
        told = [int(float(row["predicted"])) for row in last if int(row["task"]) == number]
        assert found.tolist() == told


def test_a_task_that_a_mixture_was_narrowed_to_is_one(left, compose):
    folders = [left("seed=1"), left(only=["size"])]
    many = load_multi_adapter(folders)
    config = compose()
    batch = read_inputs(config, build_task(config.task), "test").batch(range(4))
    with torch.no_grad():
        mixed = many(batch | {"adapters": torch.tensor([0, 1, 1, 0])})
    assert mixed.isfinite().tolist() == [[True, True], [True, False], [True, False], [True, True]]
