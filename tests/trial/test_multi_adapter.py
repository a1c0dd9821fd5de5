"""Several finished trials as one network: each row gets what its own trial gives alone."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.config import ConfigError, to_dict, to_yaml
from harness.lora import export_adapter, import_adapter
from harness.model import build_model
from harness.task import build_task
from harness.trial.adapt import prepare
from harness.trial.inputs import read_inputs
from harness.trial.multi_adapter import load_multi_adapter
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
        if config.lora.name == "lora":
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
    with pytest.raises(ConfigError, match=r"has scaled outputs \(DoRA\); only A and B"):
        load_multi_adapter([folder, left("lora=dora", "lora.rank=2")])


def test_a_task_that_a_mixture_was_narrowed_to_is_one_and_several_are_refused(left, compose):
    folders = [left("seed=1"), left(only=["size"])]
    many = load_multi_adapter(folders)
    config = compose()
    batch = read_inputs(config, build_task(config.task), "test").batch(range(4))
    with torch.no_grad():
        mixed = many(batch | {"adapters": torch.tensor([0, 1, 1, 0])})
    assert mixed.isfinite().tolist() == [[True, True], [True, False], [True, False], [True, True]]
    with pytest.raises(ConfigError, match="a trial of several tasks"):
        load_multi_adapter([folders[0], left(only=["size", "good"])])
